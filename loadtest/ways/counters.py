"""Stock as a plain number in Redis: read it and take one, with and without ``WATCH``.

Without, it is the control: between the look and the taking somebody else takes the last unit. With
``WATCH`` the taking fails when anybody touched the number since, and is tried again.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import WatchError

from loadtest.ways import HOLD_S, Books, Options, Places, Undecided, Wish

POOL_TIMEOUT_S = 20
NAIVE_POOL = 64
WATCH_POOL = 1
"""Connections of the optimistic way: each more is a rival for the same number. Of 1, 2, 4 and 8 the
fewer the faster on one hot sku, so that only other processes are rivals."""
STOCKED = "stocked"
"""The key of how many units there were."""
ATTEMPTS = 50
"""Times an optimistic transaction is tried."""
BACK_OFF_S = (0.0002, 0.002)
"""The pause before the next attempt, between these two, at random."""


def connect(url: str, connections: int) -> Redis:
    """A client whose callers wait for a free connection."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=connections, timeout=POOL_TIMEOUT_S, protocol=2
    )
    return Redis.from_pool(pool)


@dataclass(slots=True)
class Counters:
    """The shelf: ``stock:<sku>`` is a number, ``hold:<id>`` is a hold."""

    client: Redis

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Fill the shelf."""
        await self.client.flushall()
        await self.client.mset({shelf(sku): units for sku in skus})
        await self.client.set(STOCKED, units * len(skus))

    async def books(self) -> Books:
        """Read what was sold from the store itself."""
        stocked = number(await self.client.get(STOCKED))
        shelves = await self.client.keys("stock:*")
        holds = await self.client.keys("hold:*")
        left = sum(map(number, await self.client.mget(shelves)))
        return Books(stocked - left, len(holds))


def shelf(sku: str) -> str:
    """The key of a sku's number."""
    return f"stock:{sku}"


def number(word: bytes | str | None) -> int:
    """What a key holds; nothing is none."""
    return int(word or 0)


def body(wish: Wish) -> bytes:
    """What is kept of a hold."""
    return msgspec.json.encode({"shopper": wish.shopper, "skus": wish.skus, "ttl_s": HOLD_S})


@dataclass(slots=True)
class Naive(Counters):
    """Look whether there is one, then take it. It oversells."""

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        shelves = [shelf(sku) for sku in wish.skus]
        left = await self.client.mget(shelves)
        if min(map(number, left)) < 1:
            return None
        async with self.client.pipeline(transaction=False) as pipe:
            for one in shelves:
                pipe.decr(one)
            pipe.set(f"hold:{wish.hold}", body(wish))
            await pipe.execute()
        return wish.hold


@dataclass(slots=True)
class Watched(Counters):
    """The same in an optimistic transaction, which fails when the number was touched meanwhile."""

    rng: random.Random = field(default_factory=random.Random)

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        shelves, hold = [shelf(sku) for sku in wish.skus], f"hold:{wish.hold}"
        for _ in range(ATTEMPTS):
            # The connection is given back between attempts: a pause must not hold one.
            async with self.client.pipeline(transaction=True) as pipe:
                await pipe.watch(hold, *shelves)
                kept, *left = await pipe.mget([hold, *shelves])
                if kept is not None:
                    return wish.hold
                if min(map(number, left)) < 1:
                    return None
                pipe.multi()  # type: ignore[no-untyped-call]
                for one in shelves:
                    pipe.decr(one)
                pipe.set(hold, body(wish))
                with contextlib.suppress(WatchError):
                    await pipe.execute()
                    return wish.hold
            await asyncio.sleep(self.rng.uniform(*BACK_OFF_S))
        raise Undecided


@contextlib.asynccontextmanager
async def naive(places: Places, options: Options) -> AsyncIterator[Naive]:
    """The control. Options: ``pool``, connections."""
    async with connect(places.valkeys[0], int(options.get("pool", NAIVE_POOL))) as client:
        yield Naive(client)


@contextlib.asynccontextmanager
async def watched(places: Places, options: Options) -> AsyncIterator[Watched]:
    """Optimistic. Options: ``pool``, connections."""
    async with connect(places.valkeys[0], int(options.get("pool", WATCH_POOL))) as client:
        yield Watched(client)
