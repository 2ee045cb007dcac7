"""One sku of a live show as a sequential machine: what each call may be answered, and what it does.

The yardstick of recorded histories, see ``tests.linearizable``. No time passes here: no hold
expires. Of deadlines it knows what everybody may know: none is ever seen to go back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple


@dataclass(frozen=True)
class Reserve:
    shopper: str
    key: str
    units: int


@dataclass(frozen=True)
class Release:
    shopper: str
    key: str


@dataclass(frozen=True)
class Extend:
    shopper: str
    key: str


@dataclass(frozen=True)
class Begin:
    """A payment begins, for what so many units cost."""

    shopper: str
    key: str
    units: int


@dataclass(frozen=True)
class Commit:
    """The hold becomes a sale, if its payment is under way."""

    shopper: str
    key: str


@dataclass(frozen=True)
class Find:
    """Read the order: its phase, and its units once it is sold."""

    shopper: str
    key: str


@dataclass(frozen=True)
class Look:
    """Read how many units are available."""


Call = Reserve | Release | Extend | Begin | Commit | Find | Look


class Answer(NamedTuple):
    """A hold's state, an order's phase, or the code of an error; and what it says besides."""

    word: str
    units: int = 0
    number: int = 0
    """The first unit number; or of a refusal, the units available, or the limit."""
    deadline: int = 0
    """Of a hold; 0 where none is named."""


class Hold(NamedTuple):
    units: int
    state: str = "active"
    phase: str = ""
    first_unit: int = 0
    deadline: int = 0
    """The latest anybody has seen."""


@dataclass(frozen=True)
class Shelf:
    """The sku, and its holds by shopper and key."""

    available: int
    next_unit: int = 1
    holds: Mapping[tuple[str, str], Hold] = field(default_factory=dict)

    @cached_property
    def _hash(self) -> int:
        return hash((self.available, self.next_unit, frozenset(self.holds.items())))

    def __hash__(self) -> int:
        return self._hash

    def having(self, name: tuple[str, str], hold: Hold) -> "Shelf":
        return replace(self, holds={**self.holds, name: hold})


@dataclass(frozen=True)
class OneSku:
    """The rules of the shop."""

    limit: int
    """Units one shopper may have."""
    most_holds: int
    """Active holds one shopper may have."""

    def step(self, shelf: Shelf, call: Call, answer: Answer | None) -> Shelf | None:
        """See ``tests.linearizable.Model``."""
        after, expected = self.run(shelf, call)
        if answer is None:
            return after
        if answer._replace(deadline=0) != expected:
            return None
        if not answer.deadline or isinstance(call, Look):
            return after
        name = (call.shopper, call.key)
        hold = after.holds[name]
        if answer.deadline == hold.deadline:
            return after
        seen_later = answer.deadline > hold.deadline
        return after.having(name, hold._replace(deadline=answer.deadline)) if seen_later else None

    def spent(self, shelf: Shelf, call: Call) -> bool:
        """See ``tests.linearizable.Model``."""
        if isinstance(call, Find | Look | Extend):
            return True
        hold = shelf.holds.get((call.shopper, call.key))
        if isinstance(call, Reserve):
            return hold is not None
        return hold is not None and (
            hold.state != "active" or (isinstance(call, Begin) and hold.phase == "paying")
        )

    def run(self, shelf: Shelf, call: Call) -> tuple[Shelf, Answer]:
        """What becomes of the shelf, and what is answered; no deadline is."""
        if isinstance(call, Look):
            return shelf, Answer("left", number=shelf.available)
        hold = shelf.holds.get((call.shopper, call.key))
        match call:
            case Reserve():
                return self._reserve(shelf, call, hold)
            case Commit() | Find() if hold is None or not hold.phase:
                return shelf, Answer("no_order")
            case _ if hold is None:
                return shelf, Answer("not_found")
            case Release():
                return _release(shelf, call, hold)
            case Extend():
                return shelf, _ended(hold) or Answer("active", hold.units)
            case Begin():
                return _begin(shelf, call, hold)
            case Commit():
                return _commit(shelf, call, hold)
            case Find():
                sold = hold.units if hold.first_unit else 0
                return shelf, Answer(hold.phase, sold, hold.first_unit)

    def _reserve(self, shelf: Shelf, call: Reserve, hold: Hold | None) -> tuple[Shelf, Answer]:
        if hold:
            same = hold.units == call.units
            return shelf, Answer(hold.state, hold.units) if same else _REUSED
        mine = [one for (shopper, _), one in shelf.holds.items() if shopper == call.shopper]
        if sum(one.state == "active" for one in mine) >= self.most_holds:
            return shelf, Answer("limit_exceeded", number=self.most_holds)
        units = sum(one.units for one in mine if one.state != "released")
        if units + call.units > self.limit:
            return shelf, Answer("limit_exceeded", number=self.limit)
        if call.units > shelf.available:
            return shelf, Answer("sold_out", number=shelf.available)
        taken = replace(shelf, available=shelf.available - call.units)
        held = taken.having((call.shopper, call.key), Hold(call.units))
        return held, Answer("active", call.units)


_REUSED = Answer("idempotency_key_reused")


def _ended(hold: Hold) -> Answer | None:
    return None if hold.state == "active" else Answer(f"hold_already_{hold.state}")


def _release(shelf: Shelf, call: Release, hold: Hold) -> tuple[Shelf, Answer]:
    if hold.state == "committed":
        return shelf, Answer("hold_already_committed")
    if hold.state == "active":
        phase = "voiding" if hold.phase == "paying" else hold.phase
        given_back = replace(shelf, available=shelf.available + hold.units)
        ended = hold._replace(state="released", phase=phase)
        shelf = given_back.having((call.shopper, call.key), ended)
    return shelf, Answer("released", hold.units)


def _begin(shelf: Shelf, call: Begin, hold: Hold) -> tuple[Shelf, Answer]:
    if hold.state == "committed":
        return shelf, Answer("ordered")
    if ended := _ended(hold):
        return shelf, ended
    if hold.units != call.units:
        return shelf, Answer("total_changed")
    paying = shelf.having((call.shopper, call.key), hold._replace(phase="paying"))
    return paying, Answer("ordered")


def _commit(shelf: Shelf, call: Commit, hold: Hold) -> tuple[Shelf, Answer]:
    if hold.phase == "committed":
        return shelf, Answer("sold")
    if hold.phase != "paying":
        return shelf, Answer("refused")
    numbered = replace(shelf, next_unit=shelf.next_unit + hold.units)
    sold = hold._replace(state="committed", phase="committed", first_unit=shelf.next_unit)
    return numbered.having((call.shopper, call.key), sold), Answer("sold")
