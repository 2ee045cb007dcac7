"""Runs payments in this process: one task an order.

A payment outlives the socket that began it. A caller waits a short while for the outcome, or until
it is clear that the queue before Stripe is longer than that, and then gets what is known; the rest
comes as a push. What this process cannot finish, the sweep does.
"""

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass, field

from gateway.checkout.settle import Hear, Settler
from gateway.errors import HoldfastError, Overloaded, Unavailable
from gateway.messages import CheckoutFrame
from gateway.settings import Settings

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long a shopper's frame waits for the outcome before it hears ``processing``."""
_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 2.0
"""The queue before Stripe spaces the tries of all; this only keeps one from spinning."""
_MOST = 5_000
"""Payments under way in one process; above it the shopper hears ``overloaded``."""
_GRACE_S = 1.0
"""How long payments may go on when the process stops, besides the drain, in which shoppers wait for
theirs. The sweep finishes the others."""


@dataclass(slots=True)
class _Payment:
    """One order being settled, and its place in the queue if it has one."""

    task: asyncio.Task[CheckoutFrame]
    queued: asyncio.Event = field(default_factory=asyncio.Event)
    place: CheckoutFrame | None = None

    def hear(self, place: CheckoutFrame) -> None:
        """The place in the queue, as far as it is known now."""
        self.place = place
        if (place.eta_s or 0) > _PATIENCE_S:
            self.queued.set()


@dataclass(slots=True)
class Desk:
    """Settles orders for sockets and webhooks."""

    settler: Settler
    settings: Settings
    rng: random.Random
    _running: dict[tuple[str, str], _Payment] = field(default_factory=dict)

    @property
    def running(self) -> int:
        """Payments under way in this process."""
        return len(self._running)

    async def settle(self, shop: str, order: str, hold: str) -> CheckoutFrame:
        """Move a payment on, and say how far it is after a short while at most.

        Raises:
            Overloaded: too many payments are under way; the sweep will come to this one.
        """
        payment = self._running.get((shop, order)) or self._begin(shop, order)
        long_queue = asyncio.create_task(payment.queued.wait())
        try:
            await asyncio.wait(
                {payment.task, long_queue},
                timeout=_PATIENCE_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            long_queue.cancel()
        if payment.task.done() and not payment.task.cancelled():
            with contextlib.suppress(Unavailable):
                return payment.task.result()
        return payment.place or CheckoutFrame(hold=hold, state="processing")

    def _begin(self, shop: str, order: str) -> _Payment:
        if len(self._running) >= _MOST:
            raise Overloaded("Too many are paying at once; try again.", retry_after_ms=1000)

        def hear(place: CheckoutFrame) -> None:
            payment.hear(place)

        payment = _Payment(asyncio.create_task(self._run(shop, order, hear)))
        self._running[shop, order] = payment
        payment.task.add_done_callback(lambda done: self._ended(shop, order, done))
        return payment

    def _ended(self, shop: str, order: str, task: asyncio.Task[CheckoutFrame]) -> None:
        """Often nobody waits for the outcome any more: what went wrong is said here."""
        del self._running[shop, order]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, HoldfastError):
            log.warning("payments: order %s is left to the sweep: %s", order, error.code)
        elif error:
            log.error("payments: order %s: a step failed", order, exc_info=error)

    async def _run(self, shop: str, order: str, hear: Hear) -> CheckoutFrame:
        """Try until it is settled, or has taken as long as a payment may."""
        clock, backoff_s = self.settler.clock, _BACKOFF_S
        until_s = clock.monotonic_s() + self.settings.payment_budget_s
        while True:
            try:
                return await self.settler.settle(shop, order, hear)
            except Unavailable:
                if clock.monotonic_s() >= until_s:
                    raise
            await asyncio.sleep(backoff_s * self.rng.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def close(self) -> None:
        """Let payments finish for a moment, then leave them to the sweep."""
        tasks = {payment.task for payment in self._running.values()}
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=_GRACE_S)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
