"""Shows over HTTP: put, started, ended, pinned."""

from typing import Any

import pytest

from gateway.model import CatalogEntry, Money
from tests.front_door import Door, problem

PATH = "/v1/shows/tonight"


async def put(door: Door, **changes: str) -> dict[str, Any]:
    body = {"title": "Tonight"} | changes
    answer = await door.ask("PUT", PATH, "host", json=body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_show_is_put_started_pinned_and_ended(door: Door) -> None:
    shown = await put(door, starts_at="2026-11-21T21:00:00+01:00", video="https://x.example/v.mp4")
    assert shown == {
        "id": "tonight",
        "title": "Tonight",
        "state": "scheduled",
        "starts_at": "2026-11-21T20:00:00.000Z",
        "video": "https://x.example/v.mp4",
        "highlight": None,
    }
    await door.rooms.catalog.put(door.shop, (CatalogEntry("tee", "Tee", Money(500, "EUR")),))
    for path, body, wanted in (
        ("/start", None, {"state": "live"}),
        ("/start", None, {"state": "live"}),
        ("/highlight", {"sku": "tee"}, {"highlight": "tee"}),
        ("/highlight", {"sku": None}, {"highlight": None}),
        ("/end", None, {"state": "ended"}),
        ("/end", None, {"state": "ended"}),
    ):
        answer = await door.ask("POST", PATH + path, "host", json=body)
        assert answer.status_code == 200, answer.text
        for name, value in wanted.items():
            assert answer.json().get(name) == value
    assert (await door.get(PATH, "pos"))["state"] == "ended"


async def test_putting_a_show_again_changes_its_name_and_not_its_state(door: Door) -> None:
    await put(door)
    await door.ask("POST", PATH + "/start", "host")
    again = await put(door, title="Later tonight")
    assert (again["title"], again["state"]) == ("Later tonight", "live")


async def test_an_ended_show_does_not_start_again(door: Door) -> None:
    await put(door)
    await door.ask("POST", PATH + "/end", "host")
    told = problem(await door.ask("POST", PATH + "/start", "host"), 409, "show_not_live")
    assert told["state"] == "ended"


async def test_what_is_not_there_is_not_found(door: Door) -> None:
    for method, path in (("GET", PATH), ("POST", PATH + "/start"), ("POST", PATH + "/end")):
        problem(await door.ask(method, path, "host"), 404, "not_found")
    await put(door)
    answer = await door.ask("POST", PATH + "/highlight", "host", json={"sku": "hat"})
    assert problem(answer, 404, "not_found")["sku"] == "hat"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": "x" * 501},
        {"title": "x", "starts_at": "tomorrow"},
        {"title": "x", "starts_at": "2026-11-21T20:00:00"},
        {"title": "x", "starts_at": "0001-01-01T00:00:00+23:00"},
        {"title": "x", "video": "javascript:alert(1)"},
        {"title": "x", "video": "http://[x"},
    ],
)
async def test_a_wrong_show_is_not_put(door: Door, body: object) -> None:
    problem(await door.ask("PUT", PATH, "host", json=body), 422, "invalid")
    problem(await door.ask("GET", PATH, "host"), 404, "not_found")


async def test_highlight_must_say_what(door: Door) -> None:
    await put(door)
    problem(await door.ask("POST", PATH + "/highlight", "host", json={}), 422, "invalid")


async def test_a_name_that_is_no_id_is_refused(door: Door) -> None:
    for name in ("a b", "%7Bx%7D", "a:b", "x" * 65):
        answer = await door.ask("PUT", f"/v1/shows/{name}", "host", json={"title": "x"})
        problem(answer, 422, "invalid")
