"""A consumer group on a shop's orders: what one webhook has still to get, in order.

Every webhook has its group. A group has one consumer, whoever works for it: the lease of the shop
says which relay that is, and what a relay left behind when it died is simply pending when the next
one starts. Consumers named after processes would have to be found, claimed from and cleared away.

Reads block, so a group has a connection of its own, to the server that has the shop; each read is
bounded by our own timeout. A read whose reply is lost has still moved its entries to the pending
ones: after any failure the caller reads those first. When the shop's slot moves, a cluster says
where to, also to a read that blocks; after a silence it is the lane that knows.
"""

import asyncio
import contextlib
import logging

from redis.asyncio import Redis
from redis.exceptions import AskError, MovedError, RedisError, ResponseError

from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Address, Lane, Reply, Word, connect
from gateway.orders.stream import START, Entry, read_entry

log = logging.getLogger(__name__)

CONSUMER = "relay"
_ALLOWANCE_S = 2.0
"""How much longer than it blocks a read may take: the way there and back, and a busy server."""


_MOST_TIMES_SENT_ON = 4
"""So often in a row one server of a cluster may name another."""
_EXPECTED = ("BUSYGROUP", "NOGROUP")
"""Refusals that say something about the group, and nothing about the server."""


class OrderGroup:
    """One group of one shop's orders stream, over a connection of its own."""

    def __init__(self, lane: Lane, shop: str, name: str) -> None:
        self._lane = lane
        self._client: Redis | None = None
        self._stream = ShopKeys(shop).orders
        self._name = name

    async def open(self) -> None:
        """Make the group unless it is there; a new one begins with the oldest order kept.

        Raises:
            Unavailable: Redis does not answer.
        """
        with contextlib.suppress(ResponseError):  # it is there
            await self._ask("XGROUP", "CREATE", self._stream, self._name, START, "MKSTREAM")

    async def pending(self, after: str, count: int) -> list[Entry]:
        """Read entries that were read before and not acknowledged, following an entry id.

        Raises:
            Unavailable: Redis does not answer.
        """
        return await self._entries(await self._read(after, count, 0))

    async def new(self, count: int, block_ms: int) -> list[Entry]:
        """Read entries nobody has read yet; wait for one up to ``block_ms``.

        Raises:
            Unavailable: Redis does not answer, or its reply was lost: look at what is pending.
        """
        return await self._entries(await self._read(">", count, block_ms))

    async def close(self) -> None:
        """Close the connection; the next command opens one to where the lane then says."""
        client, self._client = self._client, None
        if client:
            await _close(client)

    async def _entries(self, rows: list[tuple[bytes, Reply]]) -> list[Entry]:
        """Somebody deleted an entry by hand, or wrote one: it would be pending for ever."""
        entries = []
        for row_id, fields in rows:
            if entry := read_entry(row_id, fields):
                entries.append(entry)
                continue
            log.error("relay: entry %s of %s is no order", row_id.decode(), self._stream)
            await self._ask("XACK", self._stream, self._name, row_id)
        return entries

    async def _read(self, source: str, count: int, block_ms: int) -> list[tuple[bytes, Reply]]:
        words: list[Word] = ["XREADGROUP", "GROUP", self._name, CONSUMER, "COUNT", count]
        if block_ms:
            words += ["BLOCK", block_ms]
        try:
            reply = await self._ask(
                *words, "STREAMS", self._stream, source, patience_s=block_ms / 1000
            )
        except ResponseError:
            await self.open()
            return []
        return list(reply[0][1]) if reply else []

    async def _ask(self, *words: Word, patience_s: float = 0) -> Reply:
        """Ask the server that has the stream, though not for ever.

        Raises:
            ResponseError: a refusal that is ``_EXPECTED``.
            Unavailable: anything else; the connection is closed.
        """
        try:
            async with asyncio.timeout(patience_s + _ALLOWANCE_S):
                return await self._follow(words)
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, ResponseError) and str(error).startswith(_EXPECTED):
                raise
            await self.close()
            reason = error if isinstance(error, ResponseError) else type(error).__name__
            raise Unavailable(f"the orders do not answer: {reason}") from None

    async def _follow(self, words: tuple[Word, ...]) -> Reply:
        """Ask one server after the other, as they send us on; the last is kept."""
        client = self._client or self._connect(self._lane.address_of(self._stream))
        for _ in range(_MOST_TIMES_SENT_ON):
            try:
                return await client.execute_command(*words)  # type: ignore[no-untyped-call]
            except MovedError as moved:
                await self.close()
                client = self._connect((moved.host, moved.port))
            except AskError as ask:
                # The stream is there already, its slot is not: only this command goes there.
                return await self._ask_once((ask.host, ask.port), words)
        raise RedisError("the servers disagree")

    async def _ask_once(self, address: Address, words: tuple[Word, ...]) -> Reply:
        client = _plain(connect(self._lane.settings, address))
        try:
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("ASKING")
            pipe.execute_command(*words)
            # Raised by the pipeline, an error would begin with words of redis-py.
            _, reply = await pipe.execute(raise_on_error=False)
            if isinstance(reply, Exception):
                raise reply
            return reply
        finally:
            await _close(client)

    def _connect(self, address: Address | None) -> Redis:
        self._client = _plain(connect(self._lane.settings, address))
        return self._client


def _plain(client: Redis) -> Redis:
    """Replies as Redis gives them: no work is done twice, and a deleted entry is still told."""
    client.response_callbacks.clear()
    return client


async def _close(client: Redis) -> None:
    with contextlib.suppress(RedisError, OSError):
        await client.aclose()
