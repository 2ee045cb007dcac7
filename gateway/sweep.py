"""The sweep, a process of its own: expires holds, goes on with payments nobody came back for, and
compares Redis, Stripe and the order stream.

Several may run at once: each hold and each payment is looked at again by the script that moves it.
"""

import asyncio
import logging
import uuid
from collections import defaultdict
from dataclasses import dataclass, field

from gateway.checkout.unknown import About
from gateway.errors import HoldfastError
from gateway.keys import SHOPS
from gateway.reconcile.reconciler import Reconciler
from gateway.reconcile.watch import Watch
from gateway.rooms import Rooms
from gateway.stock.sweeper import expire_due

log = logging.getLogger(__name__)

_AT_ONCE = 500
"""Payments of one shop settled at once; most of them wait for their turn to ask Stripe."""
_BACKOFF_S = 1.0
_UNKNOWN_EVERY_S = 1.0


@dataclass(slots=True)
class Sweep:
    """Goes round all shops, again and again."""

    rooms: Rooms
    _settling: defaultdict[str, set[asyncio.Task[None]]] = field(
        default_factory=lambda: defaultdict(set)
    )

    async def run(self) -> None:
        """Sweep until cancelled; the lane must be served elsewhere."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_at_unknown_events())
                group.create_task(self._go_round_for_ever())
        finally:
            for task in self._under_way():
                task.cancel()
            await asyncio.gather(*self._under_way(), return_exceptions=True)

    async def _go_round_for_ever(self) -> None:
        while True:
            rest_s = await self._go_round()
            await asyncio.sleep(rest_s)

    async def _look_at_unknown_events(self) -> None:
        while True:
            await self._unknown_events()
            await asyncio.sleep(_UNKNOWN_EVERY_S)

    async def _go_round(self) -> float:
        """Look at every shop; return how long to rest, in seconds."""
        try:
            shops = await self.shops()
        except HoldfastError as error:
            log.warning("sweep: %s", error.message)
            return _BACKOFF_S
        for shop in shops:
            try:
                await self.round(shop)
            # One shop in trouble keeps no other waiting.
            except HoldfastError as error:
                log.warning("sweep: shop %s: %s", shop, error.message)
            except Exception:
                log.exception("sweep: shop %s: a round failed", shop)
        return self.rooms.settings.sweep_interval_ms / 1000

    async def _unknown_events(self) -> None:
        """Look again at what Stripe told us about orders nobody knew."""

        async def take(about: About) -> None:
            settler = self.rooms.settler
            await settler.settle(about.shop, about.order)
            await settler.call_back(about.shop, about.order, about.intent)

        try:
            await self.rooms.unknown.retry(take)
        except HoldfastError as error:
            log.warning("sweep: unknown events: %s", error.message)

    async def shops(self) -> list[str]:
        """The shops this Redis knows."""
        return sorted(shop.decode() for shop in await self.rooms.lane.command("SMEMBERS", SHOPS))

    async def round(self, shop: str) -> None:
        """Look at one shop once. Payments are settled beside, for Stripe takes its time."""
        expired = await expire_due(self.rooms.lane, self.rooms.settings, shop)
        if expired:
            log.info("sweep: shop %s: %d holds expired", shop, expired)
        settling = self._settling[shop]
        room = _AT_ONCE - len(settling)
        if room <= 0:
            return
        for order in await self.rooms.records.due(shop, room):
            task = asyncio.create_task(self._settle(shop, order))
            settling.add(task)
            task.add_done_callback(settling.discard)

    async def settled(self) -> None:
        """Wait for the payments begun so far."""
        while under_way := self._under_way():
            await asyncio.gather(*under_way)

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [task for tasks in self._settling.values() for task in tasks]

    async def _settle(self, shop: str, order: str) -> None:
        try:
            await self.rooms.settler.settle(shop, order)
        except HoldfastError as error:
            log.warning("sweep: shop %s: order %s: %s", shop, order, error.message)
        except Exception:
            log.exception("sweep: shop %s: order %s: a step failed", shop, order)


async def serve(rooms: Rooms, reconciler: Reconciler) -> None:
    """Run a sweep with everything it needs, until cancelled."""
    try:
        if rooms.claims:
            await rooms.claims.ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(rooms.lane.run())
            group.create_task(Sweep(rooms).run())
            group.create_task(Watch(reconciler, owner=uuid.uuid4().hex).run())
    finally:
        await rooms.payments.aclose()
        if rooms.claims:
            await rooms.claims.aclose()
