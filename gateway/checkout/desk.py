"""Runs payments in this process: one task an order, a bounded number at Stripe at once.

A payment outlives the socket that began it. A caller waits a short while for the outcome and then
gets what is known; the rest comes as a push. What this process cannot finish, the sweep does.
"""

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass, field

from gateway.checkout.settle import Settler
from gateway.errors import HoldfastError, Overloaded, Unavailable
from gateway.messages import CheckoutFrame
from gateway.settings import Settings

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long a shopper's frame waits for the outcome before it hears ``processing``."""
_TRIES = 5
"""Tries before a payment is left to the sweep."""
_BACKOFF_S = 0.5
_MOST = 5_000
"""Payments under way in one process; above it the shopper hears ``overloaded``."""
_GRACE_S = 3.0
"""How long payments may go on when the process stops. The sweep finishes the others."""


@dataclass(slots=True)
class Desk:
    """Settles orders for sockets and webhooks."""

    settler: Settler
    settings: Settings
    rng: random.Random
    _running: dict[tuple[str, str], asyncio.Task[CheckoutFrame]] = field(default_factory=dict)
    _queue: dict[str, None] = field(default_factory=dict)
    _at_stripe: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._at_stripe = asyncio.Semaphore(self.settings.stripe_concurrency)

    @property
    def running(self) -> int:
        """Payments under way in this process."""
        return len(self._running)

    async def settle(self, shop: str, order: str, hold: str) -> CheckoutFrame:
        """Move a payment on, and say how far it is after a short while at most.

        Raises:
            Overloaded: too many payments are under way; the sweep will come to this one.
        """
        task = self._running.get((shop, order))
        if task is None:
            if len(self._running) >= _MOST:
                raise Overloaded("Too many are paying at once; try again.", retry_after_ms=1000)
            task = asyncio.create_task(self._run(shop, order))
            self._running[shop, order] = task
            task.add_done_callback(lambda done: self._ended(shop, order, done))
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE_S)
        if task in done and not task.cancelled():
            with contextlib.suppress(Unavailable):
                return task.result()
        return self._waiting(order, hold)

    def _ended(self, shop: str, order: str, task: asyncio.Task[CheckoutFrame]) -> None:
        """Often nobody waits for the outcome any more: what went wrong is said here."""
        del self._running[shop, order]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, HoldfastError):
            log.warning("payments: order %s is left to the sweep: %s", order, error.code)
        elif error:
            log.error("payments: order %s: a step failed", order, exc_info=error)

    def _waiting(self, order: str, hold: str) -> CheckoutFrame:
        if order in self._queue:
            position = 1 + list(self._queue).index(order)
            return CheckoutFrame(hold=hold, state="queued", position=position)
        return CheckoutFrame(hold=hold, state="processing")

    async def _run(self, shop: str, order: str) -> CheckoutFrame:
        for attempt in range(_TRIES):
            try:
                self._queue[order] = None
                async with self._at_stripe:
                    self._queue.pop(order, None)
                    return await self.settler.settle(shop, order)
            except Unavailable:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(_BACKOFF_S * 2**attempt * self.rng.uniform(0.5, 1.0))
            finally:
                self._queue.pop(order, None)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Let payments finish for a moment, then leave them to the sweep."""
        if not self._running:
            return
        _, pending = await asyncio.wait(set(self._running.values()), timeout=_GRACE_S)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
