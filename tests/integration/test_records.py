"""The record of an order, and the scripts that move it along its edges."""

import asyncio
import contextlib

import msgspec
import pytest

from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.checkout.records import CommitEnded, CommitRefused, NotDurable, Records
from gateway.errors import (
    CompletionInProgress,
    HoldAlreadyReleased,
    HoldExpired,
    NotFound,
    TotalChanged,
    Unavailable,
)
from gateway.keys import ShopKeys
from gateway.lane import Lane, pairs, served
from gateway.model import Address, Money
from gateway.settings import Settings
from gateway.stock.holds import Held
from gateway.stock.sweeper import expire_due
from tests.stall import Stall, checkout, moved

PATIENCE_S = 10


@pytest.fixture
def stall(lane: Lane, settings: Settings) -> Stall:
    return Stall(lane, settings)


@pytest.fixture
async def held(stall: Stall) -> Held:
    await stall.sells("tee", 5)
    return await stall.reserves("ann", "k1", ("tee", 2))


@pytest.fixture
async def paying(stall: Stall, held: Held) -> Record:
    return await stall.pays("ann", held)


def earlier(record: Record) -> Record:
    """The record as seen during the attempt before."""
    return msgspec.structs.replace(record, attempt=record.attempt - 1)


async def declined(stall: Stall, record: Record, grace_ms: int = 60_000) -> Record:
    assert await stall.records.move(stall.shop, record, Phase.DECLINED, hold_for_ms=grace_ms)
    return await stall.record(record.order)


async def test_there_is_no_record_before_a_payment(stall: Stall) -> None:
    assert await stall.records.find(stall.shop, "o_nothing") is None


async def test_a_record_that_cannot_be_read_is_logged_and_shown_to_nobody(
    stall: Stall, paying: Record, caplog: pytest.LogCaptureFixture
) -> None:
    key = ShopKeys(stall.shop).order(paying.order)
    assert await stall.records.legible(stall.shop, paying.order) == paying
    await stall.lane.command("HSET", key, "phase", "claimed")
    assert await stall.records.legible(stall.shop, paying.order) is None
    ours = [one for one in caplog.records if one.name == "gateway.checkout.records"]
    (said,) = [one.getMessage() for one in ours]
    assert f"order {paying.order} cannot be read" in said


async def test_a_payment_begins_with_everything_that_is_needed_to_finish_it(
    stall: Stall, held: Held
) -> None:
    home = Address("1 High St", "IE", city="Cork")
    wish = msgspec.structs.replace(checkout(held.hold.id, 1000), ship_to=home)
    record = await stall.record(await stall.records.begin(stall.shop, "ann", wish))
    assert (record.phase, record.attempt, record.token) == ("paying", 1, "pm_card_visa")
    assert (record.hold, record.shopper, record.show) == (held.hold.id, "ann", "tonight")
    assert (record.total, record.lines) == (Money(1000, "EUR"), held.hold.lines)
    assert (record.contact, record.ship_to) == (wish.contact, home)


async def test_beginning_again_with_the_same_method_changes_nothing(
    stall: Stall, held: Held, paying: Record
) -> None:
    await stall.begins("ann", held)
    assert await stall.record(paying.order) == paying
    with pytest.raises(CompletionInProgress):
        await stall.begins("ann", held, "pm_card_mastercard")
    assert await stall.record(paying.order) == paying


@pytest.mark.parametrize("token", ["pm_card_visa", "pm_card_mastercard"])
@pytest.mark.parametrize("hold_is", ["active", "committed"])
async def test_in_a_phase_of_a_newer_version_nothing_is_begun_and_nothing_written(
    stall: Stall, held: Held, paying: Record, hold_is: str, token: str
) -> None:
    """What money there is in it, nobody here can know: another attempt could charge again."""
    keys, lane = ShopKeys(stall.shop), stall.lane
    await lane.command("HSET", keys.order(paying.order), "phase", "claimed")
    await lane.command("HSET", keys.hold(held.hold.id), "state", hold_is)
    before = await stall.records.kept(stall.shop, paying.order)
    for _ in range(2):
        with pytest.raises(Unavailable) as refused:
            await stall.begins("ann", held, token)
        assert "phase claimed" in str(refused.value)
        assert "claimed" not in refused.value.message
    assert await stall.records.kept(stall.shop, paying.order) == before
    with pytest.raises(NotFound):
        await stall.begins("bob", held, token)


@pytest.mark.parametrize("phase", Phase)
async def test_every_phase_of_ours_is_known_where_a_payment_begins(
    stall: Stall, held: Held, paying: Record, phase: Phase
) -> None:
    await stall.lane.command("HSET", ShopKeys(stall.shop).order(paying.order), "phase", phase)
    with contextlib.suppress(CompletionInProgress):
        assert await stall.begins("ann", held, "pm_card_mastercard") == paying.order


@pytest.mark.parametrize("total", [Money(999, "EUR"), Money(1000, "USD"), Money(0, "EUR")])
async def test_a_total_the_shopper_did_not_see_begins_nothing(
    stall: Stall, held: Held, total: Money
) -> None:
    wish = msgspec.structs.replace(checkout(held.hold.id, 1000), expected_total=total)
    with pytest.raises(TotalChanged) as refused:
        await stall.records.begin(stall.shop, "ann", wish)
    assert refused.value.facts == {"total": {"amount": 1000, "currency": "EUR"}}
    assert await stall.records.find(stall.shop, stall.order_of("ann", "k1")) is None


async def test_only_the_holds_own_shopper_pays_and_only_while_it_lives(
    stall: Stall, held: Held
) -> None:
    with pytest.raises(NotFound):
        await stall.begins("bob", held)
    await stall.lapses(held.hold.id, "ann")
    with pytest.raises(HoldExpired):
        await stall.begins("ann", held)
    await stall.holds.release(stall.shop, "ann", held.hold.id)
    with pytest.raises(HoldAlreadyReleased):
        await stall.begins("ann", held)


async def test_a_payment_keeps_its_hold_for_the_budget_and_no_longer(
    stall: Stall, held: Held, paying: Record
) -> None:
    deadline = int(await stall.lane.command("ZSCORE", stall.keys.deadlines, f"{paying.hold}:ann"))
    queue_ms = stall.settings.stripe_queue_s * 1000
    assert deadline == paying.budget_until + queue_ms
    assert paying.budget_until == paying.attempt_at + stall.settings.payment_budget_s * 1000
    again = await declined(stall, paying, grace_ms=10**9)
    await stall.begins("ann", held)
    assert (await stall.record(again.order)).budget_until == paying.budget_until


async def test_another_attempt_forgets_the_intent_of_the_one_before(
    stall: Stall, held: Held, paying: Record
) -> None:
    await stall.records.move(
        stall.shop,
        paying,
        Phase.PAYING,
        {"intent": "pi_1", "client_secret": "s", "given_back": "pi_1"},
        look_again_ms=1,
    )
    assert (await stall.record(paying.order)).intent == "pi_1"
    await declined(stall, paying)
    await stall.begins("ann", held, "pm_card_mastercard")
    second = await stall.record(paying.order)
    assert (second.attempt, second.intent, second.client_secret) == (2, None, None)
    assert second.given_back is None
    # A late copy of what the first attempt meant to write moves nothing.
    assert not await stall.records.move(stall.shop, paying, Phase.DECLINED)
    assert await stall.record(paying.order) == second


async def test_nothing_begins_while_an_intent_is_still_to_be_cancelled(
    stall: Stall, held: Held, paying: Record
) -> None:
    await stall.records.move(
        stall.shop,
        paying,
        Phase.VOIDING,
        {"intent": "pi_1", "reason": "mismatch"},
        look_again_ms=0,
    )
    with pytest.raises(CompletionInProgress):
        await stall.begins("ann", held)
    assert (await stall.record(paying.order)).intent == "pi_1"
    voiding = await stall.record(paying.order)
    assert not await stall.records.move(stall.shop, paying, Phase.VOIDED)
    assert await stall.records.move(stall.shop, voiding, Phase.VOIDED)
    await stall.begins("ann", held)
    assert (await stall.record(paying.order)).phase is Phase.VOIDED
    await stall.begins("ann", held, "pm_card_mastercard")
    assert (await stall.record(paying.order)).attempt == 2


async def test_a_commit_is_a_sale_and_the_orders_entry_in_one_step(
    stall: Stall, paying: Record
) -> None:
    await stall.commits(paying)
    record = await stall.record(paying.order)
    assert (record.phase, record.units) == ("committed", (("tee", "main", 1, 2),))
    ((_, fields),) = await stall.lane.command("XRANGE", stall.keys.orders, "-", "+")
    entry = pairs(fields)
    assert (entry["order"], entry["event"]) == (paying.order.encode(), b"{}")
    books = await stall.books()
    assert books.drifts() == []
    assert books.stock["tee", "main"].committed == 2


async def test_a_commit_binds_the_order_to_its_intent_even_if_that_was_lost(
    stall: Stall, paying: Record
) -> None:
    """By a primary that is gone, say; without it the money would look like a stray."""
    await stall.commits(msgspec.structs.replace(paying, intent="pi_1"))
    assert (await stall.record(paying.order)).intent == "pi_1"


async def test_replicas_are_waited_for_only_where_it_matters(
    stall: Stall, held: Held, settings: Settings
) -> None:
    """There is none here, which nobody has noticed; a wait for one would outlast this test."""
    patient = msgspec.structs.replace(settings, wait_replicas=1, wait_timeout_ms=600_000)
    async with served(patient) as lane, asyncio.timeout(PATIENCE_S):
        stall.records = Records(lane, settings)
        paying = await stall.pays("ann", held)
        assert await stall.records.move(stall.shop, paying, Phase.PAYING, look_again_ms=1)
    hasty = msgspec.structs.replace(patient, wait_timeout_ms=1, automatic_methods="ideal")
    async with served(hasty) as lane:
        stall.records = Records(lane, hasty)
        with pytest.raises(NotDurable):
            await stall.records.move(stall.shop, paying, Phase.PAYING, durably=True)
        with pytest.raises(Unavailable):
            await stall.begins("ann", held)
        with pytest.raises(NotDurable):
            await stall.commits(paying)


async def test_committing_again_and_at_once_sells_once(stall: Stall, paying: Record) -> None:
    await asyncio.gather(*(stall.commits(paying) for _ in range(10)))
    await stall.records.move(stall.shop, paying, Phase.CAPTURED)
    await stall.commits(paying)
    assert (await stall.record(paying.order)).phase == "captured"
    assert await stall.lane.command("XLEN", stall.keys.orders) == 1
    assert (await stall.books()).drifts() == []


async def test_units_are_numbered_without_a_gap_or_a_number_twice(stall: Stall) -> None:
    await stall.sells("tee", 6)
    sold: list[tuple[str, str, int, int]] = []
    for number in range(3):
        held = await stall.reserves(f"s{number}", "k1", ("tee", 2))
        record = await stall.pays(f"s{number}", held)
        await stall.commits(record)
        sold += (await stall.record(record.order)).units
    assert sold == [("tee", "main", 1, 2), ("tee", "main", 3, 2), ("tee", "main", 5, 2)]


async def test_only_the_attempt_under_way_commits(stall: Stall, held: Held, paying: Record) -> None:
    await declined(stall, paying)
    with pytest.raises(CommitRefused):
        await stall.commits(paying)
    await stall.begins("ann", held, "pm_card_mastercard")
    with pytest.raises(CommitRefused):
        await stall.commits(paying)
    second = await stall.record(paying.order)
    with pytest.raises(CommitRefused):
        await stall.commits(earlier(second))
    await stall.commits(second)


async def test_a_late_copy_of_a_declined_request_begins_nothing(
    stall: Stall, held: Held, paying: Record
) -> None:
    await declined(stall, paying)
    assert await stall.begins("ann", held) == paying.order
    record = await stall.record(paying.order)
    assert (record.phase, record.attempt) == ("declined", paying.attempt)


@pytest.mark.parametrize("ending", ["release", "expire"])
async def test_a_hold_that_is_over_sells_nothing(stall: Stall, paying: Record, ending: str) -> None:
    if ending == "release":
        await stall.holds.release(stall.shop, "ann", paying.hold)
    else:
        await stall.lapses(paying.hold, "ann")
        assert await expire_due(stall.lane, stall.settings, stall.shop) == 1
    with pytest.raises(CommitRefused):
        await stall.commits(paying)
    # The hold alone decides, too, should the record ever lag behind.
    await stall.lane.command("HSET", stall.keys.order(paying.order), "phase", "paying")
    with pytest.raises(CommitEnded):
        await stall.commits(paying)
    assert await stall.available() == {"tee": 5}


EDGES = {
    (Phase.PAYING, Phase.DECLINED),
    (Phase.PAYING, Phase.VOIDING),
    (Phase.VOIDING, Phase.VOIDED),
    (Phase.COMMITTED, Phase.CAPTURED),
}


@pytest.mark.parametrize("start", Phase)
@pytest.mark.parametrize("end", Phase)
async def test_a_record_moves_along_its_edges_only(
    stall: Stall, paying: Record, start: Phase, end: Phase
) -> None:
    await stall.lane.command("HSET", stall.keys.order(paying.order), "phase", start)
    moved_on = await stall.records.move(stall.shop, paying, end, {"reason": "test"})
    assert moved_on == (start is end or (start, end) in EDGES)
    record = await stall.record(paying.order)
    assert (record.phase, record.reason) == ((end, "test") if moved_on else (start, None))


async def test_a_failed_capture_undoes_the_sale(stall: Stall, paying: Record) -> None:
    assert not await stall.records.fail(stall.shop, paying, "too early")
    await stall.commits(paying)
    assert await stall.records.fail(stall.shop, paying, "capture_refused")
    assert await stall.records.fail(stall.shop, paying, "again")
    assert await stall.available() == {"tee": 5}
    assert (await stall.books()).drifts() == []
    record = await stall.record(paying.order)
    assert (record.phase, record.reason) == ("failed", "capture_refused")
    # What was undone is no sale: whoever still means to capture must not.
    with pytest.raises(CommitRefused):
        await stall.commits(paying)


async def test_captured_money_is_not_undone(stall: Stall, paying: Record) -> None:
    await stall.commits(paying)
    await stall.records.move(stall.shop, paying, Phase.CAPTURED)
    assert not await stall.records.fail(stall.shop, paying, "late")
    assert await stall.available() == {"tee": 3}


async def test_what_was_handed_over_does_not_come_back_on_sale(
    stall: Stall, paying: Record
) -> None:
    await stall.commits(paying)
    handed_over = moved("out", "tee", 1, kind="fulfilled")
    await stall.movements.apply(stall.shop, (handed_over,))
    assert await stall.records.fail(stall.shop, paying, "capture_refused")
    assert await stall.available() == {"tee": 4}
    assert (await stall.books()).drifts() == []


async def test_what_is_due_is_put_off_for_the_next_who_looks(stall: Stall, paying: Record) -> None:
    assert await stall.records.due(stall.shop, 10) == []
    await stall.lane.command("ZADD", stall.keys.unsettled, 0, paying.order)
    assert await stall.records.due(stall.shop, 10) == [paying.order]
    assert await stall.records.due(stall.shop, 10) == []
    await stall.records.move(stall.shop, paying, Phase.VOIDING)
    assert await stall.lane.command("ZCARD", stall.keys.unsettled) == 0
