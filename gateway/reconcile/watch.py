"""Reconciles again and again, one sweep of several at a time.

Most looks cover a short time: since the last one, and an hour more, for a difference may show
itself only after ``LYING_MS``. At the start, and then every hour, a look goes back as far as an
authorization can live; so nothing is missed that happened while nobody looked, and what is left to
a person is named again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.errors import HoldfastError
from gateway.keys import StripeKeys
from gateway.reconcile.findings import Mend, Reconciliation
from gateway.reconcile.reconciler import AUTHORIZATION_LIFE_MS, Reconciler
from gateway.scripts import load

log = logging.getLogger(__name__)

_WHOLE_EVERY_MS = 3_600_000
_AGAIN_MS = 3_600_000
"""What a short look goes over again."""
_LEASE_MS = 15_000
"""How long the lease lasts; when its holder dies, another sweep takes over after that."""
_RENEW_S = 5.0


@dataclass(slots=True)
class Watch:
    """Looks at everything every ``reconcile_interval_s``, while it has the lease.

    Args:
        owner: an id no other sweep has.
    """

    reconciler: Reconciler
    owner: str
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _looked_at_ms: int | None = None
    """When the last look here began; ``None`` as long as another sweep looks."""
    _whole_at_ms: int = 0
    _ours: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Watch until cancelled, then give the lease back. A repair cut off is made by the next."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_lease())
                group.create_task(self._go_round())
        finally:
            with contextlib.suppress(HoldfastError):
                await self._ask_lease(0)

    async def _keep_lease(self) -> None:
        while True:
            try:
                held = await self._ask_lease(_LEASE_MS)
            except HoldfastError as error:
                log.warning("reconcile: the lease cannot be renewed: %s", error)
                held = False
            if held:
                self._ours.set()
            else:
                self._ours.clear()
                self._looked_at_ms = None
            await self.sleep(_RENEW_S)

    async def _ask_lease(self, for_ms: int) -> bool:
        settler = self.reconciler.settler
        key = StripeKeys(settler.settings.stripe_account).reconciling
        reply = await settler.lane.call(load("lease"), (key,), (self.owner, for_ms))
        return bool(reply[0] == b"HELD")

    async def _go_round(self) -> None:
        while True:
            await self._ours.wait()
            try:
                await self.look()
            except HoldfastError as error:
                log.warning("reconcile: %s", error)
            except Exception:
                log.exception("reconcile: a look failed")
            await self.sleep(self.reconciler.settler.settings.reconcile_interval_s)

    async def look(self) -> Reconciliation:
        """Look once, as far back as is due, and repair what is safe.

        Raises:
            HoldfastError: Redis or Stripe does not answer; the next look covers the same time.
        """
        now_ms = self.reconciler.settler.clock.now_ms()
        whole = self._looked_at_ms is None or now_ms >= self._whole_at_ms
        since_ms = now_ms - AUTHORIZATION_LIFE_MS
        if not whole and self._looked_at_ms is not None:
            since_ms = max(since_ms, self._looked_at_ms - _AGAIN_MS)
        found = await self.reconciler.look(None, since_ms, Mend.SAFE)
        self._looked_at_ms = now_ms
        if whole:
            self._whole_at_ms = now_ms + _WHOLE_EVERY_MS
        if found.differences:
            log.warning(
                "reconcile: %s; %d repaired, %d left",
                ", ".join(f"{count} {name}" for name, count in found.differences.items()),
                found.repaired,
                found.left,
            )
        return found
