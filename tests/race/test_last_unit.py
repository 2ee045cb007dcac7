"""Thousands want the last unit: one gets it, and everybody is told so.

By default they are 300; ``HOLDFAST_TEST_LAST_UNIT=2000`` lets two thousand in.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from tests.depth import deep, many
from tests.race.conftest import Race
from tests.stall import Stall

pytestmark = deep

log = logging.getLogger(__name__)

SHOPPERS = many("LAST_UNIT", 300, 2_000)
CONNECTIONS = 64
"""Connections of the naive shop, which its shoppers share."""


async def test_very_many_want_the_last_unit(race: Race) -> None:
    await race.stall.sells("last", 1)
    async with contextlib.AsyncExitStack() as stack:
        shoppers = await race.let_in(stack, SHOPPERS)
        began = time.monotonic()
        line = {"sku": "last", "quantity": 1}
        answers = await asyncio.gather(
            *(shopper.ask("reserve", key="k1", lines=[line]) for shopper in shoppers)
        )
        log.info("%d answers within %.2f s", len(answers), time.monotonic() - began)
        told = Counter(answer.get("code", answer["type"]) for answer in answers)
        await _hang_up([shopper.socket.transport for shopper in shoppers])
    assert told == {"hold": 1, "sold_out": SHOPPERS - 1}
    assert await race.stall.available() == {"last": 0}
    books = await race.stall.books()
    assert books.drifts() == []
    assert [entry.kind for entry in books.ledger] == ["received", "held"]
    naive = await _sold_naively(race.stall)
    log.info("the naive shop sold its one unit %d times", naive)
    assert naive > 1, "the naive shop did not oversell: this load proves nothing"


async def _hang_up(transports: list[asyncio.Transport]) -> None:
    """So many closing handshakes prove nothing here."""
    for transport in transports:
        transport.abort()


async def _sold_naively(stall: Stall) -> int:
    """How often a shop that looks, then takes, sells its one unit to as many shoppers."""
    key = f"{{{stall.shop}}}:naive"
    async with contextlib.AsyncExitStack() as stack:
        shops = [await stack.enter_async_context(_naive(stall)) for _ in range(CONNECTIONS)]
        await shops[0].set(key, 1)

        async def buy(redis: Redis) -> bool:
            if int(await redis.get(key) or 0) < 1:
                return False
            await redis.decr(key)
            return True

        bought = await asyncio.gather(*(buy(shops[n % CONNECTIONS]) for n in range(SHOPPERS)))
    return sum(bought)


@contextlib.asynccontextmanager
async def _naive(stall: Stall) -> AsyncIterator[Redis]:
    """A connection that is open before anybody buys, as the shoppers' sockets are."""
    async with Redis.from_url(stall.settings.redis_url, single_connection_client=True) as redis:
        await redis.ping()
        yield redis
