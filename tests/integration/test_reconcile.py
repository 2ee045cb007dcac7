"""Every difference between Redis, Stripe and the order stream, made for real: named, repaired."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.model import Fulfillment, LineRequest
from gateway.reconcile.findings import Mend
from gateway.stock.standing import stand
from tests.bank import CAPTURE, Bank
from tests.books import DAY_MS, SECOND_STEP, Books
from tests.integration.conftest import SHOW, Corner

pytestmark = pytest.mark.asyncio(loop_scope="module")

GIVEN_BACK = "This was charged, but is not sold to you. All of it is given back to you."


@pytest_asyncio.fixture(loop_scope="module")
async def books(corner: Corner) -> AsyncIterator[Books]:
    await corner.sells("tee", 20)
    yield Books(corner)


async def repaired(books: Books, name: str, mend: Mend = Mend.SAFE) -> None:
    """The one difference is named, repaired, and gone at the next look."""
    assert await books.names() == {name: 1}
    found = await books.look(mend)
    assert (found.differences, found.repaired, found.left) == ({name: 1}, 1, 0)
    assert [(one.difference, one.repaired) for one in found.findings] == [(name, True)]
    assert await books.names() == {}


async def left(books: Books, name: str, mend: Mend = Mend.SAFE) -> None:
    """The one difference is named, and left to a person."""
    found = await books.look(mend)
    assert (found.differences, found.repaired, found.left) == ({name: 1}, 0, 1)


async def test_honest_books_have_no_difference(books: Books) -> None:
    for shopper in ("ann", "ben", "cleo"):
        await books.sells(shopper)
    declined = await books.begins("dan", "pm_card_chargeDeclined")
    await books.settler.settle(books.shop, declined)
    found = await books.look(Mend.ALL)
    assert (found.intents, found.orders, found.events) == (4, 4, 3)
    assert (found.differences, found.findings, found.left) == ({}, (), 0)


async def test_a_payment_under_way_is_nobodys_difference(books: Books) -> None:
    order = await books.begins()
    await books.authorizes(order)
    await books.authorizes("o_unknown")
    assert await books.names(later=False) == {}


async def test_an_authorization_of_an_unknown_order_is_cancelled(books: Books) -> None:
    intent = await books.authorizes("o_unknown")
    await repaired(books, "authorization_of_unknown_order")
    assert await books.money(intent) == ("canceled", 0, 0)


async def test_a_lost_record_is_an_unknown_order(books: Books) -> None:
    order = await books.begins(token=SECOND_STEP)
    await books.settler.settle(books.shop, order)
    intent = (await books.record(order)).intent
    await books.forgets(order)
    await repaired(books, "authorization_of_unknown_order")
    assert await books.money(intent) == ("canceled", 0, 0)


async def test_a_stray_authorization_is_cancelled_at_once_and_the_bound_one_is_not(
    books: Books,
) -> None:
    order = await books.sells()
    stray = await books.authorizes(order, attempt=1)
    found = await books.look(Mend.SAFE, later=False)
    assert (found.differences, found.left) == ({"stray_authorization": 1}, 0)
    assert await books.money(stray) == ("canceled", 0, 0)
    assert await books.money((await books.record(order)).intent) == ("succeeded", 1500, 0)


async def test_a_stray_of_an_earlier_attempt_goes_while_the_next_is_paid(books: Books) -> None:
    order = await books.begins(token="pm_card_chargeDeclined")
    await books.settler.settle(books.shop, order)
    late = await books.authorizes(order, attempt=1)
    again = await books.begins(token=SECOND_STEP)
    assert (await books.settler.settle(books.shop, again)).state == "requires_action"
    found = await books.look(Mend.SAFE, later=False)
    assert (found.differences, found.left) == ({"stray_authorization": 1}, 0)
    assert await books.money(late) == ("canceled", 0, 0)
    assert (await books.money((await books.record(order)).intent))[0] == "requires_action"


async def test_an_authorization_of_an_order_without_a_sale_is_cancelled(books: Books) -> None:
    order = await books.begins()
    intent = await books.authorizes(order)
    await books.sets(order, phase="voided", intent=intent)
    await repaired(books, "authorization_without_sale")
    assert await books.money(intent) == ("canceled", 0, 0)


async def test_a_payment_left_lying_is_settled(books: Books) -> None:
    order = await books.begins()
    await books.sets(order, asked_at=SystemClock().now_ms())
    intent = await books.authorizes(order)
    await books.sets(order, intent=intent)
    await repaired(books, "payment_left_lying")
    assert await books.money(intent) == ("succeeded", 1500, 0)
    assert (await books.record(order)).phase == "captured"


async def test_a_second_step_left_lying_without_its_hold_is_voided(books: Books) -> None:
    order = await books.begins(token=SECOND_STEP)
    await books.settler.settle(books.shop, order)
    record = await books.record(order)
    await books.sets(order, budget_until=1)
    await books.settler.lane.command("DEL", books.keys.hold(record.hold))
    await repaired(books, "payment_left_lying")
    assert (await books.record(order)).phase == "voided"
    assert await books.money(record.intent) == ("canceled", 0, 0)


async def test_a_capture_that_was_not_marked_is_marked(books: Books) -> None:
    order = await books.sells()
    await books.sets(order, phase="committed")
    await repaired(books, "capture_not_marked")
    assert (await books.record(order)).phase == "captured"


async def test_a_sale_whose_authorization_is_gone_is_undone(books: Books) -> None:
    before = await books.available()
    bank, order = Bank(books.corner.stripe_url), await books.begins()
    await bank.fails(lock_percent=100, endpoint=CAPTURE)
    with pytest.raises(Unavailable):
        await books.settler.settle(books.shop, order)
    await bank.fails()
    record = await books.record(order)
    assert (record.phase, await books.available()) == ("committed", before - 1)
    await books.cancels(record.intent or "")
    await repaired(books, "sold_but_canceled")
    assert (await books.record(order)).phase == "failed"
    assert await books.available() == before


@pytest.mark.parametrize("phase", ["failed", "voided", "declined"])
async def test_money_without_a_sale_is_given_back_once_and_the_shopper_told(
    books: Books, phase: str
) -> None:
    order = await books.begins()
    intent = await books.authorizes(order)
    await books.captures(intent)
    await books.sets(order, phase=phase, intent=intent)
    async with books.corner.shopper("ann") as ann:
        await repaired(books, "captured_without_sale")
        await ann.hears("checkout", message=GIVEN_BACK)
    assert await books.money(intent) == ("succeeded", 1500, 1500)
    assert (await books.look(Mend.ALL)).differences == {}
    given_back = await books.settler.lane.command("HGET", books.keys.order(order), "given_back")
    assert given_back == intent.encode()


async def test_who_was_charged_twice_gets_one_charge_back(books: Books) -> None:
    order = await books.sells()
    stray = await books.authorizes(order)
    await books.captures(stray)
    await repaired(books, "stray_charge")
    assert await books.money(stray) == ("succeeded", 1500, 1500)
    assert await books.money((await books.record(order)).intent) == ("succeeded", 1500, 0)


async def test_money_of_an_unknown_order_is_given_back_only_by_hand(books: Books) -> None:
    intent = await books.authorizes("o_unknown")
    await books.captures(intent)
    await left(books, "captured_for_unknown_order", Mend.SAFE)
    assert await books.money(intent) == ("succeeded", 1500, 0)
    await repaired(books, "captured_for_unknown_order", Mend.ALL)
    assert await books.money(intent) == ("succeeded", 1500, 1500)


async def test_a_shop_that_is_being_rebuilt_gives_nothing_back(books: Books) -> None:
    """It may be about to learn of the order again."""
    held, taken = [await books.authorizes(f"o_unknown{number}") for number in range(2)]
    await books.captures(taken)
    lane, shop = books.settler.lane, books.shop
    before = await stand(lane, shop)
    await lane.command("HSET", books.keys.meta, "server", "the one before")
    found = await books.look(Mend.ALL)
    await lane.command("HSET", books.keys.meta, "server", before.here)
    assert found.left == 2
    assert [(await books.money(intent))[::2] for intent in (held, taken)] == [
        ("requires_capture", 0),
        ("succeeded", 0),
    ]


async def test_a_lost_database_refunds_nobody(books: Books) -> None:
    intents = [await books.authorizes(f"o_unknown{number}") for number in range(11)]
    for intent in intents:
        await books.captures(intent)
    found = await books.look(Mend.ALL)
    assert (found.differences, found.left) == ({"captured_for_unknown_order": 11}, 11)
    assert {await books.money(intent) for intent in intents} == {("succeeded", 1500, 0)}


async def test_a_charge_of_an_attempt_redis_has_forgotten_is_for_a_person(books: Books) -> None:
    order = await books.begins(token="pm_card_chargeDeclined")
    await books.settler.settle(books.shop, order)
    intent = await books.authorizes(order, attempt=2)
    await books.captures(intent)
    await left(books, "charge_of_later_attempt", Mend.ALL)
    assert await books.money(intent) == ("succeeded", 1500, 0)


@pytest.mark.parametrize("known", [True, False])
async def test_a_captured_mark_without_money_is_for_a_person(books: Books, *, known: bool) -> None:
    order = await books.sells()
    own = (await books.record(order)).intent
    assert own
    intent = "pi_nobody_knows"
    if known:
        intent = await books.authorizes(order)
        await books.cancels(intent)
    await books.refunds(own, 1500)
    await books.sets(order, intent=intent)
    await left(books, "sold_without_money", Mend.ALL)


async def test_another_amount_than_the_orders_is_for_a_person(books: Books) -> None:
    order = await books.sells()
    await books.sets(order, amount=1499)
    await left(books, "amount_differs", Mend.ALL)


async def test_a_refund_made_behind_our_back_is_for_a_person(books: Books) -> None:
    order = await books.sells()
    intent = (await books.record(order)).intent
    assert intent
    await books.refunds(intent, 500)
    await left(books, "refunds_differ", Mend.ALL)
    await books.sets(order, refunds='[{"amount":500,"state":"done"}]')
    assert await books.names() == {}


async def test_an_event_that_is_missing_is_appended_again(books: Books) -> None:
    await books.sells("ann")
    await books.sells("ben")
    entries = await books.entries()
    await books.drops(entries[0][0])
    await repaired(books, "event_missing")
    kept, restored = await books.entries()
    assert kept == entries[1]
    assert restored[1] == entries[0][1]
    await books.drops(restored[0])
    await repaired(books, "event_missing")


async def test_an_event_is_restored_once_whoever_asks(books: Books) -> None:
    order = await books.sells()
    record = await books.record(order)
    (entry, _), *_ = await books.entries()
    await books.drops(entry)
    repairs = [await _restore(books, order, f"evt_{order}_1") for _ in range(3)]
    assert repairs == [b"RESTORED", b"KEPT", b"KEPT"]
    assert len(await books.entries()) == 1
    assert await _restore(books, order, f"evt_{order}_2") == b"REFUSED"
    await books.sets(order, phase="failed")
    assert await _restore(books, order, f"evt_{record.order}_1") == b"REFUSED"


async def _restore(books: Books, order: str, event_id: str) -> bytes:
    from gateway.scripts import load

    keys = books.keys
    reply = await books.settler.lane.call(
        load("orders_restore"), (keys.order(order), keys.orders), (order, event_id)
    )
    return bytes(reply[0])


async def test_the_later_copy_of_an_event_is_dropped(books: Books) -> None:
    await books.sells()
    (first,) = await books.entries()
    await books.appends(first[1])
    await repaired(books, "event_doubled")
    assert await books.entries() == [first]


async def test_two_events_of_one_id_that_differ_are_for_a_person(books: Books) -> None:
    await books.sells()
    ((_, fields),) = await books.entries()
    other = fields[-1].replace(b"ann@example.com", b"ben@example.com")
    assert other != fields[-1]
    await books.appends([*fields[:-1], other])
    await left(books, "event_doubled", Mend.ALL)


async def test_an_event_whose_order_is_lost_is_for_a_person_and_its_money_stays(
    books: Books,
) -> None:
    order = await books.sells()
    intent = (await books.record(order)).intent
    await books.forgets(order)
    await left(books, "event_without_record", Mend.ALL)
    assert await books.money(intent) == ("succeeded", 1500, 0)


async def test_an_event_of_an_order_that_is_not_sold_is_for_a_person(books: Books) -> None:
    order = await books.sells()
    intent = (await books.record(order)).intent
    assert intent
    await books.refunds(intent, 1500)
    await books.sets(order, phase="voided")
    await left(books, "event_of_unsold_order", Mend.ALL)


async def test_an_order_older_than_the_window_is_read_by_itself(books: Books) -> None:
    """Its intent is not listed, its event is: it is asked for, not missed."""
    order = await books.sells()
    own = (await books.record(order)).intent
    await books.sets(order, intent=await _of_another_env(books, order))
    assert await books.names() == {"stray_charge": 1, "sold_without_money": 1}
    await books.sets(order, intent=own or "")
    assert await books.names() == {}


async def _of_another_env(books: Books, order: str) -> str:
    metadata = {"env": "staging", "shop": books.shop, "order": order, "attempt": "1"}
    return await books.authorizes(order, metadata=metadata)


async def test_what_others_made_in_the_account_is_left_alone(books: Books) -> None:
    intents = [
        await _of_another_env(books, "o_theirs"),
        await books.authorizes("o_x", metadata={}),
        await books.authorizes("o_x", metadata={"shop": "{evil}", "order": "o_x", "attempt": "1"}),
        await books.authorizes("o_x", metadata={"shop": books.shop, "order": "o", "attempt": "x"}),
    ]
    found = await books.look(Mend.ALL)
    assert (found.intents, found.differences) == (0, {})
    assert {(await books.read(intent)).status for intent in intents} == {"requires_capture"}


async def test_several_differences_are_counted_and_told_one_by_one(books: Books) -> None:
    await books.sells("ann")
    order = await books.sells("ben")
    await books.authorizes(order)
    (entry, _), *_ = await books.entries()
    await books.drops(entry)
    reconciler = books.reconciler()
    since_ms = SystemClock().now_ms() - DAY_MS
    seen: list[tuple[int, int]] = []
    found = await reconciler.look(None, since_ms, Mend.NOTHING, lambda *so_far: seen.append(so_far))
    ours = [one for one in found.findings if one.shop == books.shop]
    assert {one.difference for one in ours} == {"stray_authorization", "event_missing"}
    assert seen[-1][0] == found.intents >= 3
    assert found.left == sum(found.differences.values())
    assert sum(reconciler.found.values()) == found.left
    await books.look(Mend.SAFE)
    assert await books.names() == {}


async def test_it_names_nothing_while_a_shop_sells(books: Books) -> None:
    import asyncio

    async def sell() -> None:
        for number in range(8):
            await books.sells(f"shopper{number}")

    selling = asyncio.create_task(sell())
    while not selling.done():
        assert await books.names(later=False) == {}
    await selling
    assert (await books.look()).orders == 8


async def test_a_hold_is_not_an_order(books: Books) -> None:
    lines = (LineRequest("tee", 1),)
    rooms = books.corner.rooms
    await rooms.holds.reserve(books.shop, "ann", SHOW, "k", lines, Fulfillment())
    assert (await books.look()).orders == 0
