"""Group commit: what arrives together is decided together, in order of arrival."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gateway.errors import HoldfastError, LimitExceeded, Overloaded, SoldOut, Unavailable
from gateway.lane import Lane
from gateway.model import LineRequest
from gateway.settings import Settings
from gateway.stock.holds import Held
from gateway.stock.reservations import GroupCommit, Request
from tests.stall import SHOW, Stall


@pytest.fixture
def stall(lane: Lane, settings: Settings) -> Stall:
    return Stall(lane, settings)


def wish(
    stall: Stall, shopper: str, units: int = 1, key: str = "k1", skus: Sequence[str] = ("tee",)
) -> Request:
    """What the script is asked, as ``Holds`` would write it."""
    return Request(
        hold=stall.hold_of(shopper, key),
        shopper=shopper,
        show=SHOW,
        fingerprint="f",
        ttl_ms=60_000,
        fulfillment='{"type":"ship"}',
        lines=tuple(LineRequest(sku, units) for sku in skus),
    )


async def test_an_idle_shop_decides_at_once_and_a_busy_one_together(stall: Stall) -> None:
    await stall.sells("tee", 100)
    group = GroupCommit(stall.shop, stall.lane, stall.settings)
    before = (await stall.books()).version
    replies = await asyncio.gather(*(group.decide(wish(stall, f"s{n}")) for n in range(41)))
    versions = [int(words[-1]) for words in replies]
    assert versions == [before + 1] + [before + 2] * 40


async def test_a_call_decides_no_more_than_the_settings_say(stall: Stall) -> None:
    await stall.sells("tee", 100)
    few = msgspec.structs.replace(stall.settings, reserve_batch=8)
    group = GroupCommit(stall.shop, stall.lane, few)
    replies = await asyncio.gather(*(group.decide(wish(stall, f"s{n}")) for n in range(25)))
    versions = [int(words[-1]) for words in replies]
    assert [versions.count(version) for version in sorted(set(versions))] == [1, 8, 8, 8]


async def test_a_call_of_large_bundles_takes_no_longer_than_the_settings_say(
    stall: Stall,
) -> None:
    """A millisecond is enough for 22 steps; a bundle of ten is eleven."""
    bundle = [f"part-{number}" for number in range(10)]
    for sku in bundle:
        await stall.sells(sku, 5)
    brief = msgspec.structs.replace(stall.settings, reserve_script_ms=1)
    group = GroupCommit(stall.shop, stall.lane, brief)
    before = (await stall.books()).version
    wishes = [wish(stall, f"s{n}", skus=bundle) for n in range(7)]
    replies = await asyncio.gather(*(group.decide(one) for one in wishes))
    assert [words[0] for words in replies] == ["HOLD"] * 5 + ["SOLD_OUT"] * 2
    assert [words[1] for words in replies[:5]] == [one.hold for one in wishes[:5]]
    assert [int(words[-1]) - before for words in replies[:5]] == [1, 2, 2, 3, 3]
    assert (await stall.books()).drifts() == []


async def test_a_bundle_that_is_too_large_for_any_call_goes_alone(stall: Stall) -> None:
    bundle = [f"part-{number}" for number in range(30)]
    for sku in (*bundle, "tee"):
        await stall.sells(sku, 5)
    brief = msgspec.structs.replace(stall.settings, reserve_script_ms=1)
    group = GroupCommit(stall.shop, stall.lane, brief)
    before = (await stall.books()).version
    small, large = ("tee",), bundle
    wishes = [wish(stall, f"s{n}", skus=(small, large, small, small)[n]) for n in range(4)]
    replies = await asyncio.gather(*(group.decide(one) for one in wishes))
    assert [int(words[-1]) - before for words in replies] == [1, 2, 3, 3]


async def test_one_that_cannot_be_had_spoils_no_other(stall: Stall) -> None:
    await stall.sells("tee", 9)
    group = GroupCommit(stall.shop, stall.lane, stall.settings)
    good = [wish(stall, f"s{n}") for n in range(4)]
    elsewhere = msgspec.structs.replace(wish(stall, "eve"), show="another")
    unknown = wish(stall, "eve", key="k2", skus=["tee", "hat"])
    too_much = wish(stall, "eve", units=1_000_000, key="k3")
    asked = [good[0], elsewhere, good[1], unknown, good[2], too_much, good[3]]
    replies = await asyncio.gather(*(group.decide(one) for one in asked))
    words = ["HOLD", "SHOW_NOT_LIVE", "HOLD", "NOT_FOUND", "HOLD", "SOLD_OUT", "HOLD"]
    assert [reply[0] for reply in replies] == words
    assert await stall.available() == {"tee": 5}


async def test_who_comes_first_is_served_first(stall: Stall) -> None:
    await stall.sells("tee", 30)
    answers = await asyncio.gather(
        *(stall.reserves(f"s{n}", "k1", ("tee", 1)) for n in range(60)), return_exceptions=True
    )
    assert [isinstance(answer, SoldOut) for answer in answers] == [False] * 30 + [True] * 30


async def test_each_has_its_own_answer(stall: Stall) -> None:
    await stall.sells("tee", 4, limit=2)
    answers = await asyncio.gather(
        stall.reserves("ann", "k1", ("tee", 1)),
        stall.reserves("ann", "k1", ("tee", 1)),
        stall.reserves("ann", "k2", ("tee", 2)),
        stall.reserves("bob", "k1", ("tee", 2)),
        stall.reserves("cid", "k1", ("tee", 2)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], Held)
    assert isinstance(answers[1], Held)
    assert answers[0].hold == answers[1].hold
    assert [type(answer).__name__ for answer in answers[2:]] == ["LimitExceeded", "Held", "SoldOut"]
    assert isinstance(answers[2], LimitExceeded)
    assert isinstance(answers[4], SoldOut)
    assert answers[4].facts == {"sku": "tee", "available": 1}


async def test_a_caller_who_left_takes_nobody_along(stall: Stall) -> None:
    await stall.sells("tee", 9)
    tasks = [asyncio.create_task(stall.reserves(f"s{n}", "k1", ("tee", 1))) for n in range(9)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    left = [isinstance(answer, asyncio.CancelledError) for answer in answers]
    assert left == [n % 3 == 0 for n in range(9)]
    assert (await stall.books()).drifts() == []


async def test_too_many_waiting_are_refused_at_once(stall: Stall) -> None:
    few = msgspec.structs.replace(stall.settings, redis_queue=3)
    group = GroupCommit(stall.shop, stall.lane, few)
    await stall.sells("tee", 9)
    taken = [group.decide(wish(stall, f"s{n}")) for n in range(4)]
    with pytest.raises(Overloaded) as refused:
        group.decide(wish(stall, "late"))
    assert refused.value.facts == {"retry_after_ms": 200}
    assert [words[0] for words in await asyncio.gather(*taken)] == ["HOLD"] * 4


class BusyLane:
    """Takes one call, and answers it when told; then it is full, or gone.

    A real lane is that only for the moment in which a call's answer is handed out.
    """

    def __init__(self, then: HoldfastError) -> None:
        self.first: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.then = then
        self.calls = 0

    def call(self, *_: object) -> asyncio.Future[Any]:
        self.calls += 1
        if self.calls > 1:
            raise self.then
        return self.first


@pytest.mark.parametrize("error", [Overloaded("full"), Unavailable("gone")])
async def test_nobody_waits_for_ever_when_the_lane_takes_no_more(
    stall: Stall, error: HoldfastError
) -> None:
    lane = BusyLane(error)
    settings = msgspec.structs.replace(stall.settings, reserve_batch=4)
    group = GroupCommit(stall.shop, lane, settings)  # type: ignore[arg-type]
    answers = [group.decide(wish(stall, f"s{n}")) for n in range(10)]
    lane.first.set_result(b'[["HOLD"]]')
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert outcomes == [["HOLD"]] + [error] * 9
    with pytest.raises(type(error)):
        await group.decide(wish(stall, "later"))


async def test_who_gathers_during_a_silence_is_not_kept_for_another(stall: Stall) -> None:
    lane = BusyLane(Overloaded("never asked"))
    group = GroupCommit(stall.shop, lane, stall.settings)  # type: ignore[arg-type]
    answers = [group.decide(wish(stall, f"s{n}")) for n in range(5)]
    lane.first.set_exception(Unavailable("The stock does not answer; try again."))
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 5
    assert lane.calls == 1
