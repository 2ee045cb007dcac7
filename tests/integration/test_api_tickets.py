"""Tickets: who gets in, as whom, and where."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Iterable

import httpx
import msgspec
import pytest

from gateway.admission import Admission
from gateway.checkout.desk import Desk
from gateway.clock import parse_rfc3339
from gateway.keys import ShopKeys
from gateway.model import Show
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.tickets import Scope
from tests.front_door import Door, open_door, problem
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site
from tests.integration.test_metrics import numbers


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


@pytest.fixture
async def full(rooms: Rooms, live: Door) -> AsyncIterator[Door]:
    """A door to a live show that takes one, who is in."""
    settings = msgspec.structs.replace(rooms.settings, show_viewers=1)
    limited = dataclasses.replace(
        _with(rooms, settings),
        admission=Admission(rooms.lane, settings, rooms.tokens, rooms.rng),
    )
    async with open_door(limited, _desk(rooms)) as door:
        first = await ticket(door, shopper="first")
        token = first.json()["token"]
        arrived = limited.admission.arrives(rooms.tokens.read_ticket(token), token, "session")
        limited.admission.let_in(await arrived)
        yield door


async def frees_a_place(door: Door) -> None:
    """The one who is in has been gone for long enough."""
    await door.rooms.lane.command("DEL", ShopKeys(door.shop).invited("tonight"))


def place(answer: httpx.Response) -> int:
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert told.keys() == {"position", "retry_after_ms", "queue_token"}
    assert 0 < told["retry_after_ms"] <= 10_000
    assert int(answer.headers["retry-after"]) == -(-told["retry_after_ms"] // 1000)
    position: int = told["position"]
    return position


async def test_who_comes_to_a_full_show_is_told_a_place_and_let_in_in_order(full: Door) -> None:
    ann, bob = await ticket(full, shopper="ann"), await ticket(full, shopper="bob")
    assert [place(ann), place(bob)] == [1, 2]
    assert place(await ticket(full, shopper="ann")) == 1
    await frees_a_place(full)
    assert place(await ticket(full, shopper="bob")) == 2
    guest = shopper(full, await ticket(full, shopper="ann"))
    assert guest == full.rooms.tokens.guest(full.shop, "ann")
    assert shopper(full, await ticket(full, shopper="ann")) == guest
    assert place(await ticket(full, shopper="bob")) == 1


async def test_a_guest_without_a_name_keeps_the_place_by_the_token(full: Door) -> None:
    first, second = await ticket(full), await ticket(full)
    assert [place(first), place(second)] == [1, 2]
    again = await ticket(full, queue_token=first.json()["queue_token"])
    assert place(again) == 1
    assert place(await ticket(full, queue_token=second.json()["queue_token"])) == 2
    assert place(await ticket(full)) == 3
    await frees_a_place(full)
    once = shopper(full, await ticket(full, queue_token=again.json()["queue_token"]))
    assert shopper(full, await ticket(full, queue_token=again.json()["queue_token"])) == once


async def test_shoppers_of_the_shops_own_naming_wait_in_the_same_line(full: Door) -> None:
    assert place(await ticket(full)) == 1
    ann = await ticket(full, "host", shopper="ann")
    assert place(ann) == 2
    token = ann.json()["queue_token"]
    assert place(await ticket(full, "host", shopper="ann", queue_token=token)) == 2
    assert place(await ticket(full, queue_token=token)) == 2


async def test_a_queue_token_of_another_show_or_shopper_is_refused(full: Door) -> None:
    await full.rooms.shows.put(full.shop, Show("tomorrow", "Tomorrow"))
    token = (await ticket(full, shopper="ann")).json()["queue_token"]
    body = {"show": "tomorrow", "queue_token": token}
    refused = problem(await full.ask("POST", "/v1/tickets", json=body), 403, "forbidden")
    assert "another show" in refused["detail"]
    refused = problem(await ticket(full, shopper="bob", queue_token=token), 403, "forbidden")
    assert "another shopper" in refused["detail"]
    for forged in ("nonsense", token[::-1], full.key("admin")["Authorization"][7:]):
        problem(await ticket(full, queue_token=forged), 401, "unauthenticated")


async def test_who_is_in_gets_another_ticket_while_others_wait(full: Door) -> None:
    assert place(await ticket(full, shopper="ann")) == 1
    assert shopper(full, await ticket(full, shopper="first")).startswith("g_")


async def test_a_ticket_from_the_line_is_good_only_with_its_place(full: Door, live: Door) -> None:
    answer = await ticket(full, shopper="first")
    assert full.rooms.tokens.read_ticket(answer.json()["token"]).needs_place
    free = await ticket(live, shopper="first")
    assert not live.rooms.tokens.read_ticket(free.json()["token"]).needs_place


async def asked(site: Site, forwarded: str, **headers: str) -> httpx.Response:
    """A ticket is asked for, by way of somebody who says for whom."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(
            f"{site.url}/v1/tickets",
            json={"show": SHOW},
            headers={"x-forwarded-for": forwarded} | headers,
        )


async def until_refused(site: Site, forwarded: Iterable[str]) -> tuple[int, httpx.Response]:
    """How many tickets there are, and what comes after them."""
    for got, claim in enumerate(forwarded):
        answer = await asked(site, claim)
        if answer.status_code != 200:
            return got, answer
    raise AssertionError("nobody was refused")


async def test_one_address_gets_only_so_many_tickets_whatever_it_says_of_itself(
    settings: Settings,
) -> None:
    settings = msgspec.structs.replace(settings, tickets_per_address_per_s=1)
    async with open_site(settings, UNLIMITED) as site:
        got, refused = await until_refused(site, (f"192.0.2.{number}" for number in range(250)))
        assert got >= 10
        problem(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
        key = site.rooms.tokens.sign_key(site.shop, ("pos",))
        assert (await asked(site, "", authorization=f"Bearer {key}")).status_code == 200
        problem(await asked(site, "", authorization="Bearer x"), 401, "unauthenticated")
        told = await numbers(site)
    refused_by = {"rate_limited": 1, "unauthenticated": 1}
    for reason, count in refused_by.items():
        assert told[f'holdfast_tickets_refused_total{{reason="{reason}"}}'] == count


async def test_a_proxy_that_is_trusted_says_whose_address_it_is(settings: Settings) -> None:
    settings = msgspec.structs.replace(
        settings, tickets_per_address_per_s=1, trusted_proxies="10.0.0.0/8, 127.0.0.1"
    )
    async with open_site(settings, UNLIMITED) as site:
        got, _ = await until_refused(site, itertools.repeat("192.0.2.1"))
        assert got >= 10
        for number in range(20):
            assert (await asked(site, f"192.0.2.{number + 2}")).status_code == 200
        # What a client says is left of what the proxies say, and proves nothing.
        claimed = (f"198.51.100.{number}, 192.0.2.1, 10.0.0.9" for number in range(250))
        assert (await until_refused(site, claimed))[0] < 20
