"""What a shopper is shown is all there is, in plain words."""

import random
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.clock import SystemClock, parse_rfc3339
from gateway.errors import Invalid, NotFound, Unavailable
from gateway.privacy.erase import Erasure
from gateway.privacy.export import export
from gateway.privacy.walk import Walk
from gateway.stock.standing import freeze
from tests.integration.conftest import SHOW, Corner
from tests.personal import (
    EMAIL,
    OTHER_EMAIL,
    PARKS,
    QUESTION,
    SHOPPER,
    TEXTS,
    Person,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def person(corner: Corner) -> AsyncIterator[Person]:
    await corner.sells("tee", 9)
    person = Person(corner.rooms, corner.shop)
    await person.lives()
    yield person


def walk(person: Person) -> Walk:
    return Walk(person.lane, person.shop, person.rooms.claims)


async def test_the_document_holds_all_there_is(person: Person) -> None:
    hold = await person.reserves("still holding")
    now_ms = SystemClock().now_ms()
    document = export(await walk(person).find(SHOPPER), now_ms)
    text = msgspec.json.encode(document).decode()
    assert [planted for planted in (*TEXTS, SHOPPER) if planted not in text] == []

    orders = {order["id"]: order for order in document.orders}
    assert orders.keys() == {person.bought, person.declined}
    sold, declined = orders[person.bought], orders[person.declined]
    assert (sold["phase"], sold["contact"]["email"]) == ("captured", EMAIL)
    assert (declined["phase"], declined["contact"]["email"]) == ("voided", OTHER_EMAIL)
    assert abs(parse_rfc3339(sold["committed_at"]) - now_ms) < 60_000
    assert "client_secret" not in text
    assert {one["state"] for one in document.holds} == {"committed", "released", "active"}
    assert document.visits["holds"] == [{"id": hold, "show": SHOW}]
    assert document.visits["units"] == [{"show": SHOW, "sku": "tee", "units": 2}]
    assert [one["id"] for one in document.visits["orders"]] == [person.bought]
    assert [one["text"] for one in document.questions] == [QUESTION]
    assert len(document.queue) == 4
    assert [one["event"]["data"]["contact"]["email"] for one in document.order_events] == [EMAIL]
    (parked,) = document.parked_deliveries
    assert (parked["webhook"], parked["order"]) == (PARKS, person.bought)
    assert set(document.at_stripe.payment_intents) == {sold["intent"], declined["intent"]}
    assert f"metadata['shopper']:'{SHOPPER}'" in document.at_stripe.search


async def test_nobody_elses_is_in_it(person: Person) -> None:
    other = Person(person.rooms, person.shop, "xavier")
    order = await other.buys("xaviers")
    await person.rooms.shows.ask(person.shop, SHOW, "xavier", "Xavier asks.", "q2", 1)
    text = msgspec.json.encode(export(await walk(person).find(SHOPPER), 0)).decode()
    assert [word for word in (order, "xavier", "Xavier") if word in text] == []
    nobody = export(await walk(person).find("nobody"), 0)
    assert (nobody.orders, nobody.holds, nobody.questions, nobody.queue) == ((), (), (), ())


async def test_a_shopper_is_found_by_what_the_shop_knows(person: Person) -> None:
    assert await walk(person).shopper_of(person.bought) == SHOPPER
    assert await walk(person).shopper_at(EMAIL.upper()) == SHOPPER
    assert await walk(person).shopper_at(OTHER_EMAIL) == SHOPPER, "declined orders count"
    with pytest.raises(NotFound):
        await walk(person).shopper_of("o_unknown")
    with pytest.raises(NotFound):
        await walk(person).shopper_at("nobody@example.org")
    await Person(person.rooms, person.shop, "bob").buys("bobs")
    with pytest.raises(Invalid, match=f"2 shoppers gave this address; name one: {SHOPPER}, bob"):
        await walk(person).shopper_at(EMAIL)


async def test_a_contact_of_another_form_keeps_nobody_from_being_found(person: Person) -> None:
    key = person.keys.order(person.declined)
    await person.lane.command("HSET", key, "contact", f'["{OTHER_EMAIL}"]')
    assert await walk(person).shopper_at(EMAIL) == SHOPPER
    assert await walk(person).shopper_at(OTHER_EMAIL) == SHOPPER


async def test_who_is_erased_is_found_no_more(person: Person) -> None:
    rooms = person.rooms
    erasure = Erasure(walk(person), rooms.settings, rooms.clock, random.Random(1))
    await erasure.erase(SHOPPER)
    with pytest.raises(NotFound, match="is erased"):
        await walk(person).shopper_of(person.bought)
    with pytest.raises(NotFound):
        await walk(person).shopper_at(EMAIL)


async def test_a_shop_that_may_have_lost_something_shows_nothing(person: Person) -> None:
    """Half of it would pass for all of it."""
    await freeze(person.lane, person.shop)
    with pytest.raises(Unavailable, match="may have lost something"):
        await walk(person).find(SHOPPER)
    with pytest.raises(NotFound, match="no shop"):
        await Walk(person.lane, "nowhere").find(SHOPPER)
