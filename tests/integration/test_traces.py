"""One purchase is one trace: through the socket, Redis, Stripe's webhook, the POS' event and its
delivery; with a collector it is spans, and without one it is passed on all the same.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from gateway.checkout.phases import Phase
from gateway.keys import ShopKeys
from gateway.lane import Lane, pairs
from gateway.orders.entry import traceparent_of
from gateway.pos import relay
from gateway.pos.tally import Tally
from gateway.pos.webhooks import WebhookBook
from gateway.pulse import Pulse
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.stock.holds import order_id
from gateway.traces import parse
from loadtest.collector import Collector, collecting
from tests.acceptance.place import SECOND_STEP, Place
from tests.bank import Bank
from tests.depth import only_deep
from tests.handoff import Receiver
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site
from tests.processes import Process, environment, free_port
from tests.shopper import Message, Shopper, shopping

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
UNUSED = "http://127.0.0.1:9"
BROUGHT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@contextlib.asynccontextmanager
async def shop_of(settings: Settings, till: Receiver) -> AsyncIterator[Place]:
    """A site whose orders are relayed to a till, and swept."""
    async with open_site(settings, UNLIMITED) as site, httpx.AsyncClient(trust_env=False) as client:
        await site.sells("tee", 5)
        await WebhookBook(site.rooms.lane, site.shop).put("till", till.webhook)
        till.go.set()
        relaying = asyncio.create_task(
            relay.run(Lane(settings), settings, Tally(CollectorRegistry()), Pulse())
        )
        try:
            yield Place(site, Bank(site.stripe_url), client)
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)


async def held(shopper: Shopper, **said: object) -> Message:
    reply = await shopper.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}], **said)
    assert reply["type"] == "hold", reply
    hold: Message = reply["hold"]
    return hold


async def buys_with_a_second_step(place: Place, shopper: Shopper, **said: object) -> str:
    """The bank agrees after a while, and only Stripe's webhook tells of it; the order."""
    hold = await held(shopper, **said)
    asked = await shopper.ask(
        "checkout",
        hold=hold["id"],
        expected_total=hold["total"],
        payment={"payment_method": SECOND_STEP},
        contact={"email": "ann@example.com", "name": "Ann Lovelace"},
        **said,
    )
    assert asked["state"] == "requires_action", asked
    order = order_id(hold["id"])
    await place.bank.second_step(asked["client_secret"])
    events = [event for event in await place.events() if "capturable" in event["type"]]
    assert (await place.hears(events[-1])).is_success
    await place.comes_to(order, Phase.CAPTURED)
    return order


async def event_of(site: Site, order: str) -> bytes:
    rows = await site.rooms.lane.command("XRANGE", ShopKeys(site.shop).orders, "-", "+")
    events = [pairs(fields) for _, fields in rows]
    [event] = [one["event"] for one in events if one["order"] == order.encode()]
    return event


async def test_one_trace_from_the_socket_to_the_till(
    settings: Settings, collector: Collector
) -> None:
    traced = msgspec.structs.replace(settings, otlp_url=collector.url, trace_percent=0)
    async with Receiver().listening() as till, shop_of(traced, till) as place:
        async with place.site.shopper("ann") as ann:
            order = await buys_with_a_second_step(place, ann, traceparent=BROUGHT)
        await till.has_seen(1)
        event = await event_of(place.site, order)
        record = await place.record(order)
    # Both tracers are closed by now: every span has been sent.
    spans = {span.name: span for span in collector.of(TRACE)}
    assert {
        "live/reserve", "EVALSHA hold_reserve", "live/checkout", "EVALSHA pay_begin", "settle",
        "Stripe create", "POST /v1/stripe/webhook", "EVALSHA hold_commit", "Stripe capture",
        "deliver order",
    } <= spans.keys()  # fmt: skip
    assert {span.service for span in spans.values()} == {"gateway", "relay"}
    by_id = {span.span_id: span for span in collector.of(TRACE)}

    def parent(name: str) -> str:
        return by_id[spans[name].parent_id].name

    assert spans["live/reserve"].parent_id == spans["live/checkout"].parent_id == BROUGHT[36:52]
    assert parent("EVALSHA hold_reserve") == "live/reserve"
    assert parent("POST /v1/stripe/webhook") == "live/checkout"
    assert parent("EVALSHA hold_commit") == parent("Stripe capture") == "settle"
    assert parent("relay order") == "settle"
    assert parent("deliver order") == "relay order"
    commit = spans["EVALSHA hold_commit"]
    assert by_id[by_id[commit.parent_id].parent_id].name == "POST /v1/stripe/webhook"
    # What is written down and handed on names the span it comes from.
    assert parse(record.traceparent) == _place(spans["live/checkout"])
    assert parse(traceparent_of(event)) == _place(by_id[commit.parent_id])
    assert parse(till.traces[0]) == _place(spans["deliver order"])
    assert spans["deliver order"].attributes["http.response.status_code"] == 200
    assert spans["live/reserve"].attributes["holdfast.outcome"] == "hold"
    for span in by_id.values():
        said = f"{span.name} {span.attributes}"
        assert "@" not in said
        assert "Lovelace" not in said
        assert "_secret_" not in said


def _place(span: object) -> object:
    return parse(f"00-{span.trace_id}-{span.span_id}-01")  # type: ignore[attr-defined]


async def test_a_trace_is_passed_on_where_no_spans_are_made(settings: Settings) -> None:
    async with Receiver().listening() as till, shop_of(settings, till) as place:
        ticket = place.site.ticket("ann")
        async with shopping(place.site.socket_url, ticket, SHOW, traceparent=BROUGHT) as ann:
            order = await buys_with_a_second_step(place, ann)
        await till.has_seen(1)
        assert traceparent_of(await event_of(place.site, order)) == BROUGHT
    assert till.traces == [BROUGHT]


async def test_who_brings_no_trace_is_in_none(settings: Settings) -> None:
    async with Receiver().listening() as till, shop_of(settings, till) as place:
        async with place.site.shopper("ann") as ann:
            order = await buys_with_a_second_step(place, ann)
        await till.has_seen(1)
        assert b"traceparent" not in await event_of(place.site, order)
        assert (await place.record(order)).traceparent is None
    assert till.traces == [""]


async def test_a_purchase_begins_one_trace_whatever_device_it_goes_on_at(
    settings: Settings, collector: Collector
) -> None:
    traced = msgspec.structs.replace(settings, otlp_url=collector.url, trace_percent=100)
    async with open_site(traced, UNLIMITED) as site:
        await site.sells("tee", 5)
        async with site.shopper("ann") as phone:
            hold = await held(phone)
        async with site.shopper("ann") as laptop:
            paid = await laptop.pays(hold)
        assert paid["state"] == "confirmed", paid
    mine = [span for span in collector.spans if span.attributes.get("holdfast.hold") == hold["id"]]
    assert {"live/reserve", "live/checkout", "settle"} <= {span.name for span in mine}
    assert len({span.trace_id for span in mine}) == 1


async def test_the_sweep_goes_on_in_the_trace_of_the_purchase(
    settings: Settings, collector: Collector
) -> None:
    traced = msgspec.structs.replace(settings, otlp_url=collector.url, trace_percent=100)
    async with open_site(traced, UNLIMITED) as site:
        await site.sells("tee", 5)
        place = Place(site, Bank(site.stripe_url), httpx.AsyncClient())
        async with site.shopper("ann") as ann, place.client:
            hold = await held(ann)
            asked = await ann.pays(hold, SECOND_STEP)
            await place.bank.second_step(asked["client_secret"])
            await place.sweeps()
            await place.comes_to(order_id(hold["id"]), Phase.CAPTURED)
    mine = [span for span in collector.spans if span.attributes.get("holdfast.hold") == hold["id"]]
    [trace_id] = {span.trace_id for span in mine}
    swept = [span for span in collector.of(trace_id) if span.name == "settle"][-1]
    assert "holdfast.session" not in swept.attributes, "nobody's command set it off"
    steps = [span.name for span in collector.of(trace_id) if span.parent_id == swept.span_id]
    assert "EVALSHA hold_commit" in steps


async def test_a_request_is_a_step_named_by_its_route(
    settings: Settings, collector: Collector
) -> None:
    traced = msgspec.structs.replace(settings, otlp_url=collector.url, trace_percent=0)
    async with open_site(traced, UNLIMITED) as site, httpx.AsyncClient(trust_env=False) as client:
        key = site.rooms.tokens.sign_key(site.shop, ("admin",))
        brought = BROUGHT.replace(TRACE, "a" * 32)
        headers = {"authorization": f"Bearer {key}", "traceparent": brought, "x-request-id": "r-1"}
        answer = await client.get(f"{site.url}/v1/orders/o_1", headers=headers)
        assert (answer.status_code, answer.headers["x-request-id"]) == (404, "r-1")
    [span] = collector.of("a" * 32)
    assert (span.name, span.kind) == ("GET /v1/orders/{order}", "server")
    assert span.attributes["holdfast.request"] == "r-1"
    assert span.attributes["holdfast.shop"] == settings.shop
    assert span.attributes["http.response.status_code"] == 404


async def test_another_attempt_is_in_its_own_trace(site: Site) -> None:
    await site.sells("tee", 5)
    async with site.shopper("ann") as ann:
        hold = await held(ann)
        order, records = order_id(hold["id"]), site.rooms.records
        payment = {"payment_method": "pm_card_chargeDeclined"}
        asked = {"hold": hold["id"], "expected_total": hold["total"], "payment": payment}
        contact = {"email": "ann@example.com"}
        await ann.ask("checkout", **asked, contact=contact, traceparent=BROUGHT)
        first = await records.find(site.shop, order)
        await ann.pays(hold)
        second = await records.find(site.shop, order)
    assert first
    assert second
    assert (first.traceparent, second.traceparent) == (BROUGHT, None)


@only_deep
async def test_what_a_gateway_still_has_is_sent_when_it_ends(
    redis_url: str, shop: str, warden: Warden, collector: Collector
) -> None:
    port = free_port()
    env = environment(redis_url, UNUSED, shop, otlp_url=collector.url, port=port, drain_s=1)
    url, brought = f"http://127.0.0.1:{port}", BROUGHT.replace(TRACE, "b" * 32)
    async with Process(warden, ["-m", "gateway", "serve"], env) as gateway:
        await gateway.answers(f"{url}/readyz")
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{url}/v1/catalog", headers={"traceparent": brought})
        await gateway.stop()
    [span] = collector.of("b" * 32)
    assert span.attributes["http.response.status_code"] == 401


async def test_a_socket_takes_a_well_formed_trace_only(site: Site) -> None:
    async with site.shopper("ann") as ann:
        refused = await ann.ask("ask", text="?", traceparent="00-short-01")
        assert (refused["code"], refused["type"]) == ("invalid", "error")
        assert (await ann.ask("ask", text="?", traceparent=BROUGHT))["type"] == "ok"
        nowhere = f"00-{'0' * 32}-{'0' * 16}-01"
        assert (await ann.ask("ask", text="?", traceparent=nowhere))["type"] == "ok"


async def test_a_collector_that_is_away_holds_nobody_up(settings: Settings) -> None:
    away = msgspec.structs.replace(settings, otlp_url=UNUSED, trace_percent=100)
    async with asyncio.timeout(15), open_site(away, UNLIMITED) as site:
        await site.sells("tee", 5)
        async with site.shopper("ann") as ann:
            frame = await ann.buys("tee", "k")
    assert frame["state"] == "confirmed"
