"""The queue before Stripe, shared by all processes: who may ask next, and how long the others wait.

Stripe grants so many requests a second, for each endpoint and for the account; what goes beyond is
answered 429. So a drop of a thousand orders is a queue of forty seconds, and a queue is fair only
if there is one: everybody takes a ticket in Redis, and tickets are called in order. While one waits
somebody is told its place again and again, and may call it off.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.errors import Overloaded
from gateway.keys import StripeKeys
from gateway.lane import Lane
from gateway.scripts import load
from gateway.settings import Settings

_BURST = 0.4
"""Share of a second's requests that may go at once. Stripe's own allowance is larger, so that what
arrives there a little unevenly is still let through."""
_TELL_EVERY_S = 2.0
_WORTH_TELLING_S = 0.3
_RETENTION_MS = 86_400_000


class Endpoint(StrEnum):
    """Stripe's endpoints we ask; each has its own limit."""

    CREATE = "create"
    READ = "read"
    CAPTURE = "capture"
    CANCEL = "cancel"
    LIST = "list"
    REFUND = "refund"
    REFUNDS = "refunds"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue: how many go first, oneself included, and how long that takes."""

    position: int
    eta_s: int


class CalledOff(Exception):
    """Whoever waited need not ask any more. Nothing was asked."""


OnWait = Callable[[Place], Awaitable[bool]]
"""Told the place while one waits; ``False`` calls it off."""


@dataclass(slots=True)
class Turns:
    """Gives turns to ask Stripe. ``sleep`` is handed in."""

    lane: Lane
    settings: Settings
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _waiting: int = field(default=0)

    @property
    def _keys(self) -> StripeKeys:
        return StripeKeys(self.settings.stripe_account)

    @property
    def waiting(self) -> int:
        """Requests of this process that wait for their turn."""
        return self._waiting

    async def take(self, endpoint: Endpoint, on_wait: OnWait | None = None) -> None:
        """Return when it is our turn to ask an endpoint once.

        Raises:
            CalledOff: ``on_wait`` said so.
            Overloaded: more wait than could be served within ``stripe_queue_s``.
        """
        self._waiting += 1
        try:
            await self._queue_up(endpoint, on_wait)
        finally:
            self._waiting -= 1

    async def _queue_up(self, endpoint: Endpoint, on_wait: OnWait | None) -> None:
        ticket = ""
        while True:
            words = [word.decode() for word in await self._look(endpoint, ticket)]
            match words:
                case ["GO", _]:
                    return
                case ["FULL", wait_ms]:
                    raise Overloaded("Too many are paying at once.", retry_after_ms=int(wait_ms))
                case ["WAIT", ticket, position, wait_ms]:
                    wait_s = int(wait_ms) / 1000
                    place = Place(int(position), math.ceil(wait_s))
                    if on_wait and wait_s > _WORTH_TELLING_S and not await on_wait(place):
                        raise CalledOff
                    await self.sleep(min(wait_s, _TELL_EVERY_S))
                case _:
                    raise AssertionError(f"stripe_turn said {words}")

    def _look(self, endpoint: Endpoint, ticket: str) -> Awaitable[list[bytes]]:
        settings = self.settings
        return self.lane.call(
            load("stripe_turn"),
            (self._keys.queue(endpoint), self._keys.level),
            (
                ticket,
                settings.stripe_rate_per_s,
                settings.stripe_account_rate_per_s,
                _BURST,
                settings.stripe_rate_per_s * settings.stripe_queue_s,
                _RETENTION_MS,
            ),
        )

    async def pause(self, endpoint: Endpoint, for_ms: int) -> None:
        """Let nobody ask an endpoint for a while, in no process."""
        await self.lane.call(
            load("stripe_pause"),
            (self._keys.queue(endpoint),),
            (self.settings.stripe_rate_per_s, _BURST, for_ms, _RETENTION_MS),
        )
