"""The table of claims, SQLite's and Postgres' alike: what is claimed, and what is answered."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from gateway.claims import table as table_room
from gateway.claims.postgres import PostgresClaims
from gateway.claims.sale import Sale
from gateway.claims.sqlite import SqliteClaims
from gateway.claims.table import Claims
from gateway.errors import Unavailable
from tests.claiming import SHOP, Table, sale, sales, tee


async def test_what_is_claimed_is_kept_as_it_was_told(claims: Claims, table: Table) -> None:
    told = sale("ann", tee(1, 2), ("cap", "back", 7, 1))
    assert await claims.claim(told) is None
    assert await sales(claims) == [told]
    assert table.owners() == {("tee", 1): ["ann"], ("tee", 2): ["ann"], ("cap", 7): ["ann"]}
    assert await claims.has(SHOP, "ann")
    assert not await claims.has(SHOP, "bob")


async def test_claimed_again_it_is_still_its_own(claims: Claims, table: Table) -> None:
    assert [await claims.claim(sale("ann", tee(1))) for _ in range(3)] == [None] * 3
    assert table.owners() == {("tee", 1): ["ann"]}
    assert claims.conflicts == 0


async def test_whoever_comes_second_is_told_who_was_first(claims: Claims) -> None:
    await claims.claim(sale("ann", tee(2)))
    assert await claims.claim(sale("bob", tee(1, 3))) == "ann"
    assert claims.conflicts == 1
    assert [one.order for one in await sales(claims)] == ["ann"]
    # Of what was refused nothing is left: not even the units nobody has.
    assert await claims.claim(sale("cat", tee(1), tee(3))) is None


async def test_a_record_is_rewritten_and_what_was_sold_stays(claims: Claims, table: Table) -> None:
    await claims.claim(sale("ann", tee(1, 2)))
    await claims.claim(sale("bob", tee(3)))
    await claims.void(SHOP, "bob")
    assert [one.order async for one in claims.kept(SHOP)] == ["ann", "bob"]
    for order in ("ann", "bob", "nobody"):
        await claims.rewrite(SHOP, order, b"{}")
    assert [one.record async for one in claims.kept(SHOP)] == [b"{}", b"{}"]
    (left,) = await sales(claims)
    assert (left.order, left.units) == ("ann", (tee(1, 2),))
    assert table.owners() == {("tee", 1): ["ann"], ("tee", 2): ["ann"], ("tee", 3): ["bob"]}


@pytest.mark.parametrize(
    "other", [("tee", "back", 1, 1), ("cap", "main", 1, 1), ("tee", "main", 2, 1)]
)
async def test_a_unit_is_known_by_all_of_its_name(
    claims: Claims, other: tuple[str, str, int, int]
) -> None:
    await claims.claim(sale("ann", tee(1)))
    assert await claims.claim(sale("bob", other)) is None
    assert await claims.claim(sale("ann", tee(1), shop="elsewhere")) is None
    assert await claims.shops() == ["elsewhere", SHOP]


async def test_numbered_anew_an_order_has_both_and_is_sold_once(claims: Claims) -> None:
    """A server that lost the commit gave it other numbers: the first are never anybody else's."""
    await claims.claim(sale("ann", tee(1)))
    anew = sale("ann", tee(5))
    assert await claims.claim(anew) is None
    assert await sales(claims) == [anew]
    assert await claims.claim(sale("bob", tee(1))) == "ann"


async def test_a_void_sale_is_none_and_its_numbers_stay_taken(claims: Claims) -> None:
    await claims.claim(sale("ann", tee(1)))
    for _ in range(2):
        await claims.void(SHOP, "ann")
    await claims.void(SHOP, "nobody")
    assert await sales(claims) == []
    assert not await claims.has(SHOP, "ann")
    assert await claims.claim(sale("bob", tee(1))) == "ann"
    assert await claims.shops() == [SHOP]
    # Whoever claims it again means to capture it: it counts.
    assert await claims.claim(sale("ann", tee(1))) is None
    assert [one.order for one in await sales(claims)] == ["ann"]


async def test_sales_come_page_by_page(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_room, "PAGE", 3)
    told = [sale(f"order{number}", tee(number)) for number in range(10)]
    told += [sale("Z", tee(10)), sale("_", tee(11))]
    answers = await asyncio.gather(*map(claims.claim, told))
    await claims.claim(sale("order1", tee(1), shop="elsewhere"))
    await claims.void(SHOP, "order4")
    found = await sales(claims)
    assert set(answers) == {None}
    assert len(found) == len(told) - 1
    assert {one.order for one in found} == {one.order for one in told} - {"order4"}


class Counted:
    """Counts the transactions of claims."""

    def __init__(self, claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        write = claims._write

        async def count(sales: Sequence[Sale]) -> Sequence[str | None]:
            self.sizes.append(len(sales))
            return await write(sales)

        monkeypatch.setattr(claims, "_write", count)


async def test_claims_that_arrive_together_are_written_together(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claims.claim(sale("ann", tee(7)))
    counted = Counted(claims, monkeypatch)
    answers = await asyncio.gather(
        *(claims.claim(sale(f"order{number}", tee(number))) for number in range(200))
    )
    assert counted.sizes == [128, 72]
    # One that is refused spoils no other.
    assert answers == [None] * 7 + ["ann"] + [None] * 192


async def test_two_of_one_batch_who_want_the_same_unit(
    claims: Claims, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is refused already, and takes the third's unit from nobody."""
    await claims.claim(sale("ann", tee(1)))
    counted = Counted(claims, monkeypatch)
    wanted = [sale("bob", tee(1, 2)), sale("cat", tee(2)), sale("cat", tee(2)), sale("dan", tee(3))]
    answers = await asyncio.gather(*map(claims.claim, wanted))
    assert answers == ["ann", None, None, None]
    assert counted.sizes == [2, 1, 1]
    assert table.owners() == {("tee", 1): ["ann"], ("tee", 2): ["cat"], ("tee", 3): ["dan"]}


async def test_two_who_claim_the_same_order_at_once_both_have_it(table: Table) -> None:
    async with contextlib.AsyncExitStack() as stack:
        both = [await stack.enter_async_context(contextlib.aclosing(table.claims())) for _ in "12"]
        for number in range(20):
            one = sale(f"order{number}", tee(number * 3, 3))
            assert await asyncio.gather(*(claims.claim(one) for claims in both)) == [None, None]


async def test_many_who_make_the_table_at_once(table: Table) -> None:
    async with contextlib.AsyncExitStack() as stack:
        many = [
            await stack.enter_async_context(contextlib.aclosing(table.claims())) for _ in range(8)
        ]
        assert await asyncio.gather(*(claims.shops() for claims in many)) == [[]] * 8


async def test_a_table_of_another_version_is_left_alone(table: Table, claims: Claims) -> None:
    await claims.shops()
    if table.is_postgres:
        table.ask("UPDATE holdfast_claims SET version = 99")
    else:
        table.ask("PRAGMA user_version = 99")
    async with contextlib.aclosing(table.claims()) as old:
        with pytest.raises(Unavailable):
            await old.claim(sale("ann", tee(1)))
    assert table.owners() == {}


async def test_what_is_committed_is_on_the_disk(table: Table) -> None:
    if table.is_postgres:
        table = Table(f"{table.url}%20-csynchronous_commit%3Doff")
        assert table.ask("SHOW synchronous_commit") == [("off",)]
    async with contextlib.aclosing(table.claims()) as claims:
        if isinstance(claims, PostgresClaims):
            assert await claims._read("SHOW synchronous_commit", ()) == [("on",)]
        elif isinstance(claims, SqliteClaims):
            modes = [
                await claims._in_transaction(lambda one, name=name: one.execute(name).fetchone())  # type: ignore[misc]
                for name in ("PRAGMA journal_mode", "PRAGMA synchronous")
            ]
            assert modes == [("wal",), (2,)]


async def test_the_key_alone_keeps_a_unit_from_a_second_order(table: Table, claims: Claims) -> None:
    await claims.claim(sale("ann", tee(1)))
    with pytest.raises(Exception, match=r"(?i)unique"):
        table.ask("INSERT INTO holdfast_units VALUES ('shop', 'tee', 'main', 1, 'bob')")
