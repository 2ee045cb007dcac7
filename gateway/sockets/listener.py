"""The subscription through which this process hears the news of its shops.

One connection for all shops. It is made anew when it breaks, or when a shop's stock moves and
nothing is heard of it, which is how a dead peer shows. Every confirmed subscription has its shop
read, for what was published before is lost.
"""

import asyncio
import contextlib
import logging
import uuid
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from gateway.errors import HoldfastError, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import connect
from gateway.news import decode
from gateway.rooms import Rooms
from gateway.sockets.feed import Feed

log = logging.getLogger(__name__)

_RETRY_S = 0.5
_LOOK_ROUND_EVERY_S = 1.0
"""How often viewers are counted, and it is looked whether news is lost."""
_SUBSCRIBE_TIMEOUT_S = 2.0
_IDLE_S = 1.0
"""How long one wait for a message lasts."""


@dataclass(slots=True)
class NewsListener:
    """Keeps the feeds of this process true, and counts its viewers."""

    rooms: Rooms
    process: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _feeds: dict[bytes, Feed] = field(default_factory=dict)
    _wanted: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    """Channels to subscribe to; at most one entry a shop."""
    _pubsub: PubSub | None = None
    _standing: set[bytes] = field(default_factory=set)
    """Channels whose shop has been read since the connection was made."""
    _deaf: bool = False

    @property
    def viewers(self) -> int:
        """Viewers connected to this process."""
        return sum(sum(feed.roster.counts().values()) for feed in self._feeds.values())

    async def feed(self, shop: str) -> Feed:
        """The feed of a shop, subscribed and read.

        Raises:
            Unavailable: Redis does not answer.
        """
        channel = ShopKeys(shop).news.encode()
        feed = self._feeds.get(channel)
        if feed is None:
            feed = self._feeds[channel] = Feed(shop, self.rooms)
            self._wanted.put_nowait(channel)
        try:
            async with asyncio.timeout(_SUBSCRIBE_TIMEOUT_S):
                await feed.ready.wait()
        except TimeoutError:
            raise Unavailable("The stock does not answer; try again.") from None
        return feed

    async def run(self) -> None:
        """Listen and count until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._subscribe())
            group.create_task(self._look_round())

    async def _listen(self) -> None:
        while True:
            client = connect(self.rooms.settings)
            try:
                async with client.pubsub() as pubsub:
                    await self._connect(pubsub)
                    while not self._deaf:
                        await self._hear(pubsub)
                log.warning("news: something was missed; subscribing again")
            except (RedisError, OSError, TimeoutError, HoldfastError) as error:
                log.warning("news: lost the connection: %s", type(error).__name__)
            except Exception:
                log.exception("news: the subscription broke")
            finally:
                self._pubsub = None
                with contextlib.suppress(RedisError, OSError):
                    await client.aclose()
            await asyncio.sleep(_RETRY_S)

    async def _connect(self, pubsub: PubSub) -> None:
        """Connect, and subscribe to all shops known so far."""
        self._deaf = False
        self._standing.clear()
        async with asyncio.timeout(_SUBSCRIBE_TIMEOUT_S):
            await pubsub.connect()  # type: ignore[no-untyped-call]
            if self._feeds:
                await pubsub.ssubscribe(*self._feeds)
        self._pubsub = pubsub

    async def _subscribe(self) -> None:
        """Subscribe to shops as they are asked for; in a task that no leaving viewer cancels."""
        while True:
            channel = await self._wanted.get()
            if self._pubsub:
                # If it fails the listening task notices too, and subscribes to all again.
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    async with asyncio.timeout(_SUBSCRIBE_TIMEOUT_S):
                        await self._pubsub.ssubscribe(channel)

    async def _hear(self, pubsub: PubSub) -> None:
        message: dict[str, Any] | None = await pubsub.get_message(timeout=_IDLE_S)
        if message is None or message["channel"] not in self._feeds:
            return
        feed = self._feeds[message["channel"]]
        try:
            match message["type"]:
                case "ssubscribe":
                    await feed.read()
                    self._standing.add(message["channel"])
                case "smessage":
                    await feed.hear(decode(message["data"]))
        except HoldfastError:
            raise
        except Exception:
            # One bad message must not deafen the process; the gap it leaves is noticed.
            log.exception("news: shop %s: a message could not be taken in", feed.shop)

    async def _look_round(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_ROUND_EVERY_S)
            for channel in tuple(self._standing):
                feed = self._feeds[channel]
                try:
                    await feed.count_viewers(self.process)
                    if await feed.is_deaf() and channel in self._standing:
                        self._deaf = True
                except HoldfastError:
                    continue  # Redis is away; the listening task says so
                except Exception:
                    log.exception("news: shop %s: could not be looked at", feed.shop)
