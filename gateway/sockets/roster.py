"""Who is connected to which show of a shop, and what some of them are told."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from gateway.messages import Frame, encode
from gateway.model import Hold, ShowState
from gateway.sessions.limits import Bucket
from gateway.sockets.direct import encoded
from gateway.sockets.outbox import Outbox


class SeatHolder(Protocol):
    """A socket that wants to know what its pushes mean."""

    def active_holds(self) -> tuple[Hold, ...]:
        """The holds this shopper is known to have."""

    def hold_changed(self, hold: Hold) -> None:
        """A hold of this shopper changed."""

    def show_changed(self, state: ShowState) -> None:
        """The show started or ended."""

    def epoch_changed(self) -> None:
        """What was said of the stock so far is void."""


@dataclass(eq=False, frozen=True, slots=True)
class Seat:
    """One connected viewer."""

    show: str
    shopper: str
    outbox: Outbox
    holder: SeatHolder


@dataclass(slots=True)
class Roster:
    """The seats of one shop in this process."""

    _allowances: dict[str, Bucket] = field(default_factory=dict)
    _by_show: defaultdict[str, dict[Seat, None]] = field(default_factory=lambda: defaultdict(dict))
    _by_shopper: defaultdict[str, set[Seat]] = field(default_factory=lambda: defaultdict(set))

    def take(self, seat: Seat) -> None:
        """A viewer has come."""
        # As they came, so they lie in memory: a walk in another order takes a tenth longer.
        self._by_show[seat.show][seat] = None
        self._by_shopper[seat.shopper].add(seat)

    def leave(self, seat: Seat) -> None:
        """A viewer has gone; again is fine."""
        self._by_show.get(seat.show, {}).pop(seat, None)
        self._by_shopper.get(seat.shopper, set()).discard(seat)
        for index, name in ((self._by_show, seat.show), (self._by_shopper, seat.shopper)):
            if not index.get(name):
                index.pop(name, None)
        if seat.shopper not in self._by_shopper:
            self._allowances.pop(seat.shopper, None)

    def allowance(self, shopper: str, fresh: Bucket) -> Bucket:
        """What the sockets of a shopper who is here may send together; ``fresh`` for the first."""
        return self._allowances.setdefault(shopper, fresh)

    def everyone(self) -> tuple[Seat, ...]:
        """All seats of the shop."""
        return tuple(chain.from_iterable(self._by_show.values()))

    def at(self, show: str) -> tuple[Seat, ...]:
        """The seats of one show."""
        return tuple(self._by_show.get(show, ()))

    def of(self, shopper: str) -> tuple[Seat, ...]:
        """The seats of one shopper, who may have several devices."""
        return tuple(self._by_shopper.get(shopper, ()))

    def shoppers(self) -> tuple[str, ...]:
        """Everybody who is here."""
        return tuple(self._by_shopper)

    def counts(self) -> dict[str, int]:
        """Viewers by show."""
        return {show: len(seats) for show, seats in self._by_show.items()}

    def tell(self, seats: Iterable[Seat], frame: Frame | bytes) -> None:
        """Encode a frame once and put it into a few outboxes; for many there is the fan-out."""
        push = encoded(frame if isinstance(frame, bytes) else encode(frame), "push")
        for seat in seats:
            seat.outbox.push(push)
