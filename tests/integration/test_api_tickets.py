"""Tickets: who gets in, as whom, and where."""

import asyncio
import dataclasses

import httpx
import msgspec
import pytest

from gateway.checkout.desk import Desk
from gateway.clock import parse_rfc3339
from gateway.model import Show
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.tickets import Scope
from tests.front_door import Door, open_door, problem


@pytest.fixture
async def live(door: Door) -> Door:
    """A door to a live show."""
    await door.rooms.shows.put(door.shop, Show("tonight", "Tonight"))
    await door.rooms.shows.move(door.shop, "tonight", "live")
    return door


async def ticket(door: Door, *scopes: Scope, **body: str) -> httpx.Response:
    return await door.ask("POST", "/v1/tickets", *scopes, json={"show": "tonight", **body})


def shopper(door: Door, answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    read = door.rooms.tokens.read_ticket(answer.json()["token"])
    assert (read.shop, read.show) == (door.shop, "tonight")
    return read.sub


async def test_anybody_gets_a_ticket_for_a_show(live: Door) -> None:
    answer = await ticket(live, name="Ann")
    assert shopper(live, answer).startswith("g_")
    assert answer.json()["url"] == "ws://door.test:8080/v1/live"
    left_ms = parse_rfc3339(answer.json()["expires_at"]) - live.rooms.clock.now_ms()
    assert 0 < left_ms <= live.rooms.settings.ticket_ttl_s * 1000
    assert answer.headers["cache-control"] == "no-store"


async def test_a_show_that_has_not_begun_lets_in_as_well(door: Door) -> None:
    await door.rooms.shows.put(door.shop, Show("tonight", "Tonight"))
    shopper(door, await ticket(door))


async def test_a_guest_can_be_the_same_again_but_nobody_the_shop_has_named(live: Door) -> None:
    first = shopper(live, await ticket(live, shopper="ann"))
    assert shopper(live, await ticket(live, shopper="ann")) == first
    assert shopper(live, await ticket(live, shopper="bob")) != first
    assert first != "ann"
    nameless = {shopper(live, await ticket(live)) for _ in range(3)}
    assert len(nameless) == 3


@pytest.mark.parametrize("scope", ["pos", "host", "admin"])
async def test_the_shop_names_its_shoppers_by_its_key(live: Door, scope: Scope) -> None:
    assert shopper(live, await ticket(live, scope, shopper="ann")) == "ann"
    assert shopper(live, await ticket(live, scope)).startswith("g_")


async def test_a_bad_key_is_not_a_guest(live: Door) -> None:
    for value in ("Bearer nonsense", "Basic YTpi", "Bearer"):
        answer = await live.ask(
            "POST", "/v1/tickets", json={"show": "tonight"}, headers={"Authorization": value}
        )
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_there_is_no_ticket_for_a_show_that_is_over_or_never_was(live: Door) -> None:
    answer = await live.ask("POST", "/v1/tickets", json={"show": "never"})
    problem(answer, 404, "not_found")
    await live.rooms.shows.move(live.shop, "tonight", "ended")
    assert problem(await ticket(live), 409, "show_not_live")["state"] == "ended"


@pytest.mark.parametrize(
    "body", [{}, {"show": ""}, {"show": "a b"}, {"show": 1}, {"show": "x", "shopper": "a:b"}]
)
async def test_a_wrong_body_is_named(live: Door, body: object) -> None:
    problem(await live.ask("POST", "/v1/tickets", json=body), 422, "invalid")


async def test_what_anybody_may_send_is_small(live: Door) -> None:
    problem(await ticket(live, more="x" * 20_000), 413, "invalid")


async def test_the_address_is_the_one_of_the_settings_or_the_one_that_was_asked(
    rooms: Rooms, live: Door
) -> None:
    answer = await live.client.post("https://shop.example/v1/tickets", json={"show": "tonight"})
    assert answer.json()["url"] == "wss://shop.example/v1/live"
    settings = msgspec.structs.replace(rooms.settings, public_url="https://live.example/buy/")
    async with open_door(_with(rooms, settings), _desk(rooms)) as other:
        assert (await ticket(other)).json()["url"] == "wss://live.example/buy/v1/live"


def _with(rooms: Rooms, settings: Settings) -> Rooms:
    return dataclasses.replace(rooms, settings=settings)


def _desk(rooms: Rooms) -> Desk:
    return Desk(rooms.settler, rooms.settings, rooms.rng)


async def test_pages_of_allowed_origins_may_ask_and_others_may_not(
    rooms: Rooms, live: Door
) -> None:
    origins = "https://shop.example, https://www.shop.example"
    settings = msgspec.structs.replace(rooms.settings, allowed_origins=origins)
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,idempotency-key",
    }
    async with open_door(_with(rooms, settings), _desk(rooms)) as other:
        for origin in origins.split(", "):
            headers = {"Origin": origin}
            asked = await other.ask("OPTIONS", "/v1/tickets", headers=headers | preflight)
            assert asked.status_code == 200
            assert asked.headers["access-control-allow-origin"] == origin
            got = await other.ask("POST", "/v1/tickets", json={"show": "tonight"}, headers=headers)
            assert got.headers["access-control-allow-origin"] == origin
            refused = await other.ask("POST", "/v1/tickets", json={"show": "x"}, headers=headers)
            problem(refused, 404, "not_found")
            assert refused.headers["access-control-allow-origin"] == origin
        foreign = {"Origin": "https://evil.example"}
        asked = await other.ask("OPTIONS", "/v1/tickets", headers=foreign | preflight)
        assert asked.status_code == 400
        assert "access-control-allow-origin" not in asked.headers


async def test_no_other_route_is_open_to_pages_of_other_origins(rooms: Rooms, live: Door) -> None:
    settings = msgspec.structs.replace(rooms.settings, allowed_origins="https://shop.example")
    async with open_door(_with(rooms, settings), _desk(rooms)) as other:
        answer = await other.ask(
            "GET", "/v1/stock", "pos", headers={"Origin": "https://shop.example"}
        )
        assert "access-control-allow-origin" not in answer.headers


async def test_many_at_once_are_served_in_few_round_trips(live: Door) -> None:
    before = live.rooms.lane.round_trips
    answers = await asyncio.gather(*(ticket(live) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert live.rooms.lane.round_trips - before < 100
