"""The catalogue over HTTP: as JSON, and as Shopify's CSV."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.keys import ShopKeys
from tests.front_door import Door, problem

DATA = Path(__file__).parents[3] / "shared" / "data" / "catalogs"
TEE = {"sku": "tee", "title": "Tee", "price": {"amount": 1500, "currency": "EUR"}}

HEAD = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,Variant Price\n"
TWO_TEES = HEAD + "tee,Tee,Size,S,tee-s,3,15.00\ntee,,,M,tee-m,4,15.50\n"
ONE_BAD = TWO_TEES + "cap,Cap,Size,S,cap,5,free\nhat,Hat,Size,S,hat,6,9.00\n"


def real_file(name: str) -> bytes:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not here; it is test data and never part of the repository")
    return path.read_bytes()


async def upload(door: Door, body: str | bytes, **query: str) -> httpx.Response:
    headers = {"Content-Type": "text/csv; charset=utf-8"}
    path = "/v1/catalog/import"
    return await door.ask("POST", path, "admin", content=body, params=query, headers=headers)


async def items(door: Door) -> dict[str, int]:
    stock: dict[str, int] = (await door.get("/v1/stock", "pos"))["items"]
    return stock


async def skus(door: Door) -> list[str]:
    return [entry["sku"] for entry in (await door.get("/v1/catalog", "pos"))["entries"]]


async def test_entries_are_put_and_read_again(door: Door) -> None:
    cap = {**TEE, "sku": "cap", "options": {"Size": "L"}, "limit_per_shopper": 2}
    for _ in range(2):
        answer = await door.ask("PUT", "/v1/catalog", "admin", json={"entries": [TEE, cap]})
        assert (answer.status_code, answer.json()) == (200, {"variants": 2})
    await door.ask("PUT", "/v1/catalog", "admin", json={"entries": [{**TEE, "title": "New"}]})
    entries = (await door.get("/v1/catalog", "host"))["entries"]
    assert entries == [cap, {**TEE, "title": "New"}]


async def test_no_entries_change_nothing(door: Door) -> None:
    answer = await door.ask("PUT", "/v1/catalog", "admin", json={"entries": []})
    assert answer.json() == {"variants": 0}
    assert await skus(door) == []


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"price": {"amount": -1, "currency": "EUR"}}, "entries[1].price.amount"),
        ({"price": {"amount": 1.0, "currency": "EUR"}}, "entries[1].price.amount"),
        ({"price": {"amount": 1, "currency": "euro"}}, "entries[1].price.currency"),
        ({"sku": "{tee}"}, "entries[1].sku"),
        ({"title": ""}, "entries[1].title"),
        ({"limit_per_shopper": 0}, "entries[1].limit_per_shopper"),
        ({"sku": "tee"}, "A sku appears twice"),
    ],
)
async def test_one_bad_entry_spoils_them_all_and_is_named(
    door: Door, entry: dict[str, Any], field: str
) -> None:
    body = {"entries": [TEE, {**TEE, "sku": "cap"} | entry]}
    answer = await door.ask("PUT", "/v1/catalog", "admin", json=body)
    assert problem(answer, 422, "invalid")["detail"].startswith(field)
    assert await skus(door) == []


async def test_too_many_entries_are_refused(door: Door) -> None:
    entries = [{**TEE, "sku": f"tee-{number}"} for number in range(10_001)]
    answer = await door.ask("PUT", "/v1/catalog", "admin", json={"entries": entries})
    problem(answer, 422, "invalid")
    assert await skus(door) == []


async def test_too_many_bytes_are_refused(door: Door) -> None:
    limit = door.rooms.settings.max_body_bytes
    answer = await door.ask(
        "PUT",
        "/v1/catalog",
        "admin",
        content=b" " * (limit + 1),
        headers={"Content-Type": "application/json"},
    )
    assert problem(answer, 413, "invalid")["limit"] == limit


@pytest.mark.parametrize(
    ("name", "products", "variants", "units"),
    [("apparel.csv", 20, 22, 22), ("home-and-garden.csv", 20, 21, 65)],
)
async def test_a_real_catalogue_is_imported(
    door: Door, name: str, products: int, variants: int, units: int
) -> None:
    body = real_file(name)
    for _ in range(2):
        answer = await upload(door, body)
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert (report["products"], report["variants"]) == (products, variants)
        assert report["errors"] == []
        assert sum((await items(door)).values()) == units
    assert len(await skus(door)) == variants


async def test_prices_are_in_the_currency_that_is_named_and_stock_is_at_the_shops_place(
    door: Door,
) -> None:
    answer = await upload(door, TWO_TEES, currency="JPY")
    problem(answer, 422, "invalid")
    assert (await upload(door, TWO_TEES, currency="EUR")).status_code == 200
    entries = (await door.get("/v1/catalog", "pos"))["entries"]
    assert [entry["price"] for entry in entries] == [
        {"amount": 1550, "currency": "EUR"},
        {"amount": 1500, "currency": "EUR"},
    ]
    lines = (await door.get("/v1/stock", "pos"))["locations"]
    assert {(line["sku"], line["location"], line["on_hand"]) for line in lines} == {
        ("tee-s", "main", 3),
        ("tee-m", "main", 4),
    }


async def test_with_a_bad_row_nothing_is_imported(door: Door) -> None:
    body = problem(await upload(door, ONE_BAD), 422, "invalid")
    assert (body["products"], body["variants"]) == (0, 0)
    [error] = body["errors"]
    assert (error["line"], error["code"]) == (4, "bad_price")
    assert await skus(door) == []
    assert await items(door) == {}
    keys = ShopKeys(door.shop)
    assert await door.rooms.lane.command("EXISTS", keys.catalog, keys.stock, keys.ledger) == 0


async def test_bad_rows_are_skipped_when_asked_and_named_all_the_same(door: Door) -> None:
    answer = await upload(door, ONE_BAD, skip_bad_rows="true")
    assert answer.status_code == 200
    assert (answer.json()["products"], answer.json()["variants"]) == (2, 3)
    assert [error["line"] for error in answer.json()["errors"]] == [4]
    assert await items(door) == {"tee-s": 3, "tee-m": 4, "hat": 6}


@pytest.mark.parametrize(
    "body", [b"", b"Handle,Title\n", b"\xff\xfe", HEAD.encode() + b'tee,"Tee', b"{}"]
)
async def test_a_file_with_nothing_good_is_refused_even_when_bad_rows_are_skipped(
    door: Door, body: bytes
) -> None:
    told = problem(await upload(door, body, skip_bad_rows="true"), 422, "invalid")
    assert told["errors"][0]["line"] >= 1


async def test_importing_again_adds_no_stock_to_what_was_sold_meanwhile(door: Door) -> None:
    await upload(door, TWO_TEES)
    sold = {
        "reference_id": "walk-in",
        "kind": "adjusted",
        "sku": "tee-s",
        "location": "main",
        "quantity": -2,
        "occurred_at": "2026-11-21T20:00:00.000Z",
        "source": "till",
    }
    await door.ask("POST", "/v1/stock/movements", "pos", json=[sold])
    await upload(door, TWO_TEES.replace(",3,", ",30,"))
    assert await items(door) == {"tee-s": 1, "tee-m": 4}


async def test_a_long_file_is_imported_in_several_batches(door: Door) -> None:
    rows = "".join(f"p{n},Product {n},Title,Default Title,p{n},1,5.00\n" for n in range(1_234))
    answer = await upload(door, HEAD + rows)
    assert answer.json()["variants"] == 1_234
    assert len(await items(door)) == 1_234


@pytest.mark.parametrize("query", [{"currency": "euro"}, {"skip_bad_rows": "1"}])
async def test_a_wrong_question_is_refused(door: Door, query: dict[str, str]) -> None:
    problem(await upload(door, TWO_TEES, **query), 422, "invalid")


async def test_only_csv_is_imported(door: Door) -> None:
    answer = await door.ask("POST", "/v1/catalog/import", "admin", json={})
    problem(answer, 415, "invalid")
