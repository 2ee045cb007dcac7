"""The subscription through which this process hears the news of its shops.

One connection for all shops. It is made anew when it breaks, and every shop is then read again, for
what was published meanwhile is lost.
"""

import asyncio
import contextlib
import logging
import uuid
from dataclasses import dataclass, field

import msgspec
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from gateway.errors import HoldfastError
from gateway.keys import ShopKeys
from gateway.lane import connect
from gateway.news import decode
from gateway.rooms import Rooms
from gateway.sockets.feed import Feed

log = logging.getLogger(__name__)

_RETRY_S = 0.5
_COUNT_EVERY_S = 1.0
_SUBSCRIBE_TIMEOUT_S = 2.0
_IDLE_S = 1.0
"""How long one wait for a message lasts; new shops are subscribed to between waits."""


@dataclass(slots=True)
class Listener:
    """Keeps the feeds of this process true, and counts its viewers."""

    rooms: Rooms
    process: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _feeds: dict[str, Feed] = field(default_factory=dict)
    _channels: dict[bytes, Feed] = field(default_factory=dict)
    _pubsub: PubSub | None = None
    _connected: asyncio.Event = field(default_factory=asyncio.Event)
    _opening: dict[str, asyncio.Task[Feed]] = field(default_factory=dict)

    async def feed(self, shop: str) -> Feed:
        """The feed of a shop, subscribed and read.

        Raises:
            Unavailable: Redis does not answer.
        """
        if feed := self._feeds.get(shop):
            return feed
        task = self._opening.get(shop)
        if task is None:
            task = asyncio.create_task(self._open(shop))
            self._opening[shop] = task
            task.add_done_callback(lambda _: self._opening.pop(shop, None))
        return await asyncio.shield(task)

    async def _open(self, shop: str) -> Feed:
        feed = Feed(shop, self.rooms)
        channel = ShopKeys(shop).news.encode()
        self._channels[channel] = feed
        async with asyncio.timeout(_SUBSCRIBE_TIMEOUT_S):
            await self._connected.wait()
            if self._pubsub:
                await self._pubsub.ssubscribe(channel)
        await feed.read()
        self._feeds[shop] = feed
        return feed

    async def run(self) -> None:
        """Listen and count until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._count())

    async def _listen(self) -> None:
        while True:
            client = connect(self.rooms.settings)
            try:
                async with client.pubsub() as pubsub:
                    await self._subscribe(pubsub)
                    while True:
                        await self._hear(pubsub)
            except (RedisError, OSError, TimeoutError, HoldfastError) as error:
                log.warning("news: lost the connection: %s", type(error).__name__)
                self._connected.clear()
                self._pubsub = None
                await asyncio.sleep(_RETRY_S)
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await client.aclose()

    async def _subscribe(self, pubsub: PubSub) -> None:
        """Subscribe to all shops, then read each again."""
        async with asyncio.timeout(_SUBSCRIBE_TIMEOUT_S):
            await pubsub.connect()  # type: ignore[no-untyped-call]
            if self._channels:
                await pubsub.ssubscribe(*self._channels)
        self._pubsub = pubsub
        self._connected.set()
        for feed in tuple(self._feeds.values()):
            await feed.read()

    async def _hear(self, pubsub: PubSub) -> None:
        message = await pubsub.get_message(
            ignore_subscribe_messages=True, timeout=_IDLE_S
        )
        if message is None:
            if not pubsub.subscribed:
                await asyncio.sleep(_IDLE_S / 100)
            return
        feed = self._channels.get(message["channel"])
        if feed is None:
            return
        try:
            await feed.hear(decode(message["data"]))
        except msgspec.MsgspecError:
            log.exception("news: a message could not be read")

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_EVERY_S)
            for feed in tuple(self._feeds.values()):
                with contextlib.suppress(HoldfastError):
                    await feed.count_viewers(self.process)
