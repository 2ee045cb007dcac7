"""The books of a load test, read over the wire from a real gateway; and arrivals, recorded."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.keys import ShopKeys
from gateway.settings import Settings
from loadtest.drop import guard, record
from loadtest.drop.books import Books, Sales, read_books
from loadtest.drop.measured import Measured
from loadtest.drop.options import POS_KEY
from loadtest.drop.target import Target
from loadtest.drop.verdict import judge
from loadtest.drop.vitals import LOOP, STALENESS, Vitals, look
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site

NOW = "2026-11-21T20:00:00.000Z"


class Anything:
    """A scenario that bounds nothing: only the books count."""

    name, thresholds = "anything", ()


def target(site: Site, **started: int) -> Target:
    tokens = site.rooms.tokens
    admin, pos = tokens.sign_key(site.shop, ("admin",)), tokens.sign_key(site.shop, ("pos",))
    return Target(site.url, admin, pos, None, started)


async def read(site: Site, *, rest_s: float = 10.0, **started: int) -> Books:
    """The books of a run that began a moment ago."""
    began_at = time.time() - 5
    return await asyncio.to_thread(
        read_books, target(site, **started), began_at, 5.0, lambda _: None, rest_s
    )


def wrong(books: Books) -> list[str]:
    nothing = Measured("anything", 0.0, 5.0, 0, {}, {}, {}, [])
    verdict = judge(Anything(), nothing, books, Vitals())
    return [f"{one.cause.value}: {one.sentence}" for one in verdict.failures]


async def buys(site: Site, *shoppers: str) -> None:
    for name in shoppers:
        async with site.shopper(name) as shopper:
            assert (await shopper.buys("tee", "k"))["state"] == "confirmed"


async def test_honest_books_agree(site: Site) -> None:
    await site.sells("tee", 3)
    await buys(site, "ann", "ben")
    books = await read(site, tee=3)
    assert (books.sold, books.captures) == ({"tee": 2}, 2)
    assert books.run == Sales(2, 2, Counter({"EUR": 3_000}))
    assert (books.ledger_units, books.till, books.twice) == (2, None, [])
    assert books.left[-1][1] == {"tee": 1}
    assert wrong(books) == []


async def test_a_shop_that_sold_before_has_honest_books_still(site: Site) -> None:
    """Its earliest orders are not in the stream any more, and the ledger has them."""
    await site.sells("tee", 3)
    await buys(site, "ann")
    await site.rooms.lane.command("XTRIM", ShopKeys(site.shop).orders, "MAXLEN", 0)
    began_at = time.time() + 2.5
    later = target(site, tee=2)
    books = await asyncio.to_thread(read_books, later, began_at, 1.0, lambda _: None, 0.1)
    assert (books.run, books.ledger_units, books.sold) == (Sales(), 0, {})


async def test_a_gateway_with_a_live_key_is_never_tested(site: Site, settings: Settings) -> None:
    key = target(site).admin_key
    await asyncio.to_thread(guard.check_mode, site.url, key)
    live = msgspec.structs.replace(settings, stripe_api_key="rk_live_0123456789abcdef")
    async with open_site(live, UNLIMITED) as real:
        with pytest.raises(guard.NotAllowed, match="payment key is live"):
            await asyncio.to_thread(guard.check_mode, real.url, key)


async def test_more_sold_than_there_was_is_oversold(site: Site) -> None:
    await site.sells("tee", 2)
    await buys(site, "ann", "ben")
    assert wrong(await read(site, tee=1)) == ["oversell: sold 2 of tee, there were 1"]


async def test_a_unit_number_that_comes_twice_is_oversold(site: Site) -> None:
    await site.sells("tee", 2)
    await buys(site, "ann")
    lane, key = site.rooms.lane, ShopKeys(site.shop).ledger
    ((_, fields),) = await lane.command("XREVRANGE", key, "+", "-", "COUNT", 1)
    await lane.command("XADD", key, "*", *fields)
    assert "oversell: sold twice: unit 1 of tee at main" in wrong(await read(site, tee=2))


async def test_more_held_than_there_is_is_oversold_even_if_given_back(site: Site) -> None:
    await site.sells("tee", 1)
    lane, key = site.rooms.lane, ShopKeys(site.shop).ledger
    held: dict[str, Any] = {"kind": "held", "sku": "tee", "location": "main", "quantity": 3}
    nothing = {"on_hand": 0, "safety_stock": 0, "committed": 0, "reference": "h_x", "version": 9}
    for units, kind in ((3, "held"), (-3, "expired")):
        fields = held | nothing | {"kind": kind, "held": units}
        await lane.command("XADD", key, "*", *(word for pair in fields.items() for word in pair))
    assert wrong(await read(site, tee=1)) == [
        "oversell: 3 of tee were held or sold at once, there were 1"
    ]


async def test_an_order_that_was_lost_is_missed(site: Site) -> None:
    await site.sells("tee", 2)
    await buys(site, "ann")
    await site.rooms.lane.command("DEL", ShopKeys(site.shop).orders)
    assert wrong(await read(site, tee=2)) == [
        "books that do not agree: event missing: 1",
        "books that do not agree: 1 payments were taken for 0 orders",
        "books that do not agree: taken was 1,500 EUR, sold for nothing",
        "books that do not agree: the ledger has 1 units sold, the orders 0",
    ]


async def test_a_payment_that_never_rests_is_waited_for_and_told(site: Site) -> None:
    await site.sells("tee", 1)
    keys = ShopKeys(site.shop)
    await site.rooms.lane.command("ZADD", keys.unsettled, 1, "o_x")
    (sentence,) = wrong(await read(site, rest_s=0.1, tee=1))
    assert sentence.startswith("books that do not agree: 1 payments had not come to rest")


async def test_books_that_cannot_be_read_say_why(site: Site) -> None:
    gone = Target("http://127.0.0.1:9", "k", "k", None, {})
    books = await asyncio.to_thread(read_books, gone, time.time(), 1.0, lambda _: None)
    assert "does not answer" in wrong(books)[0]
    bad = Target(site.url, "no-key", "no-key", None, {})
    books = await asyncio.to_thread(read_books, bad, time.time(), 1.0, lambda _: None)
    assert "401" in wrong(books)[0]


async def test_what_a_gateway_says_of_itself_is_read(site: Site) -> None:
    await site.sells("tee", 1)
    seen = await asyncio.to_thread(look, [site.url, "http://127.0.0.1:9"])
    assert {LOOP, STALENESS} <= seen.buckets.keys()


async def test_arrivals_are_recorded_without_names(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await site.sells("tee", 5)
    await buys(site, "ann", "ben")
    async with site.shopper("ann") as ann:
        assert (await ann.buys("tee", "again"))["state"] == "confirmed"
    out, key = tmp_path / "arrivals.jsonl", {POS_KEY: target(site).pos_key}
    words = ["--url", site.url, "--out", str(out)]
    assert await asyncio.to_thread(record.main, [*words, "--show", SHOW], key) == 0
    arrivals = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["shopper"] for one in arrivals] == ["s1", "s2", "s1"]
    assert arrivals[0]["at_ms"] == 0 <= arrivals[1]["at_ms"] <= arrivals[2]["at_ms"]
    assert {one["lines"][0]["sku"] for one in arrivals} == {"tee"}
    assert "Who was refused is in no ledger" in capsys.readouterr().err
    assert await asyncio.to_thread(record.main, [*words, "--show", "another"], key) == 1
    assert await asyncio.to_thread(record.main, [*words, "--show", SHOW, "--until", NOW], key) == 1
    assert await asyncio.to_thread(record.main, [*words, "--show", SHOW], {}) == 2
