"""A fair: shops spread over a real cluster, their buyers and viewers, one gateway and one till.

Buyers take "unavailable" for an answer only for a while: they ask again with the same key.
"""

import asyncio
import contextlib
import itertools
import json
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
import msgspec
from prometheus_client import CollectorRegistry
from websockets.exceptions import ConnectionClosed

from gateway.checkout.settle import Settler
from gateway.clock import SystemClock
from gateway.errors import Overloaded, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import served
from gateway.model import CatalogEntry, Fulfillment, LineRequest, Money, Movement, Show
from gateway.pos.patience import Patience
from gateway.pos.relay import Relay
from gateway.pos.tally import Tally
from gateway.pos.webhooks import Webhook, WebhookBook
from gateway.sandbox import till
from gateway.stock.audit import audit
from gateway.stock.holds import order_id
from tests.bank import Bank
from tests.cluster import Cluster
from tests.handoff import SECRET, running
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site, settings_of
from tests.processes import BRIEF
from tests.sales import eventually
from tests.shopper import connected
from tests.stall import checkout, read_books

T = TypeVar("T")

UNITS = 100_000
SHOPS_PER_PRIMARY = 2
PACE_S = 0.15
"""How long a buyer thinks; the load is to be there, not to be high."""
PATIENCE_S = 20.0
AGAIN_S = 0.05
LOOK_S = 0.05
"""How often it is looked whether something is so."""
RELAY_HURRY = 4
"""Pauses of the relay are so many times shorter than in earnest."""


@dataclass
class Viewer:
    """Somebody who watches a shop's show, and comes back when the socket is closed."""

    site: Site
    shop: str
    items: dict[str, int] = field(default_factory=dict)
    visits: int = 0

    async def run(self) -> None:
        while True:
            with contextlib.suppress(ConnectionClosed, OSError, TimeoutError):
                await self._watch()
            await asyncio.sleep(AGAIN_S)

    async def _watch(self) -> None:
        ticket = self.site.rooms.tokens.sign_ticket(self.shop, SHOW, f"viewer_{self.visits}")[0]
        async with connected(self.site.socket_url) as socket:
            welcome = await socket.ask("connect", token=ticket, show=SHOW)
            if welcome["type"] != "welcome":
                return
            self.visits += 1
            self.items = welcome["stock"]["items"]
            while True:
                push = json.loads(await socket.socket.recv())
                if push["type"] == "stock":
                    self.items |= push["items"]


@dataclass
class Fair:
    """All of it."""

    cluster: Cluster
    site: Site
    http: httpx.AsyncClient
    till_url: str
    shops: dict[str, int]
    """Shop → number of the primary it began on."""
    viewers: dict[str, Viewer]
    sold: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Shop → orders whose buyer was told that they are confirmed."""
    refused: Counter[str] = field(default_factory=Counter)
    """Shop → answers that said to ask again."""
    _closing: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def _settler(self) -> Settler:
        return self.site.rooms.settler

    async def insist(self, shop: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until it is not unavailable."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await ask()
                except (Unavailable, Overloaded):
                    self.refused[shop] += 1
                    await asyncio.sleep(AGAIN_S)

    async def opens(self, shop: str) -> None:
        """A shop has a live show, a product and a till."""
        rooms = self.site.rooms
        await rooms.shows.put(shop, Show(SHOW, "Tonight's show"))
        await rooms.shows.move(shop, SHOW, "live")
        await rooms.catalog.put(shop, (CatalogEntry("tee", "The tee", Money(1500, "EUR")),))
        at = "2026-11-21T20:00:00.000Z"
        received = Movement("in", "received", "tee", "main", UNITS, at, "test")
        await rooms.movements.apply(shop, (received,))
        await WebhookBook(rooms.lane, shop).put("till", Webhook(f"{self.till_url}/orders", SECRET))

    async def buys(self, shop: str, shopper: str) -> None:
        """One purchase, from the first to the last step."""
        rooms, lines = self.site.rooms, (LineRequest("tee", 1),)
        held = await self.insist(
            shop, lambda: rooms.holds.reserve(shop, shopper, SHOW, "k", lines, Fulfillment())
        )
        command = checkout(held.hold.id, held.hold.total.amount)
        order = await self.insist(shop, lambda: rooms.records.begin(shop, shopper, command))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame = await self.insist(shop, lambda: self._settler.settle(shop, order))
                if frame.state == "confirmed":
                    break
                # Its money is not captured yet, or not known to be safe on a replica.
                await asyncio.sleep(AGAIN_S)
        self.sold[shop].append(order_id(held.hold.id))

    @contextlib.asynccontextmanager
    async def selling(self) -> AsyncIterator[None]:
        """One purchase after the other in every shop, inside the block."""
        self._closing.clear()
        self.refused.clear()
        async with asyncio.TaskGroup() as group:
            for shop in self.shops:
                group.create_task(self._goes_on_buying(shop))
            try:
                yield
            finally:
                self._closing.set()

    async def _goes_on_buying(self, shop: str) -> None:
        for number in self._numbers:
            if self._closing.is_set():
                return
            await self.buys(shop, f"buyer_{number}")
            await asyncio.sleep(PACE_S)

    async def sells_on(self, orders: int, shops: Iterable[str] | None = None) -> None:
        """Wait until each shop has sold so many more."""
        goals = {shop: len(self.sold[shop]) + orders for shop in shops or self.shops}

        async def there() -> bool:
            return all(len(self.sold[shop]) >= goal for shop, goal in goals.items())

        await eventually(there, PATIENCE_S, LOOK_S)

    async def adds_up(self) -> None:
        """Nothing is lost and nothing there twice: Redis, Stripe, the till and the viewers."""
        lane = self.site.rooms.lane
        for shop in self.shops:
            books = await read_books(lane, ShopKeys(shop))
            (row,) = books.stock.values()
            assert books.drifts() == []
            assert (await audit(lane, shop)).drift == ()
            assert (row.held, row.committed) == (0, len(self.sold[shop]))
            paid = await Bank(self.site.stripe_url).statuses(shop)
            assert paid == {"succeeded": len(self.sold[shop])}
        await eventually(self._till_has_all, every_s=LOOK_S)
        await eventually(self._viewers_know, every_s=LOOK_S)

    async def _till_has_all(self) -> bool:
        orders = [
            event["subject"] for event in (await self.http.get(f"{self.till_url}/orders")).json()
        ]
        return sorted(orders) == sorted(itertools.chain(*self.sold.values()))

    async def _viewers_know(self) -> bool:
        available = self.site.rooms.movements.available
        return all([self.viewers[shop].items == await available(shop) for shop in self.shops])


async def _hurried(seconds: float) -> None:
    await asyncio.sleep(seconds / RELAY_HURRY)


@contextlib.asynccontextmanager
async def fair(cluster: Cluster) -> AsyncIterator[Fair]:
    """A gateway, a sweep and a relay at work for shops on every primary."""
    settings = msgspec.structs.replace(
        settings_of(cluster.url, f"shop_{uuid.uuid4().hex}"), wait_replicas=1
    )
    shops = {
        cluster.shop_on(number): number
        for number in cluster.primaries
        for _ in range(SHOPS_PER_PRIMARY)
    }
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        site = await enter(open_site(settings, UNLIMITED))
        url = await enter(till.serving(":memory:", SECRET))
        http = await enter(httpx.AsyncClient(trust_env=False, verify=False, limits=BRIEF))
        lane = await enter(served(settings))
        patience = Patience(SystemClock(), _hurried, random.Random(1))
        relay = Relay(lane, settings, Tally(CollectorRegistry()), patience, "one")
        viewers = {shop: Viewer(site, shop) for shop in shops}
        found = Fair(cluster, site, http, url, shops, viewers)
        for shop in shops:
            await found.opens(shop)
        await enter(running(relay, site.sweep(), *viewers.values()))
        yield found
