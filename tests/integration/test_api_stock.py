"""Stock over HTTP: what there is, and what the point of sale reports."""

from typing import Any

import httpx
import pytest

from gateway.stock.movements import MAX_BATCH
from tests.front_door import Door, problem

PATH = "/v1/stock/movements"


def movement(reference: str, **changes: object) -> dict[str, Any]:
    return {
        "reference_id": reference,
        "kind": "received",
        "sku": "tee",
        "location": "main",
        "quantity": 5,
        "occurred_at": "2026-11-21T20:00:00.000Z",
        "source": "till-1",
    } | changes


async def report(door: Door, *movements: object) -> httpx.Response:
    return await door.ask("POST", PATH, "pos", json={"movements": movements})


async def results(door: Door, *movements: object) -> list[dict[str, Any]]:
    answer = await report(door, *movements)
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()["results"]
    return told


async def test_stock_of_a_new_shop_is_empty(door: Door) -> None:
    assert await door.get("/v1/stock", "pos") == {
        "epoch": 1,
        "version": 0,
        "items": {},
        "locations": [],
    }


async def test_what_is_reported_is_the_stock(door: Door) -> None:
    assert await results(
        door,
        movement("a"),
        movement("b", location="store-2", quantity=2),
        movement("c", location="store-2", kind="adjusted", quantity=-3, reason="walk-in sale"),
    ) == [
        {"reference_id": "a", "status": "applied", "available": 5},
        {"reference_id": "b", "status": "applied", "available": 7},
        {"reference_id": "c", "status": "applied", "available": 4},
    ]
    stock = await door.get("/v1/stock", "pos")
    assert (stock["epoch"], stock["items"]) == (1, {"tee": 5})
    assert stock["version"] >= 1
    assert stock["locations"] == [
        {
            "sku": "tee",
            "location": location,
            "on_hand": on_hand,
            "safety_stock": 0,
            "held": 0,
            "committed": 0,
            "available": on_hand,
            "shortfall": max(0, -on_hand),
        }
        for location, on_hand in (("main", 5), ("store-2", -1))
    ]


async def test_a_movement_counts_once_in_whatever_company(door: Door) -> None:
    await results(door, movement("a"))
    again = await results(door, movement("b"), movement("a"))
    assert [one["status"] for one in again] == ["applied", "duplicate"]
    version = (await door.get("/v1/stock", "pos"))["version"]
    assert [one["status"] for one in await results(door, movement("a"))] == ["duplicate"]
    assert (await door.get("/v1/stock", "pos"))["version"] == version
    assert (await door.get("/v1/stock", "pos"))["items"] == {"tee": 10}


async def test_a_reference_with_other_content_is_refused(door: Door) -> None:
    await results(door, movement("a"), movement("b"))
    _, refused = await results(door, movement("c"), movement("a", quantity=6))
    assert (refused["status"], refused["code"]) == ("error", "idempotency_key_reused")
    assert (await door.get("/v1/stock", "pos"))["items"] == {"tee": 15}


async def test_the_bare_list_is_a_batch_as_well(door: Door) -> None:
    answer = await door.ask("POST", PATH, "pos", json=[movement("a")])
    assert [one["status"] for one in answer.json()["results"]] == ["applied"]
    assert (await door.ask("POST", PATH, "pos", json=[])).json() == {"results": []}


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 1.0},
        {"quantity": True},
        {"quantity": "5"},
        {"quantity": 2**63},
        {"quantity": 0},
        {"quantity": -1},
        {"kind": "stolen"},
        {"sku": "{tee}"},
        {"occurred_at": "today"},
        {"source": None},
        {"reason": "x" * 201},
    ],
)
async def test_a_bad_movement_spoils_no_other(door: Door, change: dict[str, Any]) -> None:
    told = await results(door, movement("a"), movement("bad", **change), movement("c"))
    assert [one["reference_id"] for one in told] == ["a", "bad", "c"]
    assert [one["status"] for one in told] == ["applied", "error", "applied"]
    assert told[1]["code"] == "invalid"
    assert told[1]["message"]
    assert (await door.get("/v1/stock", "pos"))["items"] == {"tee": 10}


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"reference_id": 7},
        {"reference_id": "a b"},
        "text",
        None,
        [],
        movement("a"),
        movement("a", kind="stolen"),
    ],
)
async def test_a_batch_that_cannot_be_answered_line_by_line_is_refused_whole(
    door: Door, bad: object
) -> None:
    problem(await report(door, movement("a"), bad), 422, "invalid")
    assert (await door.get("/v1/stock", "pos"))["items"] == {}


async def test_a_batch_has_its_limit(door: Door) -> None:
    batch = [movement(f"m{number}", quantity=1) for number in range(MAX_BATCH + 1)]
    problem(await report(door, *batch), 422, "invalid")
    assert len(await results(door, *batch[:-1])) == MAX_BATCH
    assert (await door.get("/v1/stock", "pos"))["items"] == {"tee": MAX_BATCH}


async def test_keys_that_come_twice_are_refused(door: Door) -> None:
    twice = b'[{"reference_id":"a","reference_id":"b"}]'
    answer = await door.ask(
        "POST", PATH, "pos", content=twice, headers={"Content-Type": "application/json"}
    )
    assert "twice" in problem(answer, 422, "invalid")["detail"]


async def test_what_is_no_batch_is_refused(door: Door) -> None:
    bodies: tuple[object, ...] = ({}, {"movements": {}}, "x", 5)
    for body in bodies:
        problem(await door.ask("POST", PATH, "pos", json=body), 422, "invalid")
    headers = {"Content-Type": "application/json"}
    answer = await door.ask("POST", PATH, "pos", content=b"{", headers=headers)
    problem(answer, 400, "invalid")
