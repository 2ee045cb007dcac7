"""A connection to one server through which this process hears the news of the shops that are there.

In a cluster a shop's channel is where its slot is, and moves with it. The server says so when the
slot leaves (``sunsubscribe``, or ``MOVED`` when it is asked). A dead one says nothing, which is
noticed because it is asked for a sign of life. One that answers may still not pass on what is
published, which only something published can show (see ``listener``): it is hung up on. Every
confirmed subscription has its shop read, for what was published before is lost.

One task asks and one hears, so that a subscription need not wait until the next message.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio.connection import Connection
from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError, ResponseError

from gateway.clock import Clock
from gateway.errors import HoldfastError
from gateway.lane import Address, Reply, connect
from gateway.news import decode
from gateway.settings import Settings
from gateway.sockets.feed import Feed

log = logging.getLogger(__name__)

_MOST_TIMES_SENT_ON = 4
"""So often in a row one server may name another; the servers disagree for a while after a fall."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a listener waits for what, in seconds."""

    retry_s: float = 0.5
    """How soon a server is called again that hung up."""
    connect_s: float = 2.0
    """A server that cannot be reached within that is tried again: it may be back by then."""
    ping_after_s: float = 1.0
    """How long nothing is asked before a sign of life is."""
    silent_s: float = 3.0
    """A server that says nothing for so long, although it is asked, is not there any more."""
    look_every_s: float = 1.0
    """How often it is looked whether a shop's news is lost."""
    probe_after_s: float = 2.0
    """How long nothing is heard of a shop before it is probed."""
    deaf_s: float = 8.0
    """A subscription that passes on nothing for so long, although there was something, is dead:
    several probes, and together with a look less than 10 s."""
    fallen_s: float = 2.0
    """A shop may be unheard for so long before this process calls itself unfit: subscribing again
    takes a moment, and happens to everybody when a server restarts or a slot moves."""


@dataclass(slots=True)
class Channel:
    """The news of one shop."""

    name: bytes
    feed: Feed
    fell_at_s: float | None
    """Since when its shop would have to be subscribed and read; ``None`` when it stands."""
    ear: "Ear | None" = None
    """Where it is subscribed, or about to be."""
    heard_at_s: float = 0.0
    """When something came last, by the clock of its ear."""
    probes: int = 0
    """Probes published from here since then."""
    sent_on: int = 0
    """Times it was sent to another server since it last stood."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Two servers may both know of it for a moment, and a feed takes in one thing at a time."""

    @property
    def standing(self) -> bool:
        """Whether its shop has been read since it was subscribed."""
        return self.fell_at_s is None

    def fall(self) -> None:
        """It has to be subscribed and read."""
        if self.fell_at_s is None:
            self.fell_at_s = self.feed.rooms.clock.monotonic_s()

    def heard(self, at_s: float) -> None:
        """Something has come, were it only a probe."""
        self.heard_at_s, self.probes = at_s, 0

    @property
    def silent_s(self) -> float:
        """For how long nothing has come, although it was listened to."""
        return self.ear.listened_s - self.heard_at_s if self.ear else 0.0


Settle = Callable[[Channel, Address | None], None]
"""Has a channel subscribed at a server, or where the lane knows it to be."""


@dataclass(slots=True)
class Ear:
    """The subscriptions at one server; made anew when the connection breaks or is silent."""

    settings: Settings
    clock: Clock
    address: Address | None
    """``None`` for the server of the settings."""
    settle: Settle
    waits: Waits
    _channels: dict[bytes, Channel] = field(default_factory=dict)
    _wanted: asyncio.Queue[bytes] | None = None
    """Channels to subscribe to, while there is a connection."""
    _listened_s: float = 0.0
    _since_s: float | None = None
    _hung_up: bool = False

    @property
    def listened_s(self) -> float:
        """For how long it has listened, ever. Silence is measured by that: while one shop is being
        read, nothing is heard of the others, which may have been told much.
        """
        if self._since_s is None:
            return self._listened_s
        return self._listened_s + self.clock.monotonic_s() - self._since_s

    def take(self, channel: Channel) -> None:
        """Have a channel subscribed here; again, if it is already."""
        channel.fall()
        channel.heard(self.listened_s)
        if channel.ear is not self:
            if channel.ear:
                channel.ear.drop(channel)
            channel.ear = self
            self._channels[channel.name] = channel
        if self._wanted:
            self._wanted.put_nowait(channel.name)

    def drop(self, channel: Channel) -> None:
        """Hear nothing of a channel any more."""
        del self._channels[channel.name]

    def hang_up(self) -> None:
        """Have the connection made anew, with all that is subscribed over it."""
        self._hung_up = True
        for channel in self._channels.values():
            channel.fall()
            channel.heard(self.listened_s)

    async def run(self) -> None:
        """Hear until there is nothing to hear here any more."""
        while self._channels:
            try:
                await self._listen()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("news: lost %s: %s", self.address or "redis", type(error).__name__)
            except Exception:
                log.exception("news: the subscription at %s broke", self.address or "redis")
            finally:
                for channel in self._channels.values():
                    channel.fall()
            if self._channels:
                await asyncio.sleep(self.waits.retry_s)

    async def _listen(self) -> None:
        """Subscribe to everything there is to hear here, and hear it."""
        client = connect(self.settings, self.address)
        connection = cast("Any", client.connection_pool).make_connection()
        wanted: asyncio.Queue[bytes] = asyncio.Queue()
        asking = None
        try:
            async with asyncio.timeout(self.waits.connect_s):
                await connection.connect()
            self._hung_up = False
            for name in self._channels:
                wanted.put_nowait(name)
            self._wanted = wanted
            asking = asyncio.create_task(_ask(connection, wanted, self.waits.ping_after_s))
            while self._channels and not self._hung_up:
                await self._hear(connection)
        finally:
            self._wanted = None
            if asking:
                asking.cancel()
                # What it died of, the hearing task has met too.
                await asyncio.gather(asking, return_exceptions=True)
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _next(self, connection: Connection) -> Reply:
        self._since_s = self.clock.monotonic_s()
        try:
            async with asyncio.timeout(self.waits.silent_s):
                return await connection.read_response(disconnect_on_error=False)
        finally:
            self._listened_s, self._since_s = self.listened_s, None

    async def _hear(self, connection: Connection) -> None:
        try:
            said = await self._next(connection)
        except MovedError as moved:
            self._send_on(moved)
            return
        except ResponseError as refused:
            # Whose subscription it was is not said; a channel that does not stand is tried again.
            log.warning("news: %s refused: %s", self.address or "redis", refused)
            return
        kind, name, data = (*said, None, None)[:3] if isinstance(said, list) else (b"", b"", None)
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.heard(self.listened_s)
        if kind == b"sunsubscribe":
            # Its slot has left this server.
            self.settle(channel, None)
            return
        async with channel.turn:
            if channel.ear is self:
                await self._take_in(channel, kind, data)

    async def _take_in(self, channel: Channel, kind: bytes, data: Reply) -> None:
        feed = channel.feed
        try:
            match kind:
                case b"ssubscribe":
                    await feed.read()
                    if channel.ear is self:
                        channel.fell_at_s, channel.sent_on = None, 0
                case b"smessage":
                    await feed.hear(decode(data))
        except HoldfastError as error:
            # The shop's stock does not answer. Other shops have news too; this one is read later.
            log.warning("news: shop %s: %s", feed.shop, error)
            channel.fall()
        except Exception:
            # One bad message must not deafen the process; the gap it leaves is noticed.
            log.exception("news: shop %s: a message could not be taken in", feed.shop)

    def _send_on(self, moved: MovedError) -> None:
        """Have the channels of a slot subscribed where it is now."""
        for channel in [
            one for one in self._channels.values() if key_slot(one.name) == moved.slot_id
        ]:
            channel.sent_on += 1
            if channel.sent_on <= _MOST_TIMES_SENT_ON:
                self.settle(channel, (moved.host, moved.port))


async def _ask(connection: Connection, wanted: asyncio.Queue[bytes], ping_after_s: float) -> None:
    """Subscribe to what is wanted, and meanwhile ask for signs of life."""
    while True:
        try:
            async with asyncio.timeout(ping_after_s):
                words: tuple[str | bytes, ...] = ("SSUBSCRIBE", await wanted.get())
        except TimeoutError:
            words = ("PING",)
        await connection.send_command(*words)
