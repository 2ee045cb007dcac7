"""What the shop looks like just now: read from outside, changing nothing."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.clock import rfc3339
from gateway.demo.parts import SHOP, SHOW, Site
from gateway.demo.refusal import Breakdown
from gateway.demo.shopfront import Shopfront
from gateway.keys import ShopKeys

EVENTS_KEPT = 8
_EVENTS_AT_ONCE = 200
_LEDGER_PAGE = 1_000
_TIMEOUT_S = 2.0
_KEYS = ShopKeys(SHOP)
_SAID = {
    "held": "held",
    "committed": "sold",
    "released": "given back",
    "expired": "lapsed",
    "received": "received",
}

Money = Mapping[str, int]
"""Amounts in minor units by currency code."""

TROUBLE = (httpx.HTTPError, RedisError, OSError, TimeoutError, Breakdown, ValueError)
"""What a reading may fail with while parts come and go."""


@dataclass(frozen=True, slots=True)
class Product:
    """One sku's units, over all locations."""

    sku: str
    title: str
    available: int
    held: int
    sold: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the shop."""

    viewers: int
    holds: int
    orders: int
    till_orders: int
    captured: int
    taken: Money
    products: tuple[Product, ...]
    events: tuple[str, ...]


@dataclass(slots=True)
class Reader:
    """Reads the shop's public endpoints, the sandbox, the till, and Redis."""

    site: Site
    client: httpx.AsyncClient
    shopfront: Shopfront
    redis: Redis
    _titles: dict[str, str] = field(default_factory=dict)
    _events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    _ledger_at: str = "-"

    async def read(self) -> Reading:
        """Look once.

        Raises:
            one of ``TROUBLE``: something does not answer just now.
        """
        async with asyncio.timeout(_TIMEOUT_S):
            lines, sandbox, till, (viewers, holds, orders) = await asyncio.gather(
                self.shopfront.stock_lines(), self.sandbox(), self.till(), self._sizes()
            )
            titles = await self._named(lines)
            await self._follow_ledger(titles)
        return Reading(
            viewers=viewers,
            holds=holds,
            orders=orders,
            till_orders=till["orders"],
            captured=sandbox["captured"]["count"],
            taken={name.upper(): sum_ for name, sum_ in sandbox["captured"]["amount"].items()},
            products=_products(titles, lines),
            events=tuple(self._events),
        )

    async def sandbox(self) -> dict[str, Any]:
        """The sandbox's own figures."""
        return await self._json(
            f"{self.site.stripe_url}/v1/sandbox/summary", self.site.home.secrets.stripe_key
        )

    async def till(self) -> dict[str, Any]:
        """The till's own figures."""
        return await self._json(f"{self.site.till_url}/summary")

    async def unsettled(self) -> int:
        """Payments that have not come to rest."""
        return int(await self.redis.zcard(_KEYS.unsettled))

    async def committed_units(self) -> int:
        """Units sold by the ledger: those committed less those whose money could not be taken."""
        units, after = 0, "-"
        while True:
            page = await self._ledger(after, _LEDGER_PAGE)
            units += sum(
                int(fields[b"committed"])
                for _, fields in page
                if fields[b"kind"] in {b"committed", b"released"}
            )
            if len(page) < _LEDGER_PAGE:
                return units
            after = f"({page[-1][0].decode()}"

    async def _json(self, url: str, key: str | None = None) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        answer = await self.client.get(url, headers=headers)
        body: dict[str, Any] = answer.raise_for_status().json()
        return body

    async def _sizes(self) -> tuple[int, int, int]:
        """Viewers, active holds, orders committed."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.hvals(_KEYS.viewers(SHOW))
        pipe.zcard(_KEYS.deadlines)
        pipe.xlen(_KEYS.orders)
        viewers, holds, orders = await pipe.execute()
        return sum(int(count.split()[0]) for count in viewers), holds, orders

    async def _named(self, lines: list[dict[str, Any]]) -> dict[str, str]:
        if any(line["sku"] not in self._titles for line in lines):
            self._titles = await self.shopfront.titles()
        return self._titles

    async def _follow_ledger(self, titles: Mapping[str, str]) -> None:
        for entry, fields in await self._ledger(self._ledger_at, _EVENTS_AT_ONCE):
            self._ledger_at = f"({entry.decode()}"
            self._events.append(_event(entry, fields, titles))

    async def _ledger(self, after: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        reading = self.redis.xrange(_KEYS.ledger, after, "+", count)
        return cast("list[tuple[bytes, dict[bytes, bytes]]]", await cast("Awaitable[Any]", reading))


def open_redis(url: str) -> Redis:
    """A client of our own, that fails instead of trying again: the next look is soon."""
    return Redis.from_url(url, socket_timeout=None, retry=Retry(NoBackoff(), 0), protocol=2)


def _products(titles: Mapping[str, str], lines: list[dict[str, Any]]) -> tuple[Product, ...]:
    by_sku: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_sku.setdefault(line["sku"], []).append(line)
    return tuple(
        Product(
            sku=sku,
            title=title,
            available=sum(max(0, row["available"]) for row in by_sku[sku]),
            held=sum(row["held"] for row in by_sku[sku]),
            sold=sum(row["committed"] for row in by_sku[sku]),
        )
        for sku, title in titles.items()
        if sku in by_sku
    )


def _event(entry: bytes, fields: Mapping[bytes, bytes], titles: Mapping[str, str]) -> str:
    clock = rfc3339(int(entry.partition(b"-")[0]))[11:19]
    sku, kind = fields[b"sku"].decode(), fields[b"kind"].decode()
    units, title = fields[b"quantity"].decode(), titles.get(sku, sku)
    return f"{clock}  {_SAID.get(kind, kind):<10}  {units} x {title}"
