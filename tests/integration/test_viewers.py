"""How many are watching: over all processes, right when one dies, and told no more than needed."""

from dataclasses import dataclass, field
from typing import Any

from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.sockets.roster import Roster, Seat
from gateway.sockets.viewers import Viewers

SHOW = "tonight"


@dataclass
class HandClock:
    """A clock that is moved by hand."""

    now_s: float = 1_000.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class Process:
    """One process, and the viewers it has."""

    name: str
    shop: str
    lane: Lane
    clock: HandClock = field(default_factory=HandClock)
    roster: Roster = field(default_factory=Roster)

    told: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.viewers = Viewers(
            self.shop,
            self.lane,
            self.clock,
            self.roster,
            lambda show, count: self.told.append((show, count)),
        )

    def comes(self, show: str = SHOW) -> Seat:
        """A viewer comes."""
        nobody: Any = None
        seat = Seat(show, "ann", nobody, nobody)
        self.roster.take(seat)
        return seat

    async def counts(self, after_s: float = 1.0) -> None:
        self.clock.now_s += after_s
        await self.viewers.count(self.name)


async def test_viewers_of_all_processes_are_added_up(lane: Lane, shop: str) -> None:
    one, two = Process("one", shop, lane), Process("two", shop, lane)
    one.comes()
    two.comes()
    two.comes("another show")
    for process in (one, two, one):
        await process.counts()
    assert one.told == [(SHOW, 1), (SHOW, 2)]
    assert sorted(two.told) == [("another show", 1), (SHOW, 2)]


async def test_whoever_leaves_is_counted_no_more(lane: Lane, shop: str) -> None:
    one, two = Process("one", shop, lane), Process("two", shop, lane)
    one.comes()
    seat = two.comes()
    await two.counts()
    await one.counts()
    two.roster.leave(seat)
    await two.counts()
    await one.counts()
    assert one.told == [(SHOW, 2), (SHOW, 1)]
    assert two.viewers.known(SHOW) is None
    assert await lane.command("HKEYS", ShopKeys(shop).viewers(SHOW)) == [b"one"]


async def test_a_process_that_died_is_left_out_after_a_while(lane: Lane, shop: str) -> None:
    one, two = Process("one", shop, lane), Process("two", shop, lane)
    one.comes()
    two.comes()
    await two.counts()
    await one.counts()
    key = ShopKeys(shop).viewers(SHOW)
    written = await lane.command("HGET", key, "two")
    viewers, at = map(int, written.split())
    for age_ms, count in ((1_000, 2), (3_100, 1)):
        await lane.command("HSET", key, "two", f"{viewers} {at - age_ms}")
        await one.counts()
        assert one.told[-1] == (SHOW, count)
    assert not await lane.command("HEXISTS", key, "two")


async def test_all_are_told_at_most_once_a_second_and_only_of_a_change(
    lane: Lane, shop: str
) -> None:
    one = Process("one", shop, lane)
    one.comes()
    for _ in range(5):
        await one.counts()
    assert one.told == [(SHOW, 1)]
    one.comes()
    await one.counts(0.4)
    assert one.told == [(SHOW, 1), (SHOW, 2)]
    one.comes()
    for told in (2, 2, 3):
        await one.counts(0.4)
        assert one.told[-1] == (SHOW, told)
    assert len(one.told) == 3


async def test_what_is_known_is_there_for_newcomers_and_not_told_to_all_again(
    lane: Lane, shop: str
) -> None:
    one = Process("one", shop, lane)
    assert one.viewers.known(SHOW) is None
    one.comes()
    await one.counts()
    one.roster.leave(one.comes())
    assert one.viewers.known(SHOW) == 1
    await one.counts()
    assert one.told == [(SHOW, 1)]
