"""A site that sells five tees, and its back office: what a test sees and does behind it."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import stripe

from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.keys import ShopKeys
from gateway.model import Movement
from gateway.settings import Settings
from gateway.stock.audit import audit
from tests.bank import Bank
from tests.integration.conftest import UNLIMITED, Site, open_site
from tests.sales import eventually
from tests.shopper import Message, Shopper

WEBHOOK = "/v1/stripe/webhook"
PATIENCE_S = 20
UNITS = 5
SECOND_STEP = "pm_card_authenticationRequired"
UNDER_WAY = {"queued", "processing", "requires_action"}

Json = dict[str, Any]


@dataclass
class Place:
    """One site."""

    site: Site
    bank: Bank
    client: httpx.AsyncClient

    @property
    def keys(self) -> ShopKeys:
        return ShopKeys(self.site.shop)

    async def record(self, order: str) -> Record:
        record = await self.site.rooms.records.find(self.site.shop, order)
        assert record
        return record

    async def comes_to(self, order: str, phase: Phase) -> None:
        async def there() -> bool:
            return (await self.record(order)).phase is phase

        await eventually(there, PATIENCE_S)

    async def charges(self, order: str) -> list[tuple[str, int]]:
        found = await self.bank.intents(order)
        return [(one["status"], one["amount_received"]) for one in found]

    async def left(self) -> int:
        return (await self.site.rooms.movements.available(self.site.shop))["tee"]

    async def sells_all_elsewhere(self) -> None:
        """Somebody buys what is left, at the counter."""
        now, rest = "2026-11-21T20:00:00.000Z", await self.left()
        sold = Movement("till-1", "adjusted", "tee", "main", -rest, now, "test")
        await self.site.rooms.movements.apply(self.site.shop, (sold,))

    async def adds_up(self) -> None:
        assert (await audit(self.site.rooms.lane, self.site.shop)).drift == ()

    async def sweeps(self) -> None:
        """The sweep comes by, and everything is due."""
        lane, sweep = self.site.rooms.lane, self.site.sweep()
        for order in await lane.command("ZRANGE", self.keys.unsettled, 0, -1):
            await lane.command("ZADD", self.keys.unsettled, 0, order)
        await sweep.round(self.site.shop)
        await sweep.settled()

    @contextlib.asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """The sweep comes by all the time."""
        sweep = self.site.sweep()

        async def run() -> None:
            while True:
                await sweep.round(self.site.shop)
                await asyncio.sleep(0.1)

        sweeping = asyncio.create_task(run())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await sweep.settled()

    async def events(self) -> list[Json]:
        """What Stripe has to tell, oldest first."""
        listed = await self.bank._ask("GET", "/v1/events?limit=100")
        return [one for one in reversed(listed["data"]) if "payment_intent." in one["type"]]

    async def hears(self, event: Json, *, late_s: float = 0) -> httpx.Response:
        """Stripe delivers an event, made so long ago, and signed now."""
        body = json.dumps(event | {"created": int(time.time() - late_s)}, indent=2)
        return await self.posts(body, self.signature(body))

    def signature(self, body: str, off_s: float = 0, secret: str | None = None) -> str:
        secret = secret or self.site.rooms.settings.stripe_webhook_secret
        at = int(time.time() + off_s)
        return str(stripe.WebhookSignature.generate_signature_header(body, secret, at))

    async def posts(self, body: str, signature: str) -> httpx.Response:
        headers = {"content-type": "application/json", "stripe-signature": signature}
        return await self.client.post(self.site.url + WEBHOOK, content=body, headers=headers)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Place]:
    """A site over these settings, and a Stripe without limits."""
    async with open_site(settings, UNLIMITED) as site, httpx.AsyncClient(trust_env=False) as client:
        await site.sells("tee", UNITS)
        yield Place(site, Bank(site.stripe_url), client)


async def holds(shopper: Shopper, key: str = "k") -> Message:
    reply = await shopper.ask("reserve", key=key, lines=[{"sku": "tee", "quantity": 1}])
    hold: Message = reply["hold"]
    return hold


async def hears_the_end(shopper: Shopper, reply: Message) -> Message:
    """The outcome of a checkout, in its reply or by a push."""
    while reply.get("state") in UNDER_WAY:
        reply = await shopper.until(lambda message: message["type"] == "checkout")
    return reply
