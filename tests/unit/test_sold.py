"""Stripe's books are read once for all shops that ask together, and kept by nobody afterwards."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.checkout.marks import Mark, PaidFor
from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.model import Line, Money
from gateway.reconcile.statement import Paid, Statement
from gateway.recovery.sold import Books, Sold


def paid(shop: str) -> Paid:
    mark = Mark(shop, f"o_{shop}", 1, "test", f"h_{shop}", "ann", "tonight")
    bought = PaidFor((("tee", "main", 1, 1),), (Line("tee", 1, Money(1500, "EUR"), "main"),))
    return Paid(f"pi_{shop}", mark, 1500, "EUR", 1_000, bought)


class Listing(Statement):
    """What Stripe lists; a reading goes on when it is let."""

    def __init__(self, *shops: str) -> None:
        self.shops, self.readings, self.silent = shops, 0, False
        self.let = asyncio.Event()

    async def paid(self, _: int) -> AsyncGenerator[tuple[Paid, ...], None]:
        self.readings += 1
        await self.let.wait()
        if self.silent:
            raise Unavailable("Stripe does not answer.")
        for shop in self.shops:
            yield (paid(shop),)


@pytest.fixture
def listing() -> Listing:
    return Listing("one", "two", "three")


@pytest.fixture
def books(listing: Listing) -> Books:
    return Books(listing, None, SystemClock())


async def asking(books: Books, *shops: str) -> list[asyncio.Task[list[Sold]]]:
    """Shops that have asked by the time this returns."""
    before = books._asking.total()
    tasks = [asyncio.create_task(books.sold(shop, 0)) for shop in shops]
    while books._asking.total() < before + len(shops):
        await asyncio.sleep(0)
    return tasks


async def test_shops_that_ask_together_share_a_reading(books: Books, listing: Listing) -> None:
    (first,) = await asking(books, "one")
    others = await asking(books, "two", "nobody", "two")
    listing.let.set()
    found = [[sold.order for sold in await task] for task in (first, *others)]
    assert found == [["o_one"], ["o_two"], [], ["o_two"]]
    assert listing.readings == 2, "one that was under way when the others asked, and theirs"


async def test_who_asks_during_a_reading_has_another(books: Books, listing: Listing) -> None:
    """What was captured in between may not be in the first."""
    (first,) = await asking(books, "one")
    (second,) = await asking(books, "one")
    listing.let.set()
    assert await first == await second != []
    assert listing.readings == 2


async def test_only_what_somebody_asks_for_is_kept(books: Books, listing: Listing) -> None:
    tasks = await asking(books, "zero") + await asking(books, "one", "two")
    listing.let.set()
    kept = set[str]()
    while not all(task.done() for task in tasks):
        kept |= {shop for shop, sold in books._last.paid.items() if sold} if books._last else set()
        await asyncio.sleep(0)
    assert kept == {"one", "two"}
    assert (books._last, dict(books._asking)) == (None, {})


async def test_who_gives_up_leaves_nothing_behind(books: Books, listing: Listing) -> None:
    (cancelled,) = await asking(books, "one")
    cancelled.cancel()
    await asyncio.wait({cancelled})
    listing.silent = True
    listing.let.set()
    with pytest.raises(Unavailable):
        await books.sold("two", 0)
    assert (books._last, dict(books._asking)) == (None, {})


async def test_all_shops_that_have_sold_are_known(books: Books, listing: Listing) -> None:
    listing.let.set()
    assert await books.shops(0) == {"one", "two", "three"}
