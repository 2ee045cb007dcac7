"""What many viewers of one shop are told: everybody in slices, so that the loop is never held long.

Stock is conflated. The first change after silence goes at once, others at most once a tick, but
*sold out* and *back in stock* at once. All that has changed is one frame, encoded once. There is
never more than one walk over the seats with stock: what changes meanwhile waits for the end, which
slows a sale down to what its viewers can be told. But something urgent joins the walk: the frame is
made anew with all that changed since the walk began, whoever was not reached yet gets that one at
once, and then those who were. Values are absolute, so too much in a frame is right, too.

A viewer that knows a newer version than a frame has, from its welcome, is not told it.

What must not be missed goes by a walk of its own, first come first told, so that it delays no
stock; of what only counts as it is now, such as the viewers' number, the latest is told by a third.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gateway.clock import Clock, rfc3339
from gateway.messages import Frame, StockFrame, encode
from gateway.sockets.direct import Encoded, encoded
from gateway.sockets.roster import Roster, Seat
from gateway.sockets.tally import Tally

log = logging.getLogger(__name__)

SLICE = 64
"""Seats that are told before others have their turn: about a millisecond."""
_MOST_ERRANDS = 64
"""Frames that may wait to be told to many; above it the oldest is told at once, unsliced."""
_MOST_MADE = 256
"""Frames remembered by when their changes were decided: far more than one walk has."""

Then = Callable[[Seat], None]


class Stock(Protocol):
    """The stock as it is known here."""

    @property
    def epoch(self) -> int:
        """Within which versions rise."""

    @property
    def version(self) -> int:
        """Rises by one with every change."""

    @property
    def items(self) -> dict[str, int]:
        """Units available by sku."""


@dataclass(slots=True)
class _Gathered:
    """What has changed and is in no frame yet."""

    skus: set[str] = field(default_factory=set)
    urgent_since_ms: int | None = None
    other_since_ms: int | None = None
    """When Redis decided the first change; 0 when that is not known."""

    def add(self, skus: Iterable[str], at_ms: int, *, urgent: bool) -> None:
        self.skus.update(skus)
        if urgent and self.urgent_since_ms is None:
            self.urgent_since_ms = at_ms
        elif not urgent and self.other_since_ms is None:
            self.other_since_ms = at_ms

    @property
    def urgent(self) -> bool:
        return self.urgent_since_ms is not None


class _Made(NamedTuple):
    """A stock frame that was made: what tells how old its news is to whom."""

    version: int
    urgent_since_ms: int | None
    other_since_ms: int | None


@dataclass(slots=True)
class _Errand:
    """A frame for some viewers, told slice by slice."""

    seats: Sequence[Seat]
    frame: Encoded
    then: Then | None
    _at: int = 0

    async def run(self) -> None:
        """Tell all of them, with pauses; ``finish`` may come between."""
        while self._at < len(self.seats):
            self._tell(SLICE)
            await asyncio.sleep(0)

    def finish(self) -> None:
        """Tell the rest of them now."""
        self._tell(len(self.seats))

    def _tell(self, number: int) -> None:
        seats = self.seats[self._at : self._at + number]
        self._at += len(seats)
        for seat in seats:
            try:
                if not seat.outbox.left:
                    seat.outbox.push(self.frame)
                    if self.then:
                        self.then(seat)
            except Exception:
                log.exception("news: a viewer could not be told")


@dataclass(slots=True)
class Fanout:
    """Tells the viewers of one shop in this process."""

    stock: Stock
    roster: Roster
    tally: Tally
    clock: Clock
    tick_s: float
    """How often stock is told, at most."""
    _gathered: _Gathered = field(default_factory=_Gathered)
    _made: deque[_Made] = field(default_factory=lambda: deque(maxlen=_MOST_MADE))
    _heard: int = 0
    """The newest version there was something to tell of, or not."""
    _told_at_s: float = float("-inf")
    _timer: asyncio.TimerHandle | None = None
    _errands: deque[_Errand] = field(default_factory=deque)
    _latest: dict[Hashable, _Errand] = field(default_factory=dict)
    _walks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """Those under way, by what they tell."""

    def changed(self, skus: Iterable[str], at_ms: int, *, urgent: bool) -> None:
        """The stock has a new version, in which these skus changed; have them told.

        ``at_ms`` is when Redis decided it, 0 if that is not known.
        """
        self._heard = self.stock.version
        if new := set(skus):
            self._gathered.add(new, at_ms, urgent=urgent)
            self._schedule()

    def tell(self, seats: Sequence[Seat], frame: Frame, then: Then | None = None) -> None:
        """Have a frame told that must not be missed; ``then`` is called for each who was told.

        Frames are told in this order; whoever takes a seat from now on is not told.
        """
        self._errands.append(_Errand(seats, encoded(encode(frame), "push"), then))
        if len(self._errands) > _MOST_ERRANDS:
            self._errands.popleft().finish()
        self._start("news", self._run_errands)

    def tell_latest(self, what: Hashable, seats: Sequence[Seat], frame: Frame) -> None:
        """Have a frame told, in the place of one about the same that still waits."""
        self._latest[what] = _Errand(seats, encoded(encode(frame), "push"), None)
        self._start("latest", self._tell_latest)

    def start_over(self) -> None:
        """Versions count anew: nobody is told any stock until after a new welcome."""
        self._gathered = _Gathered()
        self._made.clear()
        self._stop_timer()
        if walk := self._walks.get("stock"):
            walk.cancel()  # Its versions would look new to those who come now.
        for seat in self.roster.everyone():
            seat.outbox.leave(self._heard)
        self._heard = self.stock.version

    def leave(self, seat: Seat) -> None:
        """A viewer has gone; again is fine."""
        self.roster.leave(seat)
        seat.outbox.leave(self._heard)

    async def aclose(self) -> None:
        """Tell nothing any more."""
        self._stop_timer()
        self._gathered = _Gathered()
        self._errands.clear()
        self._latest.clear()
        walks = list(self._walks.values())
        for walk in walks:
            walk.cancel()
        await asyncio.gather(*walks, return_exceptions=True)

    def _schedule(self) -> None:
        """See that what was gathered is told in time."""
        if "stock" in self._walks:
            return  # It sees what is urgent by itself, and the rest waits for its end.
        loop = asyncio.get_running_loop()
        wait_s = self._told_at_s + self.tick_s - loop.time()
        if self._gathered.urgent or wait_s <= 0:
            self._stop_timer()
            self._start("stock", self._tell_stock)
        elif self._timer is None:
            self._timer = loop.call_later(wait_s, self._start, "stock", self._tell_stock)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._walks:
            walk = self._walks[name] = asyncio.create_task(work())
            walk.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, walk: asyncio.Task[None]) -> None:
        del self._walks[name]
        if not walk.cancelled() and (error := walk.exception()):
            log.error("news: the viewers could not be told", exc_info=error)
        # What came after its last look, and before this, found it still under way.
        if self._gathered.skus:
            self._schedule()
        if self._errands:
            self._start("news", self._run_errands)
        if self._latest:
            self._start("latest", self._tell_latest)

    async def _tell_stock(self) -> None:
        """Tell everybody what was gathered, and what becomes urgent meanwhile."""
        self._stop_timer()
        told: set[str] = set()
        stock, joined = self._make(told), True
        while joined:
            joined = False
            seats = self.roster.everyone()
            for at in range(0, len(seats), SLICE):
                if self._gathered.urgent:
                    stock, joined = self._make(told), True
                self._tell_slice(seats[at : at + SLICE], stock)
                await asyncio.sleep(0)

    def _make(self, told: set[str]) -> Encoded:
        """A frame of what was gathered besides what this walk tells already."""
        gathered, self._gathered = self._gathered, _Gathered()
        told |= gathered.skus
        stock, self._told_at_s = self.stock, asyncio.get_running_loop().time()
        items = {sku: stock.items[sku] for sku in told if sku in stock.items}
        at_ms = gathered.urgent_since_ms or gathered.other_since_ms
        frame = StockFrame(
            epoch=stock.epoch,
            version=stock.version,
            items=items,
            at=rfc3339(at_ms) if at_ms else None,
        )
        self._made.append(_Made(stock.version, gathered.urgent_since_ms, gathered.other_since_ms))
        return encoded(encode(frame), "stock", stock.version)

    def _tell_slice(self, seats: Sequence[Seat], stock: Encoded) -> None:
        """Tell those who do not know it yet. Each line costs with every frame and viewer."""
        version, frame = stock.version, stock.frame
        known: list[int] = []
        for seat in seats:
            outbox = seat.outbox
            told = outbox.told
            if told >= version:
                continue
            try:
                if write := outbox.at_once:
                    write(frame)
                    outbox.told = version
                    known.append(told)
                else:
                    outbox.tell_later(stock)
            except Exception:
                log.exception("news: a viewer could not be told")
        if known:
            frames = len(known)
            self.tally.stock_told(frames, frames * (version - 1) - sum(known))
            self._observe(min(known), frames)

    def _observe(self, told: int, frames: int) -> None:
        """How old what was written is to viewers who knew the version ``told`` until now."""
        urgent_ms = other_ms = None
        for made in reversed(self._made):
            if made.version <= told:
                break
            urgent_ms = made.urgent_since_ms or urgent_ms
            other_ms = made.other_since_ms or other_ms
        now_ms = self.clock.now_ms()
        if urgent_ms:
            self.tally.stale_urgent.observe(max(0, now_ms - urgent_ms) / 1000, frames)
        if other_ms:
            self.tally.stale_other.observe(max(0, now_ms - other_ms) / 1000, frames)

    async def _run_errands(self) -> None:
        while self._errands:
            errand = self._errands[0]
            await errand.run()
            if self._errands and self._errands[0] is errand:
                self._errands.popleft()

    async def _tell_latest(self) -> None:
        while self._latest:
            await self._latest.pop(next(iter(self._latest))).run()
