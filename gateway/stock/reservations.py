"""Group commit: reservations that arrive together are decided together, in order of arrival.

When nothing is in flight a reservation goes at once. While a call is in flight the next ones
gather, and go together when it returns; so grouping adds no wait of its own. One call decides up to
``reserve_batch`` of them for an eighth of the cost of a call each (hazards.md 13), and each gets its
own answer.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from gateway.errors import Overloaded
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply
from gateway.model import LineRequest
from gateway.scripts import load
from gateway.settings import Settings

_RETRY_AFTER_MS = 200


class Request(Struct, frozen=True, omit_defaults=True):
    """One reservation, as ``hold_reserve`` reads it."""

    hold: str
    shopper: str
    show: str
    fingerprint: str
    ttl_ms: int
    fulfillment: str
    lines: tuple[LineRequest, ...]
    location: str | None = None


@dataclass(slots=True)
class GroupCommit:
    """Gathers the reservations of one shop into script calls, one call in flight at a time."""

    shop: str
    lane: Lane
    settings: Settings
    _waiting: deque[tuple[Request, asyncio.Future[Reply]]] = field(default_factory=deque)
    _in_flight: bool = False

    def decide(self, request: Request) -> asyncio.Future[Reply]:
        """Have a reservation decided; the future holds the script's words for it.

        Raises:
            Overloaded: too many reservations wait already.
        """
        if len(self._waiting) >= self.settings.redis_queue:
            raise Overloaded(
                "Too many want this at once; try again.", retry_after_ms=_RETRY_AFTER_MS
            )
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if not self._in_flight:
            self._send()
        return answer

    def _send(self) -> None:
        size = min(self.settings.reserve_batch, len(self._waiting))
        group = [self._waiting.popleft() for _ in range(size)]
        keys = ShopKeys(self.shop)
        names = [keys.meta, keys.stock, keys.catalog, keys.shows, keys.deadlines, keys.ledger]
        names.append(keys.news)
        for request, _ in group:
            names += (keys.hold(request.hold), keys.shopper(request.shopper))
        retention_ms = self.settings.shopper_retention_days * 86_400_000
        call = self.lane.call(
            load("hold_reserve"),
            names,
            (
                msgspec.json.encode([request for request, _ in group]),
                self.settings.holds_per_shopper,
                retention_ms,
            ),
        )
        self._in_flight = True
        call.add_done_callback(lambda done: self._hand_out(group, done))

    def _hand_out(
        self, group: list[tuple[Request, asyncio.Future[Reply]]], call: asyncio.Future[Reply]
    ) -> None:
        """Give each reservation its answer, then send what has gathered meanwhile."""
        self._in_flight = False
        error = call.exception()
        for at, (_, answer) in enumerate(group):
            if answer.done():
                continue
            if error:
                answer.set_exception(error)
                answer.exception()
            else:
                answer.set_result(call.result()[at])
        while self._waiting and not self._in_flight:
            try:
                self._send()
            except Overloaded as overloaded:
                self._refuse_all(overloaded)

    def _refuse_all(self, error: Overloaded) -> None:
        """The lane is full: an answer now is better than a hold nobody waits for any more."""
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)
                answer.exception()
