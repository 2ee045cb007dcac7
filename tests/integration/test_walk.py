"""What comes into being while a shopper's traces are looked for is erased with the others."""

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.privacy.erase import Erasure
from gateway.privacy.walk import Walk
from gateway.stock.holds import order_id
from tests.integration.conftest import Corner
from tests.personal import SHOPPER, TEXTS, Person, happens_after_the_look, traces
from tests.purchase import DECLINED

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def person(corner: Corner) -> Person:
    await corner.sells("tee", 9)
    return Person(corner.rooms, corner.shop)


async def erased_wholly(person: Person) -> None:
    walk = Walk(person.lane, person.shop, person.rooms.claims)
    await Erasure(walk, person.rooms.settings, person.rooms.clock, random.Random(1)).erase(SHOPPER)
    assert await traces(person.lane, person.keys.meta, TEXTS, person.keys.every) == {}


async def test_what_was_held_and_declined_meanwhile_is_erased_too(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began after the look, and ended before the erasure, so that no hold and no sale tells."""
    await person.buys()
    happens_after_the_look(monkeypatch, lambda: person.is_declined("late"))
    await erased_wholly(person)


async def test_a_hold_whose_order_the_walk_has_passed_by_tells_of_it(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held before the walk, declined during it."""
    hold = await person.reserves("k")
    pages = Walk._pages

    async def overtaken(walk: Walk) -> AsyncIterator[list[tuple[str, str]]]:
        read = [page async for page in pages(walk)]
        if not await person.lane.command("EXISTS", person.keys.order(order_id(hold))):
            await person.begins(hold, DECLINED)
            await person.rooms.settler.settle(person.shop, order_id(hold))
            await person.rooms.holds.release(person.shop, SHOPPER, hold)
        for page in read:
            yield page

    monkeypatch.setattr(Walk, "_pages", overtaken)
    await erased_wholly(person)
