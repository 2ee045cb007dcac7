"""Holds whose deadline has passed go back on sale, by the sweep and by nothing else."""

import asyncio

import pytest

from gateway.checkout.phases import Phase
from gateway.lane import Lane
from gateway.settings import Settings
from gateway.stock import sweeper
from gateway.stock.sweeper import expire_due
from tests.stall import Stall


@pytest.fixture
def stall(lane: Lane, settings: Settings) -> Stall:
    return Stall(lane, settings)


async def sweep(stall: Stall) -> int:
    return await expire_due(stall.lane, stall.settings, stall.shop)


async def test_a_shop_without_anything_due_is_left_alone(stall: Stall) -> None:
    assert await sweep(stall) == 0
    await stall.sells("tee", 3)
    await stall.reserves("ann", "k1", ("tee", 1))
    assert await sweep(stall) == 0
    assert await stall.available() == {"tee": 2}


async def test_more_than_one_batch_is_swept_in_one_go(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "_BATCH", 10)
    await stall.sells("tee", 25)
    held = await asyncio.gather(*(stall.reserves(f"s{n}", "k1", ("tee", 1)) for n in range(25)))
    for number, one in enumerate(held):
        await stall.lapses(one.hold.id, f"s{number}")
    before = (await stall.books()).version
    assert await sweep(stall) == 25
    books = await stall.books()
    assert books.version == before + 3
    assert books.drifts() == []
    assert await stall.available() == {"tee": 25}


async def test_a_hold_that_was_extended_meanwhile_is_kept(stall: Stall) -> None:
    """The deadlines say it is due, the hold knows better: a sweep that read them too early."""
    await stall.sells("tee", 1)
    held = await stall.reserves("ann", "k1", ("tee", 1))
    member = f"{held.hold.id}:ann"
    await stall.lane.command("ZADD", stall.keys.deadlines, 1000, member)
    assert await sweep(stall) == 0
    assert await stall.available() == {"tee": 0}


async def test_a_deadline_without_a_hold_is_forgotten(stall: Stall) -> None:
    await stall.sells("tee", 1)
    await stall.lane.command("ZADD", stall.keys.deadlines, 1000, "h_gone:ann")
    assert await sweep(stall) == 0
    assert (await stall.books()).drifts() == []


async def test_deadlines_that_lie_cannot_hold_the_sweep_for_ever(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole batch of deadlines that have passed, of holds that are not due, and one behind."""
    monkeypatch.setattr(sweeper, "_BATCH", 3)
    await stall.sells("tee", 4)
    held = await asyncio.gather(*(stall.reserves(f"s{n}", "k1", ("tee", 1)) for n in range(4)))
    for number in range(3):
        member = f"{held[number].hold.id}:s{number}"
        await stall.lane.command("ZADD", stall.keys.deadlines, 500, member)
    await stall.lapses(held[3].hold.id, "s3")
    async with asyncio.timeout(30):
        assert await sweep(stall) == 1
    assert (await stall.books()).drifts() == []


async def test_a_payment_under_way_is_to_be_voided_once_a_late_approval_has_had_its_time(
    stall: Stall,
) -> None:
    await stall.sells("tee", 1)
    record = await stall.pays("ann", await stall.reserves("ann", "k1", ("tee", 1)))
    await stall.lapses(record.hold, "ann")
    assert await sweep(stall) == 1
    voiding = await stall.record(record.order)
    assert (voiding.phase, voiding.reason) == ("voiding", "expired")
    assert await stall.records.due(stall.shop, 10) == []
    look_at = int(await stall.lane.command("ZSCORE", stall.keys.unsettled, record.order))
    clock = int(await stall.lane.command("HGET", stall.keys.meta, "clock"))
    assert look_at == clock + stall.settings.late_approval_s * 1000


async def test_a_declined_payment_keeps_its_hold_for_another_card_only_for_a_while(
    stall: Stall,
) -> None:
    await stall.sells("tee", 1)
    held = await stall.reserves("ann", "k1", ("tee", 1))
    record = await stall.pays("ann", held)
    assert await stall.records.move(stall.shop, record, Phase.DECLINED, hold_for_ms=60_000)
    assert await sweep(stall) == 0
    await stall.lapses(record.hold, "ann")
    assert await sweep(stall) == 1
    assert (await stall.record(record.order)).phase == "voided"


async def test_sweeps_at_once_expire_each_hold_once(stall: Stall) -> None:
    await stall.sells("tee", 20)
    held = await asyncio.gather(*(stall.reserves(f"s{n}", "k1", ("tee", 1)) for n in range(20)))
    for number, one in enumerate(held):
        await stall.lapses(one.hold.id, f"s{number}")
    assert sum(await asyncio.gather(*(sweep(stall) for _ in range(5)))) == 20
    assert (await stall.books()).drifts() == []
