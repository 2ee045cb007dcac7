"""A shop's hand-off on real parts, for tests: a relay or a courier, and a till behind a socket."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import httpx
from prometheus_client import CollectorRegistry

from gateway.clock import SystemClock
from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane
from gateway.pos.parked import Parking
from gateway.pos.patience import Patience
from gateway.pos.relay import Relay
from gateway.pos.tally import Tally
from gateway.pos.webhooks import Webhook, WebhookBook
from gateway.sandbox import till
from gateway.settings import Settings
from tests.processes import BRIEF
from tests.sales import eventually, move, sell

SECRET = "whsec_" + "QUJD" * 8
HURRY = 20
"""Pauses are so many times shorter than in earnest."""


async def hurried(seconds: float) -> None:
    await asyncio.sleep(seconds / HURRY)


class Running(Protocol):
    """What works until it is cancelled."""

    async def run(self) -> None: ...


@dataclass
class Receiver:
    """A POS that notes what it is sent, and answers as it is told: at first with ``refusals``."""

    refusals: dict[str, int] = field(default_factory=dict)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    webhook: Webhook = field(init=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            event_id = head.partition("webhook-id: ")[2].partition("\r\n")[0]
            self.seen.append(event_id)
            self.traces.append(head.partition("traceparent: ")[2].partition("\r\n")[0])
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            await self.go.wait()
            self.under_way -= 1
            refused = self.refusals.get(event_id, 0) > 0
            self.refusals[event_id] = self.refusals.get(event_id, 0) - 1
            status = "503 Busy" if refused else "200 OK"
            reply = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            writer.write(reply.encode())
            await writer.drain()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listen inside the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.webhook = Webhook(f"http://127.0.0.1:{port}/", SECRET)
        async with server:
            yield self

    async def has_seen(self, count: int) -> None:
        """Wait until so many deliveries have come in."""

        async def there() -> bool:
            return len(self.seen) >= count

        await eventually(there)


@dataclass
class Handoff:
    """One shop, its till, and what it takes to bring orders there."""

    lane: Lane
    shop: str
    settings: Settings
    url: str
    http: httpx.AsyncClient
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.tally = Tally(self.registry)
        self.patience = Patience(SystemClock(), hurried, random.Random(1))
        self.webhook = Webhook(f"{self.url}/orders", SECRET)
        self.book = WebhookBook(self.lane, self.shop)
        self.parking = Parking(self.lane, self.shop, "till")

    async def sell(self, order: str, phase: str | None = "captured", version: int = 1) -> str:
        return await sell(self.lane, self.shop, order, phase, version)

    async def move(self, order: str, phase: str) -> None:
        await move(self.lane, self.shop, order, phase)

    async def faults(self, **plan: str | int) -> None:
        (await self.http.post("/faults", json=plan)).raise_for_status()

    async def orders(self) -> list[str]:
        """What the till has, newest first."""
        return [event["subject"] for event in (await self.http.get("/orders")).json()]

    async def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = (await self.http.get("/summary")).json()
        return summary

    async def has(self, *orders: str) -> None:
        """Wait until the till has exactly these orders."""

        async def there() -> bool:
            return sorted(await self.orders()) == sorted(orders)

        await eventually(there)

    async def pending(self) -> int:
        """Entries read and not acknowledged."""
        reply = await self.lane.command("XPENDING", ShopKeys(self.shop).orders, "till")
        return int(reply[0])

    async def settled(self) -> None:
        """Wait until everything is read and acknowledged."""

        async def done() -> bool:
            groups = await self.lane.command("XINFO", "GROUPS", ShopKeys(self.shop).orders)
            facts = dict(zip(groups[0][::2], groups[0][1::2], strict=True)) if groups else {}
            return facts.get(b"lag") == 0 and facts.get(b"pending") == 0

        await eventually(done)

    async def parks(self, count: int) -> None:
        """Wait until so many deliveries are parked."""

        async def there() -> bool:
            return await self.parking.count() == count

        await eventually(there)

    async def tried(self) -> None:
        """Wait until every try somebody asked for was made."""

        async def done() -> bool:
            return not await self.parking.wanted()

        await eventually(done)

    def count(self, figure: str) -> float:
        """A counter of the relay, over all shops and webhooks."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == f"holdfast_relay_{figure}"
        )

    def at_work(self) -> set[str]:
        """The webhooks a courier works for just now."""
        return {
            sample.labels["webhook"]
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "holdfast_relay_in_hand"
        }

    def relay(self, owner: str = "one", lease_ms: int = 400) -> Relay:
        return Relay(self.lane, self.settings, self.tally, self.patience, owner, lease_ms)


@contextlib.asynccontextmanager
async def handoff(lane: Lane, shop: str, settings: Settings) -> AsyncIterator[Handoff]:
    """A till that listens, and a shop that knows nothing of it yet.

    A relay looks after every shop there is; those of earlier tests would only keep it busy.
    """
    await lane.command("DEL", SHOPS)
    async with (
        till.serving(":memory:", SECRET) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, verify=False, limits=BRIEF) as http,
    ):
        yield Handoff(lane, shop, settings, url, http)


@contextlib.asynccontextmanager
async def running(*work: Running) -> AsyncIterator[None]:
    """Relays, couriers, a sweep or a watch that run inside the block, and end cleanly with it."""
    tasks = [asyncio.create_task(one.run()) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(end, asyncio.CancelledError), end
