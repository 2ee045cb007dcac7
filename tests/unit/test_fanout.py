"""Many are told in slices, the newest only, and every version of the stock is accounted for."""

import asyncio

import pytest

from gateway.messages import HighlightFrame, ViewersFrame
from gateway.sockets.fanout import SLICE
from tests.audience import SHOW, crowd, stocks


async def test_everybody_is_told_in_slices_and_others_have_their_turn_between() -> None:
    async with crowd(3 * SLICE + 1) as it:
        it.change("tee", 5)
        told = []
        while len(it.log) < len(it.viewers):
            told.append(len(it.log))
            await asyncio.sleep(0)
        assert told == [0, SLICE, 2 * SLICE, 3 * SLICE]
        assert all(stocks(viewer) == [{"tee": 5}] for viewer in it.viewers)


async def test_the_first_change_after_silence_goes_at_once_and_others_at_the_tick() -> None:
    async with crowd(1, tick_s=0.05) as it:
        (viewer,) = it.viewers
        it.change("tee", 9)
        await asyncio.sleep(0)
        assert stocks(viewer) == [{"tee": 9}]
        for available in (8, 7, 6):
            it.change("tee", available)
        it.change("cap", 1)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(stocks(viewer)) == 1
        await it.rests()
        assert stocks(viewer) == [{"tee": 9}, {"tee": 6, "cap": 1}]


async def test_something_urgent_does_not_wait_for_the_tick_and_takes_the_rest_along() -> None:
    async with crowd(1, tick_s=60) as it:
        (viewer,) = it.viewers
        it.change("tee", 9)
        await asyncio.sleep(0)
        it.change("cap", 3)
        it.change("tee", 0, urgent=True)
        await it.rests()
        assert stocks(viewer) == [{"tee": 9}, {"cap": 3, "tee": 0}]


async def test_a_frame_says_when_redis_decided_what_made_it_be_sent() -> None:
    async with crowd(1, tick_s=60) as it:
        (viewer,) = it.viewers
        it.change("tee", 9, at_ms=1_000)
        await asyncio.sleep(0)
        it.change("cap", 3, at_ms=2_000)
        it.change("tee", 0, urgent=True, at_ms=3_000)
        await it.rests()
        it.change("tee", 1, urgent=True)
        await it.rests()
        told = [one.get("at") for one in viewer.heard if "items" in one]
        assert told == ["1970-01-01T00:00:01.000Z", "1970-01-01T00:00:03.000Z", None]


async def test_something_urgent_joins_a_walk_and_those_not_reached_hear_of_it_first() -> None:
    async with crowd(3 * SLICE, tick_s=60) as it:
        it.change("tee", 9)
        await asyncio.sleep(0)
        it.change("cap", 0, urgent=True)
        await it.rests()
        first, rest = it.viewers[:SLICE], it.viewers[SLICE:]
        assert all(stocks(one) == [{"tee": 9}, {"tee": 9, "cap": 0}] for one in first)
        assert all(stocks(one) == [{"tee": 9, "cap": 0}] for one in rest)
        names = [viewer.name for viewer in (*first, *rest, *first)]
        assert it.log == names


async def test_what_is_not_urgent_waits_for_the_end_of_the_walk() -> None:
    async with crowd(3 * SLICE) as it:
        it.change("tee", 9)
        await asyncio.sleep(0)
        it.change("tee", 8)
        await it.rests()
        assert all(stocks(one) == [{"tee": 9}, {"tee": 8}] for one in it.viewers)
        assert it.log == [viewer.name for viewer in it.viewers] * 2


async def test_who_knows_newer_stock_or_has_left_is_not_told() -> None:
    async with crowd(2 * SLICE) as it:
        late = it.comes()
        it.change("tee", 9)
        await asyncio.sleep(0)
        gone = it.viewers[2 * SLICE - 1]
        it.goes(gone)
        it.change("tee", 8)
        it.welcomes(late)
        await it.rests()
        assert stocks(late) == stocks(gone) == []
        assert late.items == {"tee": 8}
        it.change("cap", 1)
        await it.rests()
        assert stocks(late) == [{"cap": 1}]


async def test_frames_that_must_not_be_missed_keep_their_order_and_delay_no_stock() -> None:
    async with crowd(3 * SLICE) as it:
        told: list[object] = []
        for sku in ("a", "b", "c"):
            it.fanout.tell(it.roster.everyone(), HighlightFrame(sku=sku), told.append)
        it.change("tee", 9)
        await asyncio.sleep(0)
        assert stocks(it.viewers[0]) == [{"tee": 9}]
        await it.rests()
        for viewer in it.viewers:
            skus = [one["sku"] for one in viewer.heard if "sku" in one]
            assert skus == ["a", "b", "c"]
        assert len(told) == 3 * len(it.viewers)


async def test_more_frames_than_may_wait_are_told_unsliced_but_in_order() -> None:
    async with crowd(2 * SLICE) as it:
        it.fanout.tell(it.roster.everyone(), HighlightFrame(sku="0"))
        await asyncio.sleep(0)
        for number in range(1, 200):
            it.fanout.tell(it.roster.everyone(), HighlightFrame(sku=f"{number}"))
        assert len(it.fanout._errands) < 100
        await it.rests()
        for viewer in it.viewers:
            skus = [one["sku"] for one in viewer.heard if "sku" in one]
            assert skus == [f"{number}" for number in range(200)]


async def test_of_a_number_the_latest_is_told() -> None:
    async with crowd(2) as it:
        for count in (1, 2, 3):
            it.fanout.tell_latest(SHOW, it.roster.at(SHOW), ViewersFrame(count=count))
        await it.rests()
        for viewer in it.viewers:
            assert viewer.heard[1:] == [{"type": "viewers", "count": 3}]


async def test_a_viewer_who_cannot_be_told_keeps_nobody_else_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with crowd(3) as it:

        def broken(_: bytes) -> None:
            raise RuntimeError

        it.viewers[1].seat.outbox.free(broken)
        it.change("tee", 9)
        it.fanout.tell(it.roster.everyone(), HighlightFrame(sku="tee"))
        await it.rests()
        for viewer in (it.viewers[0], it.viewers[2]):
            assert {"type": "highlight", "sku": "tee"} in viewer.heard
            assert stocks(viewer) == [{"tee": 9}]
    assert "could not be told" in caplog.text


async def test_when_versions_start_over_the_old_stock_is_told_to_nobody() -> None:
    async with crowd(2 * SLICE) as it:
        it.shelf.version = 100
        it.change("tee", 9)
        await asyncio.sleep(0)
        it.change("tee", 8)
        it.shelf.epoch, it.shelf.version = 2, 1
        it.fanout.start_over()
        new = it.comes()
        it.welcomes(new)
        it.change("cap", 1)
        await it.rests()
        assert stocks(new) == [{"cap": 1}]
        assert new.seat.outbox.told == 2
        assert all(stocks(one) == [{"tee": 9}] for one in it.viewers[:SLICE])
        assert all(stocks(one) == [] for one in it.viewers[SLICE : 2 * SLICE])


async def test_who_comes_after_versions_started_over_is_told_nothing_of_before() -> None:
    """Something urgent had joined the walk under way: it was to go round once more."""
    async with crowd(3 * SLICE, tick_s=60) as it:
        it.shelf.version = 100
        it.change("tee", 9)
        await asyncio.sleep(0)
        it.change("tee", 0, urgent=True)
        await asyncio.sleep(0)
        it.shelf.epoch, it.shelf.version, it.shelf.items = 2, 1, {"tee": 5}
        it.fanout.start_over()
        new = it.comes()
        it.welcomes(new)
        await it.rests()
        assert stocks(new) == []
        it.change("tee", 4, urgent=True)
        await it.rests()
        assert stocks(new) == [{"tee": 4}]


@pytest.mark.parametrize("what", ["tell", "tell_latest"])
async def test_what_is_to_be_told_in_the_moment_a_walk_ends_is_told(what: str) -> None:
    async with crowd(1) as it:
        fanout, (viewer,) = it.fanout, it.viewers

        def tell(count: int) -> None:
            frame, seats = ViewersFrame(count=count), it.roster.everyone()
            if what == "tell":
                fanout.tell(seats, frame)
            else:
                fanout.tell_latest(SHOW, seats, frame)

        tell(1)
        (walk,) = fanout._walks.values()
        while not walk.done():
            assert fanout._walks
            # It ends in the turn that is coming, and the next of us is called before its callbacks.
            await asyncio.sleep(0)
        tell(2)
        await it.rests()
        assert viewer.heard[1:] == [{"type": "viewers", "count": count} for count in (1, 2)]


async def test_how_old_what_is_written_was_is_noted_for_each_kind() -> None:
    async with crowd(SLICE + 1) as it:
        it.change("tee", 9, at_ms=1_000_400)
        await asyncio.sleep(0)
        it.change("cap", 0, urgent=True, at_ms=1_000_492)
        await it.rests()
        urgent, other = it.tally.stale_urgent, it.tally.stale_other
        assert sum(urgent.counts) == SLICE + 1
        assert urgent.sum_s == pytest.approx(0.008 * (SLICE + 1))
        # The one that was not reached hears of both at once; those who were know the first.
        assert sum(other.counts) == SLICE + 1
        assert other.sum_s == pytest.approx(0.1 * (SLICE + 1))


async def test_nothing_runs_while_nothing_is_to_be_told() -> None:
    async with crowd(1) as it:
        it.change("tee", 9)
        it.fanout.tell(it.roster.everyone(), HighlightFrame(sku="tee"))
        await it.rests()
        assert len(asyncio.all_tasks()) == 1
