"""A socket from upgrade to close: who is let in, what is said first, and why it ends."""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

import msgspec
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from gateway.messages import SUBPROTOCOL
from gateway.model import CatalogEntry, Money
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.stripe.faults import FaultPlan
from gateway.settings import Settings
from tests.integration.conftest import SHOW, UNLIMITED, Corner, Site, open_site
from tests.late import Late
from tests.shopper import PATIENCE_S, Message, Shopper, connected, narrow, refused_at

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = [Subprotocol(SUBPROTOCOL)]


async def until(happened: Any) -> None:
    """Wait for something that is not said on a socket."""
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0.005)


async def test_the_whole_walk(corner: Corner) -> None:
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann, corner.shopper("bob") as bob:
        held = await ann.ask("reserve", key="k1", lines=[{"sku": "tee", "quantity": 2}])
        assert held["hold"]["total"] == {"amount": 3000, "currency": "EUR"}
        await bob.hears("stock", items={"tee": 1})
        paid = await ann.pays(held["hold"])
        assert paid["state"] == "confirmed", paid
        assert paid["order"]["state"] == "confirmed"
        order = await ann.hears("order")
        assert order["order"]["id"] == paid["order"]["id"]


async def test_the_welcome_is_all_a_client_needs(corner: Corner) -> None:
    await corner.sells("tee", 3, price=1200, limit=2)
    await corner.sells("cap", 7)
    await corner.rooms.shows.highlight(corner.shop, SHOW, "tee")
    async with corner.shopper("ann") as before:
        held = await before.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        bought = await before.buys("tee", "k2")
    async with connected(corner.socket_url) as ann:
        welcome = await ann.ask(
            "connect",
            token=corner.ticket("ann"),
            show=SHOW,
            resume={"epoch": 1, "version": 1},
        )
    assert welcome.keys() == {
        *("type", "id", "session", "show", "catalog", "stock", "holds", "orders"),
        *("now", "ping_s", "token", "token_ttl_s", "catalog_tag"),
    }
    assert (welcome["type"], welcome["id"], welcome["ping_s"]) == ("welcome", 1, 20)
    assert welcome["show"].items() >= {
        ("id", SHOW),
        ("title", "Tonight's show"),
        ("state", "live"),
        ("highlight", "tee"),
    }
    assert welcome["catalog"] == [
        {"sku": "cap", "title": "The cap", "price": {"amount": 1500, "currency": "EUR"}},
        {
            "sku": "tee",
            "title": "The tee",
            "price": {"amount": 1200, "currency": "EUR"},
            "limit_per_shopper": 2,
        },
    ]
    assert welcome["stock"]["epoch"] == 1
    assert welcome["stock"]["items"] == {"cap": 7, "tee": 1}
    assert welcome["holds"] == [held["hold"]]
    assert [order["id"] for order in welcome["orders"]] == [bought["order"]["id"]]
    assert welcome["orders"][0]["state"] == "confirmed"
    assert 898 <= welcome["token_ttl_s"] <= 900
    assert len(welcome["now"]) == len("2026-11-21T20:11:54.123Z")


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({}, 422, "invalid"),
        ({"subprotocols": [Subprotocol("holdfast.v9.json")]}, 422, "invalid"),
        ({"subprotocols": OURS}, 403, "forbidden"),
        ({"subprotocols": OURS, "origin": Origin("https://evil.example")}, 403, "forbidden"),
        ({"subprotocols": OURS, "origin": Origin("null")}, 403, "forbidden"),
        ({"subprotocols": OURS, "origin": Origin("http://[")}, 403, "forbidden"),
    ],
    ids=[
        *("no subprotocol", "another subprotocol"),
        *("no origin", "foreign page", "page of nobody", "broken origin"),
    ],
)
async def test_refused_before_the_upgrade(
    corner: Corner, options: dict[str, Any], status: int, code: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(corner.socket_url, **options):
            pass
    response = refused.value.response
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = json.loads(response.body)
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["detail"]


async def test_a_token_in_the_address_is_refused_and_not_logged(
    corner: Corner, caplog: pytest.LogCaptureFixture
) -> None:
    for logger in ("uvicorn.error", "gateway"):
        caplog.set_level(logging.INFO, logger)
    token = corner.ticket("ann")
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{corner.socket_url}?token={token}", subprotocols=OURS):
            pass
    assert json.loads(refused.value.response.body)["code"] == "invalid"
    assert token not in refused.value.response.body.decode()
    logged = [r.getMessage() for r in caplog.records if r.name == "uvicorn.error"]
    assert any("/v1/live" in message for message in logged)
    assert not any(token in message for message in logged)


async def test_our_own_page_is_let_in(corner: Corner) -> None:
    async with connected(corner.socket_url, origin=Origin(corner.url)) as page:
        assert page.socket.subprotocol == SUBPROTOCOL
        welcome = await page.ask("connect", token=corner.ticket("ann"), show=SHOW)
        assert welcome["type"] == "welcome"


async def test_a_page_the_shop_named_is_let_in(settings: Settings) -> None:
    settings = msgspec.structs.replace(
        settings, allowed_origins="https://shop.example, https://b.example"
    )
    async with open_site(settings, UNLIMITED) as site:
        for origin in ("https://shop.example", "https://b.example"):
            async with connected(site.socket_url, origin=Origin(origin)):
                pass
        with pytest.raises(InvalidStatus):
            async with connected(site.socket_url, origin=Origin("https://shop.example.evil")):
                pass


async def test_the_first_frame_is_connect(corner: Corner) -> None:
    async with connected(corner.socket_url) as shopper:
        error = await shopper.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        assert error["code"] == "unauthenticated"
        assert await shopper.closed() == 4502


async def test_who_says_nothing_is_closed(settings: Settings) -> None:
    async with (
        open_site(msgspec.structs.replace(settings, connect_timeout_s=1), UNLIMITED) as site,
        connected(site.socket_url) as shopper,
    ):
        assert await shopper.closed() == 4502


async def test_one_connects_once(corner: Corner) -> None:
    async with corner.shopper("ann") as ann:
        again = await ann.ask("connect", token=corner.ticket("ann"), show=SHOW)
        assert again["code"] == "invalid"
        assert (await ann.ask("ask", text="Hello?"))["type"] == "ok"


async def test_a_shopper_has_so_many_sockets(corner: Corner) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(corner.shopper("ann"))
        assert await refused_at(corner.socket_url, corner.ticket("ann"), SHOW) == (
            "limit_exceeded",
            4504,
        )
        await stack.enter_async_context(corner.shopper("bob"))
    async with corner.shopper("ann"):
        pass


async def test_an_ended_show_lets_nobody_in_and_everybody_out(corner: Corner) -> None:
    async with corner.shopper("ann") as ann:
        await corner.rooms.shows.move(corner.shop, SHOW, "ended")
        await ann.hears("show", show=SHOW, state="ended")
        assert await ann.closed() == 4510
    assert await refused_at(corner.socket_url, corner.ticket("bob"), SHOW) == (
        "show_not_live",
        4510,
    )


async def test_whoever_holds_something_when_the_show_ends_may_pay(corner: Corner) -> None:
    await corner.sells("tee", 2)
    async with corner.shopper("ann") as ann, corner.shopper("bob") as bob:
        held = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        await corner.rooms.shows.move(corner.shop, SHOW, "ended")
        assert await bob.closed() == 4510
        late = await ann.ask("reserve", key="k2", lines=[{"sku": "tee", "quantity": 1}])
        assert (late["code"], late["state"]) == ("show_not_live", "ended")
    async with corner.shopper("ann") as ann:  # the line broke, and ann comes back
        paid = await ann.pays(held["hold"])
        assert paid["state"] == "confirmed"
        await ann.hears("order")


async def test_whoever_gives_it_back_after_the_end_leaves(corner: Corner) -> None:
    await corner.sells("tee", 2)
    async with corner.shopper("ann") as ann:
        held = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        await corner.rooms.shows.move(corner.shop, SHOW, "ended")
        await ann.ask("release", hold=held["hold"]["id"])
        assert await ann.closed() == 4510


async def test_a_client_that_asks_too_fast_is_told_and_then_closed(corner: Corner) -> None:
    async with corner.shopper("ann") as ann:
        with contextlib.suppress(ConnectionClosed):
            for number in range(100, 400):
                await ann.socket.send(json.dumps({"type": "extend", "id": number, "hold": "h_x"}))
        refused = await ann.until(lambda message: message.get("code") == "rate_limited")
        assert refused["retry_after_ms"] > 0
        assert refused["id"] >= 100
        with contextlib.suppress(ConnectionClosed):
            while True:
                await ann.socket.recv()
        assert await ann.closed() == 4029


async def test_a_client_that_does_not_read_is_closed(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, outbox_frames=4, close_timeout_ms=5_000)
    async with (
        open_site(settings, UNLIMITED) as site,
        connected(site.socket_url, sock=narrow(site.url), max_queue=1) as slow,
    ):
        await slow.ask("connect", token=site.ticket("slow"), show=SHOW)
        roster = (await site.gateway.listener.feed(site.shop)).roster
        long = "x" * 5_000
        price = Money(1, "EUR")
        many = tuple(CatalogEntry(f"s{n}", "S", price, description=long) for n in range(40))
        async with asyncio.timeout(PATIENCE_S):
            while roster.of("slow"):
                await site.rooms.catalog.put(site.shop, many)
        with contextlib.suppress(ConnectionClosed):
            while True:
                await slow.socket.recv()
        assert await slow.closed() == 4008


async def test_redis_not_answering_sends_the_client_away_for_a_while(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, redis_timeout_ms=400)
    async with open_site(settings, UNLIMITED) as site:
        async with site.shopper("ann"), connected(site.socket_url) as bob:
            await site.rooms.lane.command("CLIENT", "PAUSE", 2_500, "ALL")
            error = await bob.ask("connect", token=site.ticket("bob"), show=SHOW)
            assert error["code"] == "unavailable"
            assert await bob.closed() == 1013
        async with asyncio.timeout(PATIENCE_S):
            while (await came_in(site, "bob"))["type"] != "welcome":
                pass


async def came_in(site: Site, name: str) -> Message:
    async with connected(site.socket_url) as shopper:
        return await shopper.ask("connect", token=site.ticket(name), show=SHOW)


async def test_under_another_server_all_goes_by_asgi(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.serving", lambda *_: WebSocketsSansIOProtocol)
    async with open_site(settings, UNLIMITED) as site, site.shopper("ann") as ann:
        await site.sells("tee", 5)
        held = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        assert held["type"] == "hold"
        await ann.hears("stock", items={"tee": 4})


async def test_a_socket_that_closes_in_the_middle_of_reserve_finds_its_hold_again(
    corner: Corner,
) -> None:
    await corner.sells("tee", 5)
    async with corner.shopper("ann") as ann:
        lines = [{"sku": "tee", "quantity": 1}]
        await ann.socket.send(json.dumps({"type": "reserve", "id": 9, "key": "k", "lines": lines}))
        ann.socket.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        while not (welcome := await came_in(corner, "ann"))["holds"]:
            pass
    async with corner.shopper("ann") as ann:
        again = await ann.ask("reserve", key="k", lines=lines)
    assert [again["hold"]] == welcome["holds"]
    assert (await corner.rooms.movements.available(corner.shop)) == {"tee": 4}


async def test_everything_of_a_socket_ends_with_it(corner: Corner) -> None:
    feed = await corner.gateway.listener.feed(corner.shop)
    before = asyncio.all_tasks()
    async with corner.shopper("ann"), corner.shopper("bob"), connected(corner.socket_url):
        assert len(feed.roster.everyone()) == 2
    await until(lambda: not feed.roster.everyone())
    await until(lambda: not asyncio.all_tasks() - before)


@pytest.mark.asyncio(loop_scope="function")  # The module's site has tasks that come and go.
async def test_the_server_stops_in_time_with_sockets_open_and_payments_under_way(
    settings: Settings, caplog: pytest.LogCaptureFixture, late: Late
) -> None:
    before = asyncio.all_tasks()
    slow = StripeSettings(per_endpoint=0, per_account=0, faults=FaultPlan(latency_ms=700))
    async with contextlib.AsyncExitStack() as shoppers:
        async with open_site(settings, slow) as site:
            await site.sells("tee", 9)
            crowd: list[Shopper] = [
                await shoppers.enter_async_context(site.shopper(name)) for name in ("ann", "bob")
            ]
            silent = await shoppers.enter_async_context(connected(site.socket_url))
            for shopper in crowd:
                held = await shopper.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
                await pay_without_waiting(shopper, held["hold"])
            await until(lambda: len(site.gateway.desk._running) == 2)
            asked_to_stop = time.monotonic()
        assert time.monotonic() - asked_to_stop < 5 + late.worst_s
        assert [await shopper.closed() for shopper in (*crowd, silent)] == [1012] * 3
    await until(lambda: not asyncio.all_tasks() - before)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record for record in warnings if record.name != "gateway.durability"] == []


async def pay_without_waiting(shopper: Shopper, hold: Message) -> None:
    command = {
        "type": "checkout",
        "id": 99,
        "hold": hold["id"],
        "expected_total": hold["total"],
        "payment": {"payment_method": "pm_card_visa"},
        "contact": {"email": "shopper@example.com"},
    }
    await shopper.socket.send(json.dumps(command))
