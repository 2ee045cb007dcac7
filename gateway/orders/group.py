"""A consumer group on a shop's orders: what one webhook has still to get, in order.

Every webhook has its group. A group has one consumer, whoever works for it: the lease of the shop
says which relay that is, and what a relay left behind when it died is simply pending when the next
one starts. Consumers named after processes would have to be found, claimed from and cleared away.

Reads block, so a group has a connection of its own; each read is bounded by our own timeout. A
read whose reply is lost has still moved its entries to the pending ones: after any failure the
caller reads those first.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Reply
from gateway.orders.stream import START, Entry, read_entry

log = logging.getLogger(__name__)

CONSUMER = "relay"
_ALLOWANCE_S = 2.0
"""How much longer than it blocks a read may take: the way there and back, and a busy server."""


class OrderGroup:
    """One group of one shop's orders stream, over a connection of its own."""

    def __init__(self, client: Redis, shop: str, name: str) -> None:
        self._client = client
        # Replies as Redis gives them: no work is done twice, and a deleted entry is still told.
        client.response_callbacks.clear()
        self._stream = ShopKeys(shop).orders
        self._name = name

    async def open(self) -> None:
        """Make the group unless it is there; a new one begins with the oldest order kept.

        Raises:
            Unavailable: Redis does not answer.
        """
        try:
            await _bounded(
                self._client.xgroup_create(self._stream, self._name, START, mkstream=True)
            )
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise Unavailable(f"the group cannot be made: {error}") from None

    async def pending(self, after: str, count: int) -> list[Entry]:
        """Read entries that were read before and not acknowledged, following an entry id.

        Raises:
            Unavailable: Redis does not answer.
        """
        rows = await self._read(after, count, 0)
        # Somebody deleted such an entry from the stream by hand; it would be pending for ever.
        for row_id in [row_id for row_id, fields in rows if fields is None]:
            log.error("relay: entry %s of %s is gone", row_id.decode(), self._stream)
            await _bounded(self._client.xack(self._stream, self._name, row_id))
        return [read_entry(row_id, fields) for row_id, fields in rows if fields is not None]

    async def new(self, count: int, block_ms: int) -> list[Entry]:
        """Read entries nobody has read yet; wait for one up to ``block_ms``.

        Raises:
            Unavailable: Redis does not answer, or its reply was lost: look at what is pending.
        """
        return [read_entry(*row) for row in await self._read(">", count, block_ms)]

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def _read(self, source: str, count: int, block_ms: int) -> list[tuple[bytes, Reply]]:
        wanted: dict[str | bytes | memoryview, str | bytes | int | memoryview] = {
            self._stream: source
        }
        reading = self._client.xreadgroup(
            self._name, CONSUMER, wanted, count, block=block_ms or None
        )
        try:
            reply = await _bounded(reading, block_ms / 1000)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise Unavailable(f"the orders cannot be read: {error}") from None
            await self.open()
            return []
        return list(reply[0][1]) if reply else []


async def _bounded(answer: Awaitable[Reply] | Reply, patience_s: float = 0) -> Reply:
    """Wait for an answer, though not for ever."""
    try:
        async with asyncio.timeout(patience_s + _ALLOWANCE_S):
            return await cast("Awaitable[Reply]", answer)
    except ResponseError:
        raise
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"the orders do not answer: {type(error).__name__}") from None
