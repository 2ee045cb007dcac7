"""Who is in trouble keeps up no other: a look goes on past one record, or repair."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.reconcile.findings import Mend
from tests.books import Books
from tests.integration.conftest import Corner
from tests.sales import sell

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def books(corner: Corner) -> AsyncIterator[Books]:
    await corner.sells("tee", 20)
    yield Books(corner)


@pytest.mark.parametrize("listed", [True, False])
async def test_a_record_that_cannot_be_read_is_named_once_and_keeps_up_no_other(
    books: Books, *, listed: bool
) -> None:
    """A newer version wrote it, say."""
    strange = "o_strange"
    if listed:
        strange = await books.sells("ann")
        await books.authorizes(strange)
        await books.sets(strange, phase="claimed")
    else:
        await sell(books.settler.lane, books.shop, strange, "claimed")
    await books.sells("ben")
    *_, (entry, _) = await books.entries()
    await books.drops(entry)
    found = await books.look(Mend.ALL)
    assert found.differences == {"event_missing": 1, "record_unreadable": 1}
    assert {one.difference: one.order for one in found.findings if not one.repaired} == {
        "record_unreadable": strange
    }


async def test_a_repair_that_fails_is_left_and_keeps_up_no_other(books: Books) -> None:
    strange, other = await books.sells("ann"), await books.sells("ben")
    strays = [await books.authorizes(order, attempt=1) for order in (strange, other)]
    # What is compared of it can be read, what is needed to repair it cannot.
    await books.forgets(strange, "lines")
    found = await books.look(Mend.SAFE)
    assert (found.differences, found.repaired) == ({"stray_authorization": 2}, 1)
    assert [(await books.money(stray))[0] for stray in strays] == ["requires_capture", "canceled"]
