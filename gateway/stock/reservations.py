"""Group commit: reservations that arrive together are decided together, in order of arrival.

When nothing is in flight a reservation goes at once. While a call is in flight the next ones
gather, and go together when it returns; so grouping adds no wait of its own. One call decides up
to ``reserve_batch`` of them for a fraction of the cost of a call each, and each gets its own
answer.

While a script runs, Redis serves nobody else. So a call decides no more than takes
``reserve_script_ms``, of which reservations of many lines take much.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from gateway.errors import HoldfastError, Overloaded, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply
from gateway.model import MAX_PAYMENT, LineRequest
from gateway.scripts import load, of_script
from gateway.settings import Settings
from gateway.traces import Attributes, Kind, Span, current

_RETRY_AFTER_MS = 200

_STEP_US = 45
"""What the script takes for one reservation, and for each of its lines on top; measured with 1 to
512 reservations of 1 to 50 lines on a core that had others to serve."""

Words = list[str]
"""What ``hold_reserve`` says to one reservation; its header has the words."""


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


_Waiting = tuple[Request, asyncio.Future[Words], Span | None]
"""A reservation, its answer to be, and the step of its trace it belongs to, if one is made."""

_REPLIES = msgspec.json.Decoder(list[Words])


@dataclass(slots=True)
class GroupCommit:
    """Gathers the reservations of one shop into script calls, one call in flight at a time."""

    shop: str
    lane: Lane
    settings: Settings
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _in_flight: bool = False
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def decide(self, request: Request) -> asyncio.Future[Words]:
        """Have a reservation decided; the future holds the script's words for it, or the error.

        Raises:
            Overloaded: too many reservations wait already.
        """
        if len(self._waiting) >= self.settings.redis_queue:
            raise Overloaded(
                "Too many want this at once; try again.", retry_after_ms=_RETRY_AFTER_MS
            )
        answer: asyncio.Future[Words] = self._loop.create_future()
        self._waiting.append((request, answer, current()))
        if not self._in_flight:
            self._send()
        return answer

    def _send(self) -> None:
        group = self._next_group()
        keys = ShopKeys(self.shop)
        names = [keys.meta, keys.stock, keys.catalog, keys.shows, keys.deadlines, keys.ledger]
        names.append(keys.news)
        for request, _, _ in group:
            names += (keys.hold(request.hold), keys.shopper(request.shopper))
        retention_ms = self.settings.shopper_retention_days * 86_400_000
        args = (
            msgspec.json.encode([request for request, _, _ in group]),
            self.settings.holds_per_shopper,
            retention_ms,
            MAX_PAYMENT,
            self.settings.wait_replicas,
        )
        try:
            call = self.lane.call(load("hold_reserve"), names, args)
        except HoldfastError as error:
            _refuse(group, error)
            return
        self._in_flight = True
        steps = _steps(group)
        call.add_done_callback(lambda done: self._hand_out(group, steps, done))

    def _next_group(self) -> list[_Waiting]:
        """Whoever is next, however large, and as many more as one call may decide with it."""
        group = [self._waiting.popleft()]
        left_us = self.settings.reserve_script_ms * 1000 - _cost_us(group[0])
        while self._waiting and len(group) < self.settings.reserve_batch:
            left_us -= _cost_us(self._waiting[0])
            if left_us < 0:
                break
            group.append(self._waiting.popleft())
        return group

    def _hand_out(
        self, group: Sequence[_Waiting], steps: Sequence[Span], call: asyncio.Future[Reply]
    ) -> None:
        """Give each reservation its answer, then send what has gathered meanwhile."""
        self._in_flight = False
        error = call.exception()
        for step in steps:
            step.end(error)
        if error is None:
            for (_, answer, _), words in zip(group, _REPLIES.decode(call.result()), strict=True):
                if not answer.done():
                    answer.set_result(words)
        else:
            _refuse(group, error)
        if isinstance(error, Unavailable):
            # Who gathered during the silence has waited as long as anybody should.
            _refuse(self._waiting, error)
            self._waiting.clear()
        while self._waiting and not self._in_flight:
            self._send()


def _cost_us(waiting: _Waiting) -> int:
    return _STEP_US * (1 + len(waiting[0].lines))


def _steps(group: Sequence[_Waiting]) -> list[Span]:
    """The call begins, as a step in the trace of everybody it is made for."""
    traced = [span for _, _, span in group if span]
    if not traced:
        return []
    script = load("hold_reserve")
    told: Attributes = {**of_script(script), "db.operation.batch.size": len(group)}
    return [span.child(f"EVALSHA {script.name}", Kind.CLIENT, told) for span in traced]


def _refuse(requests: Iterable[_Waiting], error: BaseException) -> None:
    for _, answer, _ in requests:
        if not answer.done():
            answer.set_exception(error)
            answer.exception()
