"""From ticket to till, over real processes: gateway, sweep, relay, till, and Stripe's sandbox."""

import asyncio
import contextlib
import statistics
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.clock import SystemClock, parse_rfc3339
from gateway.environment import read
from gateway.sandbox import till
from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.tickets import Tokens
from tests.processes import BRIEF, Process, environment, free_port
from tests.shopper import shopping

TILL_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRICES = "Handle,Title,Variant Price,Variant Inventory Qty\ntee,Tee,15.00,7\n"
PATIENCE_S = 15
SHOW = "tonight"
HOLDS, APART_S = 7, 0.25


@dataclass
class Town:
    """Everything a shop needs, each part a process or a server of its own."""

    url: str
    till_url: str
    client: httpx.AsyncClient
    admin: str

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """Call the gateway as the shop's program."""
        headers = {"authorization": f"Bearer {self.admin}", **options.pop("headers", {})}
        answer = await self.client.request(method, self.url + path, headers=headers, **options)
        assert answer.is_success, answer.text
        return answer.json()

    async def ticket(self, shopper: str) -> dict[str, str]:
        body = {"show": SHOW, "shopper": shopper}
        answer = await self.client.post(f"{self.url}/v1/tickets", json=body)
        ticket: dict[str, str] = answer.json()
        return ticket


@pytest.fixture
def hold_ttl_s() -> int:
    return 60


@pytest.fixture
async def town(warden: Warden, hold_ttl_s: int) -> AsyncIterator[Town]:
    """With a Redis of its own: a sweep goes round all shops, those of a hundred tests as well."""
    port, shop = free_port(), f"shop_{uuid.uuid4().hex}"
    url = f"http://127.0.0.1:{port}"
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        redis_url = stack.enter_context(EmbeddedValkey(warden.group, port=0)).url
        stripe_url = await enter(stripe_server.serving(StripeSettings()))
        till_url = await enter(till.serving(":memory:", TILL_SECRET))
        client = await enter(httpx.AsyncClient(trust_env=False, limits=BRIEF))
        pace = {"hold_ttl_s": hold_ttl_s}
        env = environment(redis_url, stripe_url, shop, port=port, currency="EUR", **pace)
        gateway = await enter(Process(warden, ["-m", "gateway", "serve"], env))
        await enter(Process(warden, ["-m", "gateway", "sweep"], env))
        await enter(Process(warden, ["-m", "gateway", "relay"], env))
        await gateway.answers(f"{url}/readyz")
        admin = Tokens(read(env), SystemClock()).sign_key(shop, ("admin",))
        town = Town(url, till_url, client, admin)
        await open_shop(town)
        yield town


async def open_shop(town: Town) -> None:
    csv = {"content-type": "text/csv"}
    imported = await town.call("POST", "/v1/catalog/import", content=PRICES, headers=csv)
    assert (imported["products"], imported["errors"]) == (1, [])
    await town.call("PUT", f"/v1/shows/{SHOW}", json={"title": "Tonight"})
    await town.call("POST", f"/v1/shows/{SHOW}/start")
    webhook = {"url": f"{town.till_url}/orders", "secret": TILL_SECRET}
    await town.call("PUT", "/v1/webhooks/till", json=webhook)


async def test_from_ticket_to_till(town: Town) -> None:
    ticket = await town.ticket("ann")
    async with shopping(ticket["url"], ticket["token"], SHOW) as ann:
        paid = await ann.buys("tee", "k1")
        assert paid["state"] == "confirmed"
        await ann.hears("order")
    order = paid["order"]["id"]
    page = await town.call("GET", "/v1/orders?limit=10&wait_s=5")
    assert [event["subject"] for event in page["orders"]] == [order]
    assert (await town.call("GET", f"/v1/orders/{order}"))["data"] == page["orders"][0]["data"]
    async with asyncio.timeout(PATIENCE_S):
        while not (orders := (await town.client.get(f"{town.till_url}/orders")).json()):
            await asyncio.sleep(0.05)
    assert [event["id"] for event in orders] == [page["orders"][0]["id"]]
    stock = await town.call("GET", "/v1/stock")
    assert stock["items"] == {"tee": 6}


@pytest.mark.parametrize("hold_ttl_s", [2])
async def test_an_expired_hold_is_back_on_sale_within_a_second(town: Town) -> None:
    """Most of seven, which end one after the other: a machine that is busy for a moment is not
    the gateway being slow.
    """
    ticket, late_s, holds = await town.ticket("ann"), [], {}
    async with shopping(ticket["url"], ticket["token"], SHOW) as ann:
        for round_ in range(HOLDS):
            line = {"sku": "tee", "quantity": 1}
            held = (await ann.ask("reserve", key=f"k{round_}", lines=[line]))["hold"]
            holds[held["id"]] = parse_rfc3339(held["expires_at"]) / 1000
            await asyncio.sleep(APART_S)
        for _ in holds:
            ended = await ann.until(
                lambda frame: frame["type"] == "hold" and frame["hold"]["state"] == "expired"
            )
            late_s.append(time.time() - holds[ended["hold"]["id"]])
        for hold in holds:
            assert (await ann.ask("extend", hold=hold))["code"] == "hold_expired"
    assert min(late_s) >= 0
    assert statistics.median(late_s) < 1, late_s
