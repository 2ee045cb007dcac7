"""The audit over HTTP: what it says of an honest shop and of a wrong one, and how it is bounded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.api import audit
from gateway.keys import ShopKeys
from gateway.stock.audit import Verdict
from tests.books import Books
from tests.front_door import Door, problem
from tests.integration.conftest import Corner

PATH = "/v1/audit"


@pytest_asyncio.fixture(loop_scope="module")
async def books(corner: Corner) -> AsyncIterator[Books]:
    await corner.sells("tee", 20)
    yield Books(corner)


async def ask(books: Books, **query: str | int) -> dict[str, Any]:
    key = books.corner.rooms.tokens.sign_key(books.shop, ("admin",))
    async with httpx.AsyncClient(trust_env=False) as client:
        url, headers = books.corner.url + PATH, {"authorization": f"Bearer {key}"}
        answer = await client.get(url, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.asyncio(loop_scope="module")
async def test_of_an_honest_shop_stock_money_and_orders_agree(books: Books) -> None:
    for shopper in ("ann", "ben", "cleo"):
        await books.sells(shopper)
    declined = await books.begins("dan", "pm_card_chargeDeclined")
    await books.settler.settle(books.shop, declined)
    told = await ask(books, payments="true", since_h=1)
    assert (told["mode"], told["unsettled"]) == ("test", 0)
    assert told["redis_ms"] > 0
    stock, money = told["stock"], told["payments"]
    assert (stock["shop"], stock["committed_units"], stock["drift"]) == (books.shop, 3, [])
    assert money["sold"] == {"orders": 3, "amount": {"EUR": 4500}, "confirmed": 3}
    taken = money["reconciliation"]
    assert (taken["captures"], taken["captured"], taken["left"]) == (3, {"EUR": 4500}, 0)


@pytest.mark.asyncio(loop_scope="module")
async def test_money_that_nobody_sold_for_is_named_and_left_alone(books: Books) -> None:
    await books.sells()
    await books.corner.rooms.lane.command("DEL", ShopKeys(books.shop).orders)
    for _ in range(2):
        money = (await ask(books, payments="true"))["payments"]
        assert money["reconciliation"]["differences"] == {"event_missing": 1}
        assert (money["reconciliation"]["captures"], money["sold"]["orders"]) == (1, 0)


@pytest.mark.asyncio(loop_scope="module")
async def test_drift_of_the_stock_is_named_and_left_alone(books: Books) -> None:
    await books.corner.rooms.lane.command(
        "HSET", ShopKeys(books.shop).stock, "tee", '[["main",21,0,0,0,1,0]]'
    )
    for _ in range(2):
        (drift,) = (await ask(books))["stock"]["drift"]
        assert (drift["quantity"], drift["expected"], drift["found"]) == ("on_hand", 20, 21)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_row_that_cannot_be_read_is_named_too(books: Books) -> None:
    await books.corner.rooms.lane.command("HSET", ShopKeys(books.shop).stock, "tee", "damaged")
    (drift,) = (await ask(books))["stock"]["drift"]
    assert (drift["sku"], drift["quantity"]) == ("tee", "record_unreadable")


@pytest.mark.parametrize("hours", [0, 721, "x"])
async def test_how_far_to_look_back_is_bounded(door: Door, hours: object) -> None:
    answer = await door.ask("GET", PATH, "admin", params={"since_h": str(hours)})
    problem(answer, 422, "invalid")


async def test_one_audit_at_a_time_and_none_for_ever(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> Verdict:
        begun.set()
        await go_on.wait()
        return Verdict(door.shop, 0, 0, 0, 0, 0, ())

    monkeypatch.setattr(audit, "audit", slow)
    first = asyncio.create_task(door.ask("GET", PATH, "admin"))
    await begun.wait()
    refused = problem(await door.ask("GET", PATH, "admin"), 429, "rate_limited")
    assert refused["retry_after_ms"] > 0
    go_on.set()
    assert (await first).status_code == 200
    go_on.clear()
    monkeypatch.setattr(audit, "WITHIN_S", 0.05)
    problem(await door.ask("GET", PATH, "admin"), 503, "unavailable")
    go_on.set()
    assert (await door.ask("GET", PATH, "admin")).status_code == 200
