"""Notices that a server may have lost writes of a shop, and has the shop back in seconds.

Every process looks at the shops it works for, and any of them may recover one; a lease says which.
A shop that is frozen is first looked after for ``_GATHER_S``, so that all gateways notice and bring
back the holds of their shoppers before anybody else can take the units.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from gateway.clock import Clock
from gateway.errors import Frozen, HoldfastError, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.recovery.rebuild import HISTORY_MS, Rebuilder, Rebuilt
from gateway.scripts import load
from gateway.stock.standing import Position, Standing, State, freeze, stand, thaw

log = logging.getLogger(__name__)

_GATHER_S = 1.5
"""Gateways look at their shops once a second."""
_AGAIN_S = 0.2
"""How soon it is tried again, or looked whether another process has done it."""
_LEASE_MS = 2_000
"""When who recovers a shop dies, another takes over after that."""
_RENEW_S = 0.5
_PATIENCE_S = 5.0
"""How long a shopper's command waits for its shop to come back."""


@dataclass(slots=True)
class Recovery:
    """Keeps the shops of one process served.

    Args:
        owner: an id no other process has, for the leases.
    """

    lane: Lane
    rebuilder: Rebuilder
    clock: Clock
    owner: str
    done: Counter[str] = field(default_factory=Counter)
    """``frozen`` and ``thawed`` shops, ``restored`` sales: what this process has seen and done."""
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Shops that are not served just now, as far as this process knows."""
        return tuple(self._tasks)

    async def look(self, shop: str, seen: Position | None = None) -> Standing:
        """How a shop stands. If it is frozen, or its server knows less than was seen of it here,
        it is being recovered when this returns.

        Raises:
            Unavailable, Overloaded: Redis does not answer.
        """
        standing = await stand(self.lane, shop)
        if seen and standing.position.lacks(seen) and await freeze(self.lane, shop, seen):
            log.error("recovery: shop %s: the server has gone back in time", shop)
            standing = await stand(self.lane, shop)
        if standing.state is State.FROZEN:
            self._begin(shop)
        return standing

    async def served(self, shop: str) -> None:
        """Wait until a frozen shop is served again.

        Raises:
            Frozen: it takes longer than anybody should wait.
        """
        task = self._begin(shop)
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE_S)
        if not done:
            raise Frozen

    async def doubt(self, shop: str) -> None:
        """Rebuild a shop that seems new and has sold before: its server was lost, with all who
        knew it.

        Raises:
            Unavailable: a part does not answer; ask again.
        """
        since_ms = self.clock.now_ms() - HISTORY_MS
        _, missing = await self.rebuilder.missing(shop, since_ms)
        if missing:
            log.error("recovery: shop %s: it is not new: %d sales are lost", shop, len(missing))
            await self.by_hand(shop, since_ms)

    async def by_hand(self, shop: str, since_ms: int) -> Rebuilt:
        """Stop a shop, rebuild it from all that was sold since, and have it served again.

        It is not stopped while those are silent who know what was sold: it would stay so.

        Raises:
            Unavailable: a part does not answer, or another process took over; ask again.
        """
        await self.rebuilder.books.answer(shop)
        async with self._lease(shop) as ours:
            if not ours:
                raise Unavailable("Another process is rebuilding this shop; ask again.")
            await freeze(self.lane, shop)
            frozen = await stand(self.lane, shop)
            gathered_s = self.clock.monotonic_s() + _GATHER_S
            rebuilt = await self._rebuild(shop, frozen, since_ms, gathered_s, patient=True)
        if rebuilt.epoch is None:
            raise Unavailable("Another process took over, or the server was lost; ask again.")
        return rebuilt

    async def aclose(self) -> None:
        """Stop; another process goes on with what was begun."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, shop: str) -> asyncio.Task[None]:
        task = self._tasks.get(shop)
        if task is None:
            task = self._tasks[shop] = asyncio.create_task(self._recover(shop))
            task.add_done_callback(lambda _: self._tasks.pop(shop))
        return task

    async def _recover(self, shop: str) -> None:
        """Until the shop is served, by this process' doing or another's."""
        gathered_s, told = self.clock.monotonic_s() + _GATHER_S, False
        while True:
            try:
                standing = await stand(self.lane, shop)
                if standing.state is not State.FROZEN:
                    return
                if not told:
                    told = True
                    self.done["frozen"] += 1
                    log.warning("recovery: shop %s: frozen; writes may have been lost", shop)
                async with self._lease(shop) as ours:
                    if ours:
                        since_ms = self.rebuilder.since(standing, self.clock.now_ms())
                        if (await self._rebuild(shop, standing, since_ms, gathered_s)).epoch:
                            return
            except HoldfastError as error:
                log.warning("recovery: shop %s: %s", shop, error)
            except Exception:
                log.exception("recovery: shop %s: a step failed", shop)
            await asyncio.sleep(_AGAIN_S)

    async def _rebuild(
        self,
        shop: str,
        frozen: Standing,
        since_ms: int,
        gathered_s: float,
        *,
        patient: bool = False,
    ) -> Rebuilt:
        """Rebuild a shop, and let it be served once its holds are gathered; without a new epoch
        when another does it, or it must be rebuilt again.
        """
        rebuilt = await self.rebuilder.rebuild(shop, since_ms, patient=patient)
        await asyncio.sleep(max(0.0, gathered_s - self.clock.monotonic_s()))
        epoch = await thaw(self.lane, shop, self.owner, frozen)
        if epoch is not None:
            self.done["thawed"] += 1
            self.done["restored"] += len(rebuilt.missing)
            log.warning(
                "recovery: shop %s: served again in epoch %d; of %d sales %d were missing",
                *(shop, epoch, rebuilt.known, len(rebuilt.missing)),
            )
        return msgspec.structs.replace(rebuilt, epoch=epoch)

    @contextlib.asynccontextmanager
    async def _lease(self, shop: str) -> AsyncIterator[bool]:
        """Be the one who recovers a shop while the block runs; ``False`` when another is."""
        if not await self._ask_lease(shop):
            yield False
            return
        renewing = asyncio.create_task(self._keep_lease(shop))
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _ask_lease(self, shop: str) -> bool:
        key = ShopKeys(shop).rebuilding
        reply = await self.lane.call(load("lease"), [key], [self.owner, _LEASE_MS])
        return bool(reply[0] == b"HELD")

    async def _keep_lease(self, shop: str) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(HoldfastError):
                await self._ask_lease(shop)
