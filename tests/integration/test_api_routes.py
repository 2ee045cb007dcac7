"""The table of the front door: who may, what is not there, and what every answer carries."""

import re

import pytest

from gateway.problems import MEDIA_TYPE
from gateway.tickets import SCOPES, Scope
from tests.front_door import Door, problem

ONE: dict[str, set[Scope]] = {
    "PUT /v1/catalog": {"admin"},
    "POST /v1/catalog/import": {"admin"},
    "PUT /v1/shows/x": {"host"},
    "POST /v1/shows/x/start": {"host"},
    "POST /v1/shows/x/end": {"host"},
    "POST /v1/shows/x/highlight": {"host"},
    "GET /v1/stock": {"pos"},
    "GET /v1/stock/movements": {"pos"},
    "POST /v1/stock/movements": {"pos"},
    "GET /v1/audit": {"admin"},
    "GET /v1/orders": {"pos"},
    "GET /v1/orders/x": {"pos"},
    "POST /v1/orders/x/refunds": {"pos"},
    "GET /v1/webhooks": {"admin"},
    "PUT /v1/webhooks/x": {"admin"},
    "DELETE /v1/webhooks/x": {"admin"},
    "GET /v1/catalog": {"pos", "host", "admin"},
    "GET /v1/shows/x": {"pos", "host", "admin"},
    "POST /drainz": {"admin"},
}
OPEN = {
    *("POST /v1/tickets", "OPTIONS /v1/tickets", "POST /v1/stripe/webhook"),
    *("GET /livez", "GET /readyz", "GET /metrics"),
}
"""What needs no key: of these, Stripe's webhook is signed, and tickets open nothing else."""


async def test_every_route_is_known_to_need_a_key_or_none(door: Door) -> None:
    app = door.client._transport.app  # type: ignore[attr-defined]
    there = {
        f"{method} {re.sub('{[^}]*}', 'x', route.path)}"
        for route in app.routes
        for method in route.methods - {"HEAD"}
    }
    assert there == ONE.keys() | OPEN


@pytest.mark.parametrize(("route", "scopes"), ONE.items())
async def test_every_route_of_the_shop_needs_a_key_with_its_scope(
    door: Door, route: str, scopes: set[Scope]
) -> None:
    method, path = route.split()
    problem(await door.ask(method, path), 401, "unauthenticated")
    answer = await door.ask(method, path, headers={"Authorization": "Bearer x.y.z"})
    problem(answer, 401, "unauthenticated")
    ticket, _ = door.rooms.tokens.sign_ticket(door.shop, "x", "ann")
    answer = await door.ask(method, path, headers={"Authorization": f"Bearer {ticket}"})
    problem(answer, 401, "unauthenticated")
    for scope in SCOPES:
        answer = await door.ask(method, path, scope)
        if scope in scopes | {"admin"}:
            assert answer.status_code not in {401, 403}, answer.text
        else:
            problem(answer, 403, "forbidden")


async def test_a_key_that_opens_nothing_opens_nothing(door: Door) -> None:
    headers = {"Authorization": f"Bearer {door.rooms.tokens.sign_key(door.shop, ())}"}
    problem(await door.ask("GET", "/v1/catalog", headers=headers), 403, "forbidden")


async def test_a_key_opens_its_own_shop_only(door: Door) -> None:
    await door.ask("PUT", "/v1/shows/x", "host", json={"title": "Ours"})
    other = door.rooms.tokens.sign_key("another", ("admin",))
    headers = {"Authorization": f"Bearer {other}"}
    problem(await door.ask("GET", "/v1/shows/x", headers=headers), 404, "not_found")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/shows/x/y", "/v1/shows/%2F"])
async def test_what_is_not_there_is_a_problem(door: Door, path: str) -> None:
    problem(await door.ask("GET", path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/tickets", {"POST"}),
        ("OPTIONS", "/v1/tickets", {"POST"}),
        ("PATCH", "/v1/audit", {"GET", "HEAD"}),
        ("POST", "/livez", {"GET", "HEAD"}),
        ("PATCH", "/v1/stock/movements", {"GET", "HEAD", "POST"}),
        ("PATCH", "/v1/webhooks/x", {"PUT", "DELETE"}),
    ],
)
async def test_a_wrong_method_is_a_problem_that_names_all_right_ones(
    door: Door, method: str, path: str, allowed: set[str]
) -> None:
    answer = await door.ask(method, path)
    problem(answer, 405, "invalid")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_a_head_is_a_get_without_its_body(door: Door) -> None:
    answer = await door.ask("HEAD", "/v1/stock", "pos")
    assert (answer.status_code, answer.text) == (200, "")


async def test_every_answer_says_how_careful_to_be(door: Door) -> None:
    for path in ("/livez", "/metrics", "/v1/stock", "/nothing"):
        answer = await door.ask("GET", path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_defect_is_told_without_a_word_about_it(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the inner workings")

    monkeypatch.setattr("gateway.shows.catalog.Catalog.entries", broken)
    answer = await door.ask("GET", "/v1/catalog", "pos")
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem(answer, 500, "unavailable")
    assert "inner" not in answer.text


async def test_no_log_line_holds_a_token_or_an_address(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="gateway")
    key = door.key("admin")["Authorization"]
    body = {"url": "https://till.example/?key=hush", "secret": "whsec_hush"}
    await door.ask("PUT", "/v1/webhooks/x", "admin", json=body)
    await door.ask("POST", "/v1/tickets", json={"show": "x", "shopper": "ann@example.org"})
    assert key not in caplog.text
    assert "hush" not in caplog.text
    assert "ann@example" not in caplog.text
