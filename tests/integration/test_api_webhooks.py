"""Webhooks over HTTP: made, listed, removed."""

import base64
import dataclasses
from typing import Any

import msgspec
import pytest

from gateway.checkout.desk import Desk
from gateway.keys import ShopKeys
from gateway.pos.webhooks import WebhookBook
from gateway.rooms import Rooms
from tests.front_door import Door, open_door, problem

PATH = "/v1/webhooks/till"
URL = "https://till.example/orders"
SECRET = "whsec_" + base64.b64encode(b"x" * 32).decode()


async def put(door: Door, key: str | None = None, **body: object) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await door.ask("PUT", PATH, "admin", json={"url": URL} | body, headers=headers)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_a_webhook_is_set_with_the_shops_own_secret_which_is_not_shown(door: Door) -> None:
    assert await put(door, secret=SECRET) == {"name": "till", "url": URL, "active": True}
    kept = (await WebhookBook(door.rooms.lane, door.shop).all())["till"]
    assert (kept.url, kept.secret) == (URL, SECRET)


async def test_a_secret_made_here_is_shown_and_the_same_request_shows_it_again(door: Door) -> None:
    first = await put(door, "one")
    kept = (await WebhookBook(door.rooms.lane, door.shop).all())["till"]
    assert first["secret"] == kept.secret
    assert await put(door, "one") == first
    assert (await put(door, "two"))["secret"] != first["secret"]
    assert (await put(door))["secret"] == (await put(door))["secret"]


async def test_the_list_has_no_secrets(door: Door) -> None:
    made = await put(door)
    await door.ask("PUT", "/v1/webhooks/erp", "admin", json={"url": URL, "active": False})
    answer = await door.ask("GET", "/v1/webhooks", "admin")
    assert answer.json() == {
        "webhooks": [
            {"name": "erp", "url": URL, "active": False},
            {"name": "till", "url": URL, "active": True},
        ]
    }
    assert made["secret"] not in answer.text


async def test_a_removed_webhook_is_gone_and_removing_it_again_is_fine(door: Door) -> None:
    await put(door)
    for _ in range(2):
        answer = await door.ask("DELETE", PATH, "admin")
        assert (answer.status_code, answer.content) == (204, b"")
    assert await door.get("/v1/webhooks", "admin") == {"webhooks": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "ftp://till.example"},
        {"url": "till.example"},
        {"url": "https://user:word@till.example/"},
        {"url": URL, "secret": "short"},
        {"url": URL, "secret": 5},
    ],
)
async def test_a_wrong_webhook_is_not_set(door: Door, body: dict[str, Any]) -> None:
    answer = await door.ask("PUT", PATH, "admin", json=body)
    problem(answer, 422, "invalid")
    assert "short" not in answer.text
    assert await door.rooms.lane.command("EXISTS", ShopKeys(door.shop).webhooks) == 0


async def test_a_name_that_is_no_id_is_refused(door: Door) -> None:
    answer = await door.ask("PUT", "/v1/webhooks/a b", "admin", json={"url": URL})
    problem(answer, 422, "invalid")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::1]:6379/",
        "http://0x0a000001/",
        "http://localhost/",
    ],
)
async def test_an_address_only_we_can_reach_is_refused(rooms: Rooms, url: str) -> None:
    fenced = dataclasses.replace(
        rooms, settings=msgspec.structs.replace(rooms.settings, webhook_targets="")
    )
    desk = Desk(rooms.settler, rooms.settings, rooms.rng)
    async with open_door(fenced, desk) as door:
        answer = await door.ask("PUT", PATH, "admin", json={"url": url})
        refused = problem(answer, 422, "invalid")
        assert "HOLDFAST_WEBHOOK_TARGETS" in refused["detail"]
        assert (await door.get("/v1/webhooks", "admin"))["webhooks"] == []


async def test_an_address_the_settings_name_is_taken(door: Door) -> None:
    assert (await put(door, url="http://127.0.0.1:9/orders"))["active"]
