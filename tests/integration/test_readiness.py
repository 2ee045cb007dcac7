"""What is wrong with a process, in words."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from gateway.clock import SystemClock
from gateway.lane import Lane
from gateway.readiness import Readiness, State
from gateway.rooms import Rooms


@dataclass
class Off(SystemClock):
    """A clock that is off."""

    by_ms: int

    def now_ms(self) -> int:
        return super().now_ms() + self.by_ms


def of(rooms: Rooms) -> Readiness:
    return Readiness(
        rooms.lane, rooms.durability, rooms.clock, rooms.payments.provider, rooms.recovery
    )


async def said(readiness: Readiness) -> dict[str, str]:
    state = await readiness.look()
    return {one.code: one.message for one in await readiness.findings(state)}


async def test_where_nothing_is_wrong_only_what_undermines_a_promise_is_found(rooms: Rooms) -> None:
    assert (await of(rooms).look()).failing == ()
    assert set(await said(of(rooms))) == {"no_aof", "wait_off", "full_coverage"}


@pytest.mark.parametrize(("by_ms", "words"), [(40_000, "40 s behind"), (-5_000, "5 s ahead of")])
async def test_a_clock_that_is_off_is_found_with_its_direction(
    rooms: Rooms, by_ms: int, words: str
) -> None:
    found = await said(replace(of(rooms), clock=Off(by_ms)))
    assert words in found["clock"]
    assert "NTP" in found["clock"]


async def test_a_stripe_that_is_silent_and_a_long_queue_before_it_are_found(rooms: Rooms) -> None:
    provider = rooms.payments.provider
    provider._failures = 2
    assert "stripe_down" not in await said(of(rooms))
    provider._failures = 7
    provider._turns._waiting = 40 * rooms.settings.stripe_rate_per_s
    found = await said(of(rooms))
    assert "last 7 requests" in found["stripe_down"]
    assert "40 s" in found["stripe_queue"]


async def test_shops_that_are_rebuilt_are_counted_and_not_named(rooms: Rooms) -> None:
    waiting = asyncio.create_task(asyncio.Event().wait())
    rooms.recovery._tasks["acme"] = waiting  # type: ignore[assignment]
    found = await said(of(rooms))
    assert found["frozen"].startswith("Shops that sell nothing while they are rebuilt: 1.")
    assert "acme" not in found["frozen"]
    del rooms.recovery._tasks["acme"]
    waiting.cancel()


async def test_what_fails_the_process_comes_first(rooms: Rooms) -> None:
    readiness = replace(of(rooms), draining=lambda: True)
    state = await readiness.look()
    assert state.failing == ("draining",)
    assert (await readiness.findings(state))[0].code == "draining"


async def test_an_address_is_in_no_sentence(rooms: Rooms) -> None:
    state = State(("redis", "news"), silent=("10.9.8.7:6379",), clocks_off_ms=(9_000,))
    found = await of(rooms).findings(state)
    assert [one.code for one in found[:4]] == ["redis", "news", "servers", "clock"]
    assert not any("10.9.8.7" in one.message for one in found)
    assert found[2].servers == ("10.9.8.7:6379",)


async def test_a_lane_nobody_serves_is_a_redis_that_does_not_answer(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.readiness.PING_WITHIN_S", 0.05)
    state = await replace(of(rooms), lane=Lane(rooms.settings)).look()
    assert state == State(("redis",))
