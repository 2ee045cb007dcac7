"""How many are watching: over all processes, right when one dies, and told no more than needed."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.sockets.roster import Roster, Seat
from gateway.sockets.viewers import Viewers

if TYPE_CHECKING:
    from gateway.sockets.outbox import Outbox

SHOW = "tonight"


@dataclass
class HandClock:
    """A clock that is moved by hand."""

    now_s: float = 1_000.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


class Ear:
    """Notes which counts a viewer was told."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def push(self, frame: bytes) -> None:
        told = json.loads(frame)
        assert told.keys() == {"type", "count"}
        self.counts.append(told["count"])


@dataclass
class Process:
    """One process, and the viewers it has."""

    name: str
    shop: str
    lane: Lane
    clock: HandClock = field(default_factory=HandClock)
    roster: Roster = field(default_factory=Roster)

    def __post_init__(self) -> None:
        self.viewers = Viewers(self.shop, self.lane, self.clock, self.roster)

    def comes(self, show: str = SHOW) -> tuple[Seat, list[int]]:
        """A viewer comes; its seat, and the counts it will have been told."""
        ear = Ear()
        seat = Seat(show, f"s{id(ear)}", cast("Outbox", ear), cast("Any", None))
        self.roster.take(seat)
        self.viewers.welcome(seat)
        return seat, ear.counts

    async def counts(self, after_s: float = 1.0) -> None:
        self.clock.now_s += after_s
        await self.viewers.count(self.name)


async def test_viewers_of_all_processes_are_added_up(lane: Lane, shop: str) -> None:
    one, two = Process("one", shop, lane), Process("two", shop, lane)
    _, ann = one.comes()
    _, bob = two.comes()
    _, eve = two.comes("another show")
    for process in (one, two, one):
        await process.counts()
    assert (ann, bob, eve) == ([1, 2], [2], [1])


async def test_whoever_leaves_is_counted_no_more(lane: Lane, shop: str) -> None:
    one, two = Process("one", shop, lane), Process("two", shop, lane)
    _, ann = one.comes()
    seat, _ = two.comes()
    await two.counts()
    await one.counts()
    two.roster.leave(seat)
    await two.counts()
    await one.counts()
    assert ann == [2, 1]
    assert await lane.command("HKEYS", ShopKeys(shop).viewers(SHOW)) == [b"one"]
    assert two.viewers._counts == {}


async def test_a_process_that_died_is_left_out_after_a_while(lane: Lane, shop: str) -> None:
    one, two = Process("one", shop, lane), Process("two", shop, lane)
    _, ann = one.comes()
    two.comes()
    await two.counts()
    await one.counts()
    key = ShopKeys(shop).viewers(SHOW)
    written = await lane.command("HGET", key, "two")
    viewers, at = map(int, written.split())
    for age_ms, count in ((2_000, 2), (3_100, 1)):
        await lane.command("HSET", key, "two", f"{viewers} {at - age_ms}")
        await one.counts()
        assert ann[-1] == count
    assert not await lane.command("HEXISTS", key, "two")


async def test_all_are_told_at_most_once_a_second_and_only_of_a_change(
    lane: Lane, shop: str
) -> None:
    one = Process("one", shop, lane)
    _, ann = one.comes()
    await one.counts()
    for _ in range(4):
        await one.counts()
    assert ann == [1]
    await one.counts()
    one.comes()
    await one.counts(0.4)
    assert ann == [1, 2]
    one.comes()
    for told in (2, 2, 3):
        await one.counts(0.4)
        assert ann[-1] == told


async def test_a_newcomer_alone_is_told_what_is_known(lane: Lane, shop: str) -> None:
    one = Process("one", shop, lane)
    _, ann = one.comes()
    await one.counts()
    seat, bob = one.comes()
    one.roster.leave(seat)
    await one.counts()
    assert (ann, bob) == ([1], [1])
