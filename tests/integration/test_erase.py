"""Who is erased is nowhere any more, and the books say what they said before."""

import contextlib
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.phases import Phase
from gateway.checkout.refund import RefundRequest
from gateway.claims.sale import Sale
from gateway.claims.sqlite import SqliteClaims
from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.keys import SHOPS
from gateway.lane import pairs, served
from gateway.model import Fulfillment, LineRequest, Money
from gateway.orders import current
from gateway.orders.stream import OrderStream
from gateway.privacy.erase import Erasure, NotYet
from gateway.privacy.found import PSEUDONYM
from gateway.privacy.walk import Walk
from gateway.reconcile.reconciler import Reconciler
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.stock.audit import audit
from gateway.stock.standing import freeze
from tests.bank import Bank
from tests.handoff import handoff, running
from tests.integration.conftest import SHOW, Corner
from tests.integration.test_recovery import forgets, opened
from tests.personal import (
    EMAIL,
    PARKS,
    SHOPPER,
    TAKES,
    TEXTS,
    Person,
    happens_after_the_look,
    traces,
)
from tests.sales import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAY_MS = 86_400_000


@pytest_asyncio.fixture(loop_scope="module")
async def person(corner: Corner) -> Person:
    await corner.sells("tee", 9)
    return Person(corner.rooms, corner.shop)


def erasure(person: Person) -> Erasure:
    rooms = person.rooms
    walk = Walk(rooms.lane, person.shop, rooms.claims)
    return Erasure(walk, rooms.settings, rooms.clock, random.Random(1))


async def ledger(person: Person) -> Any:
    return await person.lane.command("XRANGE", person.keys.ledger, "-", "+")


async def add_up(person: Person) -> None:
    """No drift of the stock, and no difference to Stripe, now or when it has lain for long."""
    assert (await audit(person.lane, person.shop)).drift == ()
    since_ms = SystemClock().now_ms() - DAY_MS
    found = await Reconciler(person.rooms.settler).look(person.shop, since_ms)
    assert found.differences == {}


async def told(person: Person, order: str) -> list[dict[str, Any]]:
    """What the stream has of an order, oldest first."""
    entries = await person.lane.command("XRANGE", person.keys.orders, "-", "+")
    events = [msgspec.json.decode(pairs(fields)["event"]) for _, fields in entries]
    return [event["data"] for event in events if event["subject"] == order]


async def test_nothing_of_a_shopper_is_left_in_any_key_table_or_file(
    warden: Warden, tmp_path: Path, shop: str
) -> None:
    # Searched as bytes, a file must not be compressed; see PRIVACY.md for the other setting.
    config = {"rdbcompression": "no", "stream-node-max-entries": "1"}
    server = EmbeddedValkey(
        warden.group, port=0, data_dir=tmp_path, appendfsync="always", config=config
    )
    async with opened(server, shop, claims_url=f"sqlite://{tmp_path}/claims") as purchase:
        await purchase.corner.sells("tee", 9)
        person = Person(purchase.rooms, shop)
        await person.lives()
        texts, at = (*TEXTS, SHOPPER), person.keys.meta
        before = await traces(person.lane, at, texts)
        assert before.keys() == set(texts), "the search finds what is there"
        assert {key.split(":")[2] for keys in before.values() for key in keys} == {
            *("order", "orders", "hold", "shopper", "parked"),
            *("questions", "line", "heard", "invited", "inside"),
        }
        assert on_disk(tmp_path, texts) == set(texts)
        await add_up(person)
        books = await ledger(person)

        found = await erasure(person).erase(SHOPPER)
        assert not found.nothing
        assert await traces(person.lane, at, texts) == {}
        await add_up(person)
        assert await ledger(person) == books

        again = await erasure(person).erase(SHOPPER)
        assert again.nothing
        assert len(await told(person, person.bought)) == 1
        await add_up(person)

        assert on_disk(tmp_path, texts, "claims*") == set()
        assert on_disk(tmp_path, texts) == set(texts), "the append-only file has the past"
        await person.lane.command("BGREWRITEAOF", at=at)
        await eventually(lambda: is_rewritten(person))
        assert on_disk(tmp_path, texts) == set()


def on_disk(folder: Path, texts: tuple[str, ...], files: str = "*") -> set[str]:
    """The texts that files still have, wherever in them."""
    kept = b"".join(path.read_bytes() for path in folder.rglob(files) if path.is_file())
    return {text for text in texts if text.encode() in kept}


async def is_rewritten(person: Person) -> bool:
    told: bytes = await person.lane.command("INFO", "persistence", at=person.keys.meta)
    return b"aof_rewrite_in_progress:0" in told and b"aof_rewrite_scheduled:0" in told


async def test_a_rebuild_does_not_bring_the_shopper_back(
    warden: Warden, tmp_path: Path, shop: str
) -> None:
    server = EmbeddedValkey(warden.group, port=0, data_dir=tmp_path, appendfsync="always")
    async with opened(server, shop, claims_url=f"sqlite://{tmp_path}/claims") as purchase:
        await purchase.corner.sells("tee", 9)
        person, rooms = Person(purchase.rooms, shop), purchase.rooms
        order = await person.buys()
        await erasure(person).erase(SHOPPER)
        await forgets(purchase)
        assert await freeze(rooms.lane, shop)
        await rooms.recovery.served(shop)
        record = await rooms.records.find(shop, order)
        assert record
        assert record.contact is None
        await rooms.settler.settle(shop, order)
        assert await traces(rooms.lane, person.keys.meta, (*TEXTS, SHOPPER)) == {}
        (event,) = await told(person, order)
        assert (event["order_version"], event["contact"], event["erased"]) == (2, None, True)
        record = await rooms.records.find(shop, order)
        assert record
        assert record.phase is Phase.CAPTURED


async def test_the_pos_hears_of_it_by_the_next_version(person: Person) -> None:
    await person.lives()
    (before,) = await told(person, person.bought)
    assert before["contact"]["email"] == EMAIL
    await erasure(person).erase(SHOPPER)
    (after,) = await told(person, person.bought)
    assert (after["order_version"], after["contact"], after["erased"]) == (2, None, True)
    assert "ship_to" not in after["fulfillment"]
    same = ("id", "state", "lines", "total", "tenders", "show", "occurred_at")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    event = await current.find(person.lane, person.shop, person.bought)
    assert event
    assert event.data.erased
    assert await person.lane.command("HLEN", person.keys.parked(PARKS)) == 0


async def test_the_till_erases_as_well(person: Person) -> None:
    """One order it has by then; the other it refused, and now gets without contact only."""
    async with handoff(person.lane, person.shop, person.rooms.settings) as site:
        await person.lane.command("SADD", SHOPS, person.shop)
        await site.book.put("till", site.webhook)
        async with running(site.relay()):
            taken = await person.buys("taken")
            await site.has(taken)
            assert EMAIL in str((await site.http.get("/orders")).json())
            await site.faults(status=410, count=1)
            refused = await person.buys("refused")
            await site.parks(1)
            await site.settled()
            await erasure(person).erase(SHOPPER)

            async def all_there() -> bool:
                # The relay knows of the version that was parked, and parks the next behind it.
                await site.parking.retry()
                told = (await site.http.get("/orders")).json()
                return [event["data"].get("erased") for event in told] == [True, True]

            await eventually(all_there)
            assert sorted(await site.orders()) == sorted([taken, refused])
            assert EMAIL not in str((await site.http.get("/orders")).json())
            await site.settled()
            assert await site.parking.count() == 0


async def test_the_cursors_of_those_who_pull_stay_right(person: Person) -> None:
    """One has read nothing, one all; another's order is between."""
    stream = OrderStream(person.lane, person.shop)
    other = Person(person.rooms, person.shop, "bob")
    first, second, third = await person.buys("a"), await other.buys("b"), await person.buys("c")
    page = await stream.page("", 2)
    assert [event.data.id for event in page.orders] == [first, second]
    await erasure(person).erase(SHOPPER)
    rest = await stream.page(page.next, 10)
    assert {(event.data.id, event.data.order_version) for event in rest.orders} == {
        (first, 2),
        (third, 2),
    }
    everything = await stream.page("", 10)
    assert [event.data.id for event in everything.orders][:1] == [second]
    assert len(everything.orders) == 3
    assert (await stream.page(rest.next, 10)).orders == ()


async def test_an_order_can_be_refunded_afterwards(person: Person) -> None:
    order = await person.buys()
    await person.lane.command("PEXPIRE", person.keys.order(order), 60_000)
    await erasure(person).erase(SHOPPER)
    # It outlives the event that was told now, or reconciling would miss it.
    assert await person.lane.command("PTTL", person.keys.order(order)) > 30 * DAY_MS
    rooms = person.rooms
    await rooms.refunds.begin(person.shop, order, "k", RefundRequest())
    await rooms.settler.settle(person.shop, order)
    _, last = await told(person, order)
    assert (last["order_version"], last["state"], last["contact"]) == (3, "canceled", None)
    assert last["erased"]
    await add_up(person)


async def test_what_is_known_of_a_hold_is_only_that_it_ended(person: Person) -> None:
    hold = await person.reserves("k")
    await person.rooms.holds.release(person.shop, SHOPPER, hold)
    await erasure(person).erase(SHOPPER)
    state, shopper = await person.lane.command("HMGET", person.keys.hold(hold), "state", "shopper")
    assert state == b"released"
    assert shopper.decode().startswith(PSEUDONYM)
    lines = (LineRequest("tee", 1),)
    again = await person.rooms.holds.reserve(person.shop, SHOPPER, SHOW, "k", lines, Fulfillment())
    assert again.hold.state == "released", "the same request holds nothing anew"


async def refusal(person: Person, *, release: bool = False) -> str:
    """Why one may not be erased; nothing is, then."""
    found = await erasure(person).walk.find(SHOPPER)
    with pytest.raises(NotYet) as refused:
        await erasure(person).erase(SHOPPER, release=release)
    assert await erasure(person).walk.find(SHOPPER) == found
    return str(refused.value)


@pytest.mark.parametrize("release", [False, True])
async def test_a_payment_under_way_is_let_end(person: Person, *, release: bool) -> None:
    await person.buys("before")
    order = await person.begins(await person.reserves("k"))
    reason = await refusal(person, release=release)
    assert reason == f"A payment of {order} is under way; try again when it has ended."


async def test_a_refund_under_way_is_let_end(person: Person) -> None:
    order = await person.buys()
    await person.rooms.refunds.begin(person.shop, order, "k", RefundRequest())
    assert (
        await refusal(person) == f"A refund of {order} is under way; try again when it has ended."
    )


async def test_an_order_is_delivered_first(person: Person) -> None:
    await person.buys("first")
    await person.is_handed_on()
    second = await person.buys("second")
    assert (await refusal(person)).startswith(f"{second} is not delivered to the webhook ")
    await person.lane.command("XGROUP", "DESTROY", person.keys.orders, PARKS)
    group = ("XREADGROUP", "GROUP", TAKES, "relay", "COUNT", 9, "STREAMS", person.keys.orders, ">")
    await person.lane.command(*group, at=person.keys.orders)
    assert (await refusal(person)).startswith(f"{second} is not delivered to the webhook {TAKES}")
    await person.is_handed_on()
    await erasure(person).erase(SHOPPER)
    assert (await erasure(person).walk.find(SHOPPER)).nothing


async def test_an_active_hold_is_released_only_if_wanted(person: Person) -> None:
    hold = await person.reserves("k")
    assert (await refusal(person)).startswith(f"The shopper holds something ({hold});")
    await erasure(person).erase(SHOPPER, release=True)
    assert await person.rooms.movements.available(person.shop) == {"tee": 9}
    assert (await erasure(person).walk.find(SHOPPER)).nothing
    await add_up(person)


async def test_a_refund_that_comes_in_between_is_told_too(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked at, then it was refunded, then it is erased: as what it is by now."""
    order = await person.buys()
    find, looks = Walk.find, 0

    async def overtaken(walk: Walk, shopper: str) -> Any:
        nonlocal looks
        looks += 1
        found = await find(walk, shopper)
        if looks == 1:
            await person.rooms.refunds.begin(
                person.shop, order, "k", RefundRequest(Money(100, "EUR"))
            )
            await person.rooms.settler.settle(person.shop, order)
        return found

    monkeypatch.setattr(Walk, "find", overtaken)
    await erasure(person).erase(SHOPPER)
    assert looks == 2
    (event,) = await told(person, order)
    assert (event["order_version"], event["state"]) == (3, "partially_refunded")
    assert (await erasure(person).walk.find(SHOPPER)).nothing
    await add_up(person)


async def test_an_order_whose_money_could_not_be_taken_is_told_to_nobody(person: Person) -> None:
    bank = Bank(person.rooms.settings.stripe_url or "")
    await bank.fails(capture_loses_percent=100, times=1)
    order = await person.begins(await person.reserves("k"))
    await person.rooms.settler.settle(person.shop, order)
    record = await person.rooms.records.find(person.shop, order)
    assert record
    assert (record.phase, len(await told(person, order))) == (Phase.FAILED, 1)
    await erasure(person).erase(SHOPPER)
    assert await told(person, order) == []
    await add_up(person)


async def test_what_the_replicas_do_not_have_is_not_called_erased(person: Person) -> None:
    """There is none. Once there is, erasing again says so of all that was erased before."""
    await person.buys()
    patient = msgspec.structs.replace(person.rooms.settings, wait_replicas=1, wait_timeout_ms=20)
    async with served(patient) as lane:
        walk = Walk(lane, person.shop)
        unsure = Erasure(walk, patient, person.rooms.clock, random.Random(1))
        for _ in range(2):
            with pytest.raises(Unavailable, match="not on the replicas yet"):
                await unsure.erase(SHOPPER)
    assert (await erasure(person).erase(SHOPPER)).nothing


async def test_what_only_a_claim_still_knows_is_erased_too(person: Person, tmp_path: Path) -> None:
    order, rooms = await person.buys(), person.rooms
    record = await rooms.records.find(person.shop, order)
    kept = msgspec.json.encode(await rooms.records.kept(person.shop, order))
    assert record
    async with contextlib.aclosing(SqliteClaims(tmp_path / "claims", rooms.settings)) as claims:
        sale = Sale(person.shop, order, record.intent or "", record.hold, record.units, kept, 1)
        await claims.claim(sale)
        await person.lane.command("DEL", person.keys.order(order))
        walk = Walk(person.lane, person.shop, claims)
        assert await walk.shopper_of(order) == SHOPPER
        assert await walk.shopper_at(EMAIL) == SHOPPER
        await Erasure(walk, rooms.settings, rooms.clock, random.Random(1)).erase(SHOPPER)
        (left,) = [one async for one in claims.kept(person.shop)]
        assert [text for text in (*TEXTS, SHOPPER) if text.encode() in left.record] == []
        assert (left.order, left.units) == (order, record.units)
        assert await told(person, order) == []


async def test_who_buys_meanwhile_is_let_finish(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold came after the look: it is not cut off from its shopper."""
    find = Walk.find

    async def overtaken(walk: Walk, shopper: str) -> Any:
        found = await find(walk, shopper)
        if not found.active:
            await person.reserves("late")
        return found

    monkeypatch.setattr(Walk, "find", overtaken)
    assert (await person.buys()).startswith("o_")
    with pytest.raises(NotYet, match="holds something"):
        await erasure(person).erase(SHOPPER)
    assert (await audit(person.lane, person.shop)).active_holds == 1


async def test_an_order_that_is_sold_meanwhile_is_erased_too(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was held and paid for after the look, so that no hold tells of it."""
    await person.buys()
    orders = happens_after_the_look(monkeypatch, lambda: person.buys("late"))
    await erasure(person).erase(SHOPPER)
    record = await person.rooms.records.find(person.shop, orders[0])
    assert record
    assert record.contact is None
    assert await traces(person.lane, person.keys.meta, (EMAIL,), person.keys.every) == {}
    await add_up(person)
