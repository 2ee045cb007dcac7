"""The sweep, a process of its own: expires holds, goes on with payments nobody came back for, and
compares Redis, Stripe and the order stream.

Several may run at once: each hold and each payment is looked at again by the script that moves it.
"""

import asyncio
import logging
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from gateway.backlog import Backlog
from gateway.checkout.unknown import About
from gateway.errors import HoldfastError
from gateway.pulse import Pulse
from gateway.reconcile.reconciler import Reconciler
from gateway.reconcile.watch import Watch
from gateway.rooms import Rooms
from gateway.shows.shows import shops
from gateway.stock.standing import Position, State
from gateway.stock.sweeper import ClockJumped, expire_due
from gateway.stock.witness import Witness
from gateway.traces import about

log = logging.getLogger(__name__)

_AT_ONCE = 500
"""Payments of one shop settled at once; most of them wait for their turn to ask Stripe."""
_SHOPS_AT_ONCE = 16
"""Those of a server that is silent cost the others no more than one wait for it in so many."""
_DOUBTED_AT_ONCE = 50
"""New shops that share one reading of what Stripe knows."""
_BACKOFF_S = 1.0
_UNKNOWN_EVERY_S = 1.0
_NEW_EVERY_S = 1.0
_NEW_MS = 86_400_000
"""How long after it was opened a shop may be one that was lost. A sweep comes long before that."""


@dataclass(slots=True)
class Sweep:
    """Goes round all shops, again and again."""

    rooms: Rooms
    _seen: dict[str, Position] = field(default_factory=dict)
    """How far each shop's stock was when it was looked at last."""
    _believed: set[str] = field(default_factory=set)
    """Shops that are new, or known to be old."""
    jumped: set[str] = field(default_factory=set)
    """Shops whose server's clock is off, so that their holds do not lapse."""
    done: Counter[str] = field(default_factory=Counter)
    """Holds ``expired``; payments ``settled``, which are those looked at; steps that ``failed``."""
    pulse: Pulse = field(default_factory=Pulse)
    """Beats whenever the round gets on."""
    backlog: Backlog = field(init=False)
    _witness: Witness = field(init=False)
    _settling: defaultdict[str, set[asyncio.Task[None]]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def __post_init__(self) -> None:
        settings = self.rooms.settings
        self.backlog = Backlog(self.rooms.lane, self.rooms.durability)
        # A payment waits in the queue before its budget counts, and what it waits is added.
        longest_s = settings.hold_max_s + settings.payment_budget_s + 2 * settings.stripe_queue_s
        self._witness = Witness(self.rooms.clock, settings.clock_tolerance_s * 1000, longest_s)

    async def run(self) -> None:
        """Sweep until cancelled; the lane must be served elsewhere."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_at_unknown_events())
                group.create_task(self._look_at_new_shops())
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

    async def _look_at_new_shops(self) -> None:
        while True:
            await self.believe()
            await asyncio.sleep(_NEW_EVERY_S)

    async def believe(self) -> None:
        """Look whether shops that were opened of late have sold before; at each once."""
        new = [shop for shop in self._seen if shop not in self._believed]
        for at in range(0, len(new), _DOUBTED_AT_ONCE):
            await asyncio.gather(*map(self._believe, new[at : at + _DOUBTED_AT_ONCE]))

    async def _believe(self, shop: str) -> None:
        born = self._seen[shop].born
        if not born:
            return  # Nobody has opened it yet; whether it was lost is asked once somebody has.
        try:
            if self.rooms.clock.now_ms() - 1000 * float(born) < _NEW_MS:
                await self.rooms.recovery.doubt(shop)
        except HoldfastError as error:
            log.warning("sweep: shop %s: whether it is new: %s", shop, error)
        except Exception:
            log.exception("sweep: shop %s: whether it is new", shop)
        else:
            self._believed.add(shop)

    async def _go_round(self) -> float:
        """Look at every shop; return how long to rest, in seconds."""
        known: list[str] = []
        try:
            known = await shops(self.rooms.lane)
        except HoldfastError as error:
            log.warning("sweep: the list of shops: %s", error)
        self.pulse.beat()
        # A server that is silent, or has lost its data, does not know which shops there are.
        every = sorted({*known, *self._seen})
        for at in range(0, len(every), _SHOPS_AT_ONCE):
            await asyncio.gather(*map(self._try_round, every[at : at + _SHOPS_AT_ONCE]))
            self.pulse.beat()
        return self.rooms.settings.sweep_interval_ms / 1000 if known else _BACKOFF_S

    async def _try_round(self, shop: str) -> None:
        """Look at one shop; if it is in trouble, the others do not suffer from it."""
        try:
            await self.round(shop)
        except HoldfastError as error:
            log.warning("sweep: shop %s: %s", shop, error)
        except Exception:
            log.exception("sweep: shop %s: a round failed", shop)

    async def _unknown_events(self) -> None:
        """Look again at what Stripe told us about orders nobody knew."""

        async def take(about: About) -> None:
            settler = self.rooms.settler
            await settler.settle(about.shop, about.order)
            await settler.call_back(about.shop, about.order, about.intent)

        try:
            await self.rooms.unknown.retry(take)
        except HoldfastError as error:
            log.warning("sweep: unknown events: %s", error)
        except Exception:
            # Whatever is wrong with them, holds expire and payments go on.
            log.exception("sweep: unknown events: a round failed")

    async def round(self, shop: str) -> None:
        """Look at one shop once. Payments are settled beside, for Stripe takes its time.

        Of a shop that is frozen nothing lapses and nothing is settled until it is rebuilt.
        """
        standing = await self.rooms.recovery.look(shop, self._seen.get(shop))
        if standing.state is State.FROZEN:
            return
        self._seen[shop] = standing.position
        await self._expire(shop)
        settling = self._settling[shop]
        room = _AT_ONCE - len(settling)
        if room <= 0:
            return
        for order in await self.rooms.records.due(shop, room):
            task = asyncio.create_task(self._settle(shop, order))
            settling.add(task)
            task.add_done_callback(settling.discard)

    async def _expire(self, shop: str) -> None:
        rooms = self.rooms
        try:
            expired = await expire_due(rooms.lane, rooms.settings, shop, self._witness)
        except ClockJumped as jump:
            if shop not in self.jumped:
                log.error("sweep: shop %s: %s; no hold lapses for now", shop, jump)
            self.jumped.add(shop)
            return
        self.jumped.discard(shop)
        if expired:
            self.done["expired"] += expired
            log.info("sweep: shop %s: %d holds expired", shop, expired)

    async def settled(self) -> None:
        """Wait for the payments begun so far."""
        while under_way := self._under_way():
            await asyncio.gather(*under_way)

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [task for tasks in self._settling.values() for task in tasks]

    async def _settle(self, shop: str, order: str) -> None:
        with about(shop=shop, order=order):
            try:
                await self.rooms.settler.settle(shop, order)
                self.done["settled"] += 1
            except HoldfastError as error:
                self.done["failed"] += 1
                log.warning("sweep: shop %s: order %s: %s", shop, order, error)
            except Exception:
                self.done["failed"] += 1
                log.exception("sweep: shop %s: order %s: a step failed", shop, order)


async def serve(sweep: Sweep, reconciler: Reconciler) -> None:
    """Run a sweep with everything it needs, until cancelled."""
    rooms = sweep.rooms
    try:
        if rooms.claims:
            await rooms.claims.ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(rooms.lane.run())
            group.create_task(rooms.durability.log())
            group.create_task(sweep.run())
            group.create_task(sweep.backlog.run())
            group.create_task(Watch(reconciler, owner=uuid.uuid4().hex).run())
    finally:
        await rooms.aclose()
