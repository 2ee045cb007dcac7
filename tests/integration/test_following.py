"""How a hold follows its payment: queued, asked, declined, expired, approved late, pinned."""

import msgspec
import pytest

from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.checkout.records import CommitEnded, CommitRefused
from gateway.lane import Lane
from gateway.model import CatalogEntry, Money
from gateway.settings import Settings
from gateway.stock.audit import audit
from gateway.stock.holds import Held
from gateway.stock.sweeper import expire_due
from tests.stall import Stall

EVENT = ("evt_1", b'{"id":"evt_1"}')


@pytest.fixture
def stall(lane: Lane, settings: Settings) -> Stall:
    return Stall(lane, settings)


@pytest.fixture
async def held(stall: Stall) -> Held:
    await stall.sells("tee", 3)
    return await stall.reserves("ann", "k1", ("tee", 2))


@pytest.fixture
async def paying(stall: Stall, held: Held) -> Record:
    return await stall.pays("ann", held)


async def deadline(stall: Stall, record: Record) -> int:
    kept = await stall.lane.command("HGET", stall.keys.hold(record.hold), "expires_at")
    listed = await stall.lane.command(
        "ZSCORE", stall.keys.deadlines, f"{record.hold}:{record.shopper}"
    )
    assert int(kept) == int(listed)
    return int(kept)


async def asked(stall: Stall, record: Record) -> Record:
    assert await stall.records.move(
        stall.shop, record, Phase.PAYING, {"asked_at": "1"}, look_again_ms=1, hold_for_ms="waits"
    )
    return await stall.record(record.order)


async def expires(stall: Stall, record: Record) -> Record:
    """The deadline passes, and the sweep comes by."""
    await stall.lapses(record.hold, record.shopper)
    await expire_due(stall.lane, stall.settings, stall.shop)
    return await stall.record(record.order)


async def test_the_time_in_our_queue_is_added_to_the_budget(stall: Stall, paying: Record) -> None:
    waited_ms = 40_000
    began = paying.attempt_at - waited_ms
    await stall.lane.command("HSET", stall.keys.order(paying.order), "attempt_at", began)
    after = await asked(stall, msgspec.structs.replace(paying, attempt_at=began))
    assert waited_ms <= after.budget_until - paying.budget_until < waited_ms + 5_000
    assert await deadline(stall, after) == after.budget_until


async def test_while_stripe_is_silent_the_budget_grows_up_to_a_bound(
    stall: Stall, paying: Record
) -> None:
    before = paying.budget_until
    for began_ms_ago in (10_000, 30_000, 10**9, 10**9):
        at = paying.attempt_at - began_ms_ago
        await stall.lane.command("HSET", stall.keys.order(paying.order), "attempt_at", at)
        after = await asked(stall, paying)
        longest = min(began_ms_ago, stall.settings.stripe_queue_s * 1000)
        assert longest <= after.budget_until - before < longest + 5_000


async def test_the_next_attempt_queues_on_top_of_the_same_budget(
    stall: Stall, held: Held, paying: Record
) -> None:
    first = await asked(stall, paying)
    await stall.records.move(stall.shop, first, Phase.DECLINED, hold_for_ms=60_000)
    await stall.begins("ann", held, "pm_card_mastercard")
    second = await stall.record(paying.order)
    assert second.budget_until == first.budget_until
    assert await deadline(stall, second) == (
        first.budget_until + stall.settings.stripe_queue_s * 1000
    )


async def test_a_hold_whose_deadline_has_passed_is_not_revived_by_being_asked(
    stall: Stall, paying: Record
) -> None:
    await stall.lapses(paying.hold, "ann")
    before = await deadline(stall, paying)
    await asked(stall, paying)
    assert await deadline(stall, paying) == before


async def test_a_price_changed_meanwhile_changes_no_hold(stall: Stall, held: Held) -> None:
    dearer = CatalogEntry("tee", "Tee", Money(99_900, "EUR"))
    await stall.lane.command("HSET", stall.keys.catalog, "tee", msgspec.json.encode(dearer))
    record = await stall.pays("ann", held)
    assert record.total == held.hold.total == Money(1000, "EUR")


async def test_sold_after_all_when_the_units_are_left(stall: Stall, paying: Record) -> None:
    over = await expires(stall, paying)
    assert (over.phase, over.reason) == (Phase.VOIDING, "expired")
    assert (await stall.available())["tee"] == 3
    for _ in range(3):
        await stall.records.commit_late(stall.shop, over, *EVENT)
    after = await stall.record(paying.order)
    assert (after.phase, after.reason) == (Phase.COMMITTED, None)
    assert after.units == (("tee", "main", 1, 2),)
    assert (await stall.available())["tee"] == 1
    assert await stall.lane.command("XLEN", stall.keys.orders) == 1
    verdict = await audit(stall.lane, stall.shop)
    assert (verdict.drift, verdict.committed_units) == ((), 2)


async def test_not_sold_when_one_unit_is_missing(stall: Stall, paying: Record) -> None:
    over = await expires(stall, paying)
    await stall.reserves("bob", "k1", ("tee", 2))
    before = await stall.lane.command("XLEN", stall.keys.ledger)
    with pytest.raises(CommitEnded):
        await stall.records.commit_late(stall.shop, over, *EVENT)
    assert await stall.lane.command("XLEN", stall.keys.ledger) == before
    assert (await stall.record(paying.order)).phase is Phase.VOIDING


async def test_not_sold_beyond_what_one_shopper_may_have(stall: Stall, paying: Record) -> None:
    over = await expires(stall, paying)
    limited = CatalogEntry("tee", "Tee", Money(500, "EUR"), limit_per_shopper=1)
    await stall.lane.command("HSET", stall.keys.catalog, "tee", msgspec.json.encode(limited))
    with pytest.raises(CommitEnded):
        await stall.records.commit_late(stall.shop, over, *EVENT)


async def test_what_was_given_back_is_not_sold_after_all(
    stall: Stall, held: Held, paying: Record
) -> None:
    await stall.holds.release(stall.shop, "ann", held.hold.id)
    over = await stall.record(paying.order)
    with pytest.raises(CommitRefused):
        await stall.records.commit_late(stall.shop, over, *EVENT)
    earlier = msgspec.structs.replace(over, attempt=over.attempt - 1)
    with pytest.raises(CommitRefused):
        await stall.records.commit_late(stall.shop, earlier, *EVENT)


@pytest.fixture
def pinning(lane: Lane, settings: Settings) -> Stall:
    """A stall that takes a method whose money cannot be authorized first."""
    return Stall(lane, msgspec.structs.replace(settings, automatic_methods="ideal"))


@pytest.fixture
async def pinned(pinning: Stall) -> Record:
    await pinning.sells("tee", 3)
    return await pinning.pays("ann", await pinning.reserves("ann", "k1", ("tee", 2)))


@pytest.mark.parametrize("how", ["expired", "released"])
async def test_a_pinned_hold_keeps_its_units_until_its_payment_is_cancelled(
    pinning: Stall, pinned: Record, how: str
) -> None:
    if how == "expired":
        await expires(pinning, pinned)
    for _ in range(2 if how == "released" else 0):
        given_back = await pinning.holds.release(pinning.shop, "ann", pinned.hold)
        assert given_back.hold.state == "active"
    over = await pinning.record(pinned.order)
    assert (over.phase, over.reason) == (Phase.VOIDING, how)
    assert (await pinning.available())["tee"] == 1
    assert await expire_due(pinning.lane, pinning.settings, pinning.shop) == 0
    assert await pinning.records.move(pinning.shop, over, Phase.VOIDED)
    assert await expire_due(pinning.lane, pinning.settings, pinning.shop) == 1
    assert (await pinning.available())["tee"] == 3
    assert (await pinning.record(pinned.order)).phase is Phase.VOIDED
    assert (await audit(pinning.lane, pinning.shop)).drift == ()


async def test_a_pinned_payment_that_took_the_money_is_a_sale(
    pinning: Stall, pinned: Record
) -> None:
    over = await expires(pinning, pinned)
    await pinning.records.commit(pinning.shop, over, *EVENT)
    after = await pinning.record(pinned.order)
    assert (after.phase, after.pinned) == (Phase.COMMITTED, False)
    assert (await pinning.available())["tee"] == 1
    assert (await audit(pinning.lane, pinning.shop)).drift == ()
