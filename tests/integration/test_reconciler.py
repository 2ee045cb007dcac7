"""Who is in trouble keeps up no other: a look goes on past one record, repair or server."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.clock import SystemClock
from gateway.commands.audit_report import reconciled
from gateway.errors import Unavailable
from gateway.keys import SHOPS
from gateway.orders.index import EventIndex
from gateway.reconcile.findings import Mend
from tests.books import DAY_MS, Books
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


async def test_an_event_that_cannot_be_read_is_named_and_stays_where_it_is(books: Books) -> None:
    order = await books.sells()
    ((entry, fields),) = await books.entries()
    await books.drops(entry)
    fields[fields.index(b"event") + 1] = b"damaged"
    await books.appends(fields)
    ((entry, _),) = await books.entries()
    for mend in (Mend.NOTHING, Mend.ALL):
        found = await books.look(mend)
        assert (found.differences, found.left) == ({"event_unreadable": 1}, 1)
        (one,) = found.findings
        assert (one.order, one.entry) == (order, entry.decode())
    assert f" {order} {entry.decode()}: event_unreadable\n" in reconciled(found)
    assert [kept for kept, _ in await books.entries()] == [entry]


async def test_a_repair_that_fails_is_left_and_keeps_up_no_other(books: Books) -> None:
    strange, other = await books.sells("ann"), await books.sells("ben")
    strays = [await books.authorizes(order, attempt=1) for order in (strange, other)]
    # What is compared of it can be read, what is needed to repair it cannot.
    await books.forgets(strange, "lines")
    found = await books.look(Mend.SAFE)
    assert (found.differences, found.repaired) == ({"stray_authorization": 2}, 1)
    assert [(await books.money(stray))[0] for stray in strays] == ["requires_capture", "canceled"]


async def test_a_shop_whose_server_is_silent_is_left_out_and_keeps_up_no_other(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    catch_up, away = EventIndex.catch_up, f"{books.shop}-away"

    async def unless_away(index: EventIndex) -> None:
        if index.shop == away:
            raise Unavailable("Its server is away.")
        await catch_up(index)

    await books.sells()
    ((entry, _),) = await books.entries()
    await books.drops(entry)
    monkeypatch.setattr(EventIndex, "catch_up", unless_away)
    reconciler, since_ms = books.reconciler(), SystemClock().now_ms() - DAY_MS
    await books.settler.lane.command("SADD", SHOPS, away)
    try:
        found = await reconciler.look(None, since_ms)
    finally:
        await books.settler.lane.command("SREM", SHOPS, away)
    assert found.silent == (away,)
    assert "event_missing" in {one.difference for one in found.findings if one.shop == books.shop}
    assert f"\n  {away} does not answer, and is left out\n" in reconciled(found)
    with pytest.raises(Unavailable):
        await reconciler.look(away, since_ms)
