"""Viewers whose stock is void leave one after the other."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from gateway.model import Fulfillment, Hold, Money, ShowState
from gateway.sockets import parting
from gateway.sockets.parting import Parting
from gateway.sockets.roster import Roster, Seat

if TYPE_CHECKING:
    from gateway.sockets.outbox import Outbox

HOLD = Hold("h", "active", (), Money(1, "EUR"), "2026-11-21T20:11:54.123Z", Fulfillment())


@dataclass(eq=False)
class Viewer:
    """Notes in ``gone`` that it was sent away, and leaves."""

    name: str
    roster: Roster
    gone: list[str]
    holds: tuple[Hold, ...] = ()
    seat: Seat = field(init=False)

    def __post_init__(self) -> None:
        self.seat = Seat("tonight", self.name, cast("Outbox", None), self)
        self.roster.take(self.seat)

    def active_holds(self) -> tuple[Hold, ...]:
        return self.holds

    def hold_changed(self, hold: Hold) -> None:
        pytest.fail(f"{hold} is none of this")

    def show_changed(self, state: ShowState) -> None:
        pytest.fail(f"{state} is none of this")

    def epoch_changed(self) -> None:
        self.gone.append(self.name)
        self.roster.leave(self.seat)


async def go(parting: Parting, gone: list[str], many: int) -> list[int]:
    """Let them go; how many were gone at each moment somebody else had a turn."""
    seen: list[int] = []
    going = asyncio.create_task(parting.run())
    async with asyncio.timeout(10):
        while len(gone) < many:
            await asyncio.sleep(0.001)
            seen.append(len(gone))
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    return seen


async def test_they_go_a_few_at_a_time_and_those_who_hold_something_first() -> None:
    roster, gone = Roster(), list[str]()
    for number in range(120):
        Viewer(f"v{number}", roster, gone, (HOLD,) if number % 10 == 0 else ())
    leaving = Parting(roster)
    leaving.begin()
    newcomer = Viewer("new", roster, gone)
    seen = await go(leaving, gone, 120)
    assert {int(name[1:]) % 10 for name in gone[:12]} == {0}
    assert len(gone) == len(set(gone)) == 120
    assert len(set(seen)) >= 3
    assert roster.everyone() == (newcomer.seat,)


async def test_when_nobody_is_there_nobody_is_sent_away_and_whoever_comes_later_may_be() -> None:
    roster, gone = Roster(), list[str]()
    leaving = Parting(roster)
    going = asyncio.create_task(leaving.run())
    leaving.begin()
    await asyncio.sleep(0)
    viewer = Viewer("ann", roster, gone)
    await asyncio.sleep(0)
    assert not gone
    leaving.begin()
    async with asyncio.timeout(10):
        while not gone:
            await asyncio.sleep(0)
    assert viewer.seat not in leaving._leaving
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)


async def test_however_many_they_are_they_are_gone_within_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parting, "_LONGEST_S", 0.1)
    roster, gone = Roster(), list[str]()
    for number in range(3_000):
        Viewer(f"v{number}", roster, gone)
    leaving = Parting(roster)
    leaving.begin()
    seen = await go(leaving, gone, 3_000)
    assert len(set(seen)) <= 6


async def test_whoever_came_before_it_all_began_again_goes_too() -> None:
    roster, gone = Roster(), list[str]()
    for number in range(100):
        Viewer(f"v{number}", roster, gone)
    leaving = Parting(roster)
    leaving.begin()
    late = Viewer("late", roster, gone)
    going = asyncio.create_task(leaving.run())
    async with asyncio.timeout(10):
        while not gone:
            await asyncio.sleep(0)
    assert len(gone) < 100
    leaving.begin()
    assert late.seat in leaving._leaving
    async with asyncio.timeout(10):
        while len(gone) < 101:
            await asyncio.sleep(0.001)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    assert len(gone) == len(set(gone)) == 101
