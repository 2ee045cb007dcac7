"""The queue before Stripe, shared by all processes: who may ask next, and how long the others wait.

Stripe grants so many requests a second, for each endpoint and for the account; what goes beyond is
answered 429. So a drop of a thousand orders is a queue of forty seconds, and a queue is fair only
if there is one: everybody takes a ticket in Redis, and tickets are called in order. While one waits
somebody is told its place again and again, and may call it off.
"""

import asyncio
import contextlib
import math
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.errors import HoldfastError, Overloaded, Unavailable
from gateway.keys import StripeKeys
from gateway.lane import Lane
from gateway.scripts import load
from gateway.settings import Settings

_BURST = 0.4
"""Share of a second's requests that may go at once. Stripe's own allowance is larger, so that what
arrives there a little unevenly is still let through."""
_TELL_EVERY_S = (2.0, 5.0)
"""A place is told after a quarter of the wait, within these bounds: for whoever waits half a minute
two seconds change little, and hundreds who look again are work for everybody."""
LONGEST_SILENCE_MS = round(_TELL_EVERY_S[1] * 1000)
"""Between two times that somebody who waits is told."""
_WORTH_TELLING_S = 0.3
LONGEST_PAUSE_MS = 4_000
_SILENCE_S = 0.5
_MOST_SILENCES = 20
"""Looks at the queue that may go unanswered before one gives up."""
_RETENTION_MS = 86_400_000
_TICKET_RETENTION_MS = 10_000
"""Longer than the lane repeats a request whose reply was lost."""


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
            settings = self.settings
            await self._queue_up(self._keys.queue(endpoint), settings.stripe_rate_per_s, on_wait)
            await self._queue_up(self._keys.all, settings.stripe_account_rate_per_s, on_wait)
        finally:
            self._waiting -= 1

    async def _queue_up(self, queue: str, rate: int, on_wait: OnWait | None) -> None:
        mine = _Ticket(self._keys.ticket(uuid.uuid4().hex))
        try:
            while not await self._is_called(queue, rate, mine, on_wait):
                pass
        except (CalledOff, asyncio.CancelledError):
            self._leave(queue, mine)
            raise

    async def _is_called(
        self, queue: str, rate: int, mine: "_Ticket", on_wait: OnWait | None
    ) -> bool:
        """Look once, and wait a while if it is not our turn. A silent Redis costs no place."""
        try:
            words = [word.decode() for word in await self._look(queue, rate, mine)]
            match words:
                case ["GO", wait_ms]:
                    if wait_ms != "0":
                        await self.sleep(int(wait_ms) / 1000)
                    return True
                case ["FULL", wait_ms]:
                    raise Overloaded("Too many are paying at once.", retry_after_ms=int(wait_ms))
                case ["WAIT", number, position, wait_ms]:
                    mine.number = number
                    wait_s = int(wait_ms) / 1000
                    place = Place(int(position), math.ceil(wait_s))
                    if on_wait and wait_s > _WORTH_TELLING_S and not await on_wait(place):
                        raise CalledOff
                    await self.sleep(min(wait_s, _told_again_s(wait_s)))
                case _:
                    raise AssertionError(f"stripe_turn said {words}")
        except Unavailable:
            mine.silences += 1
            if mine.silences > _MOST_SILENCES:
                raise
            await self.sleep(_SILENCE_S)
        return False

    def _look(self, queue: str, rate: int, mine: "_Ticket") -> Awaitable[list[bytes]]:
        most = rate * self.settings.stripe_queue_s
        args = (
            *(mine.number, rate, _BURST, most),
            *(_RETENTION_MS, _TICKET_RETENTION_MS, LONGEST_PAUSE_MS),
        )
        return self.lane.call(load("stripe_turn"), (queue, mine.key), args)

    def _leave(self, queue: str, mine: "_Ticket") -> None:
        """Let those behind move up. Not waited for: whoever leaves may be about to end."""
        if mine.number:
            with contextlib.suppress(HoldfastError):
                left = self.lane.call(load("stripe_leave"), (queue,), (mine.number,))
                left.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def pause(self, endpoint: Endpoint, for_ms: int) -> None:
        """Let nobody ask an endpoint for a while, in no process."""
        rate, longest = self.settings.stripe_rate_per_s, LONGEST_PAUSE_MS
        await self.lane.call(
            load("stripe_pause"),
            (self._keys.queue(endpoint),),
            (rate, _BURST, min(for_ms, longest), _RETENTION_MS, longest),
        )


def _told_again_s(wait_s: float) -> float:
    soonest_s, latest_s = _TELL_EVERY_S
    return min(max(wait_s / 4, soonest_s), latest_s)


@dataclass(slots=True)
class _Ticket:
    """A place in a queue: the key it is remembered under while it is taken, then its number."""

    key: str
    number: str = ""
    silences: int = 0
