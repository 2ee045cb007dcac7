"""The subscriptions through which this process hears the news of its shops, and its viewers' count.

There is one connection for each server that has a shop (see ``ear``): one alone, or as many as the
cluster has primaries. Every shop is looked at now and then, by a task of its own, so that a server
in trouble holds up no shop of another. A shop is subscribed anew, and read, when its slot is
somewhere else by now, when its server came back, or when its stock moves and nothing is heard of
it, which is how lost news shows.

A connection may answer, and yet pass on nothing: it leads to a server that is cut off from the
others, say. So a channel that is silent is probed: something is published on it, by way of the
lane. When that is not heard either, the connection is made anew.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.errors import HoldfastError, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Address
from gateway.news import News, publish
from gateway.rooms import Rooms
from gateway.sockets.ear import Channel, Ear, Waits
from gateway.sockets.feed import Feed
from gateway.sockets.tally import Tally
from gateway.sockets.viewers import COUNT_EVERY_S

log = logging.getLogger(__name__)

_READY_WITHIN_S = 2.0
"""How long a newcomer waits for a shop that is being read."""
_JITTER = 0.1
"""By how much of itself a pause is longer or shorter, so that processes do not move in step."""
_FEWEST_PROBES = 2
"""Of which none was heard, before a subscription is taken for dead: one may be on its way."""

Step = Callable[[Channel], Awaitable[None]]


@dataclass(slots=True)
class NewsListener:
    """Keeps the feeds of this process true, and counts its viewers."""

    rooms: Rooms
    waits: Waits = field(default_factory=Waits)
    process: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    tally: Tally = field(default_factory=Tally)
    _channels: dict[str, Channel] = field(default_factory=dict)
    """By shop."""
    _ears: dict[Address | None, Ear] = field(default_factory=dict)
    _group: asyncio.TaskGroup | None = None

    @property
    def viewers(self) -> int:
        """Viewers connected to this process."""
        return sum(sum(one.feed.roster.counts().values()) for one in self._channels.values())

    @property
    def deaf(self) -> bool:
        """Whether viewers here are told nothing that is new: no server is heard whose shops they
        watch.
        """
        heard, unheard = self._heard()
        return bool(unheard) and not heard

    @property
    def unheard(self) -> tuple[Address, ...]:
        """Servers of a cluster that are not heard, although viewers here watch their shops."""
        return tuple(server for server in self._heard()[1] if server)

    def _heard(self) -> tuple[set[Address | None], set[Address | None]]:
        """Servers whose shops have viewers here: those that are heard, and those that are not."""
        long_ago_s = self.rooms.clock.monotonic_s() - self.waits.fallen_s
        servers: set[Address | None] = set()
        unheard: set[Address | None] = set()
        for channel in self._channels.values():
            if channel.feed.roster.counts():
                server = channel.ear.address if channel.ear else None
                servers.add(server)
                if channel.fell_at_s is not None and channel.fell_at_s <= long_ago_s:
                    unheard.add(server)
        return servers - unheard, unheard

    async def feed(self, shop: str) -> Feed:
        """The feed of a shop, subscribed and read.

        Raises:
            Unavailable: Redis does not answer.
        """
        channel = self._channels.get(shop)
        if channel is None:
            name = ShopKeys(shop).news.encode()
            now_s = self.rooms.clock.monotonic_s()
            feed = Feed(shop, self.rooms, self.tally)
            channel = self._channels[shop] = Channel(name, feed, now_s)
            self._begin(channel)
        feed = channel.feed
        if not feed.ready.is_set():
            try:
                async with asyncio.timeout(_READY_WITHIN_S):
                    await feed.ready.wait()
            except TimeoutError:
                raise Unavailable("The stock does not answer; try again.") from None
        return feed

    async def run(self) -> None:
        """Listen and count until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for channel in self._channels.values():
                    self._begin(channel)
                await asyncio.Event().wait()
        finally:
            for channel in self._channels.values():
                await channel.feed.fanout.aclose()

    def _begin(self, channel: Channel) -> None:
        if self._group:
            self._settle(channel, None)
            self._group.create_task(self._keep(channel, self.waits.look_every_s, self._look))
            self._group.create_task(self._keep(channel, COUNT_EVERY_S, self._count))
            self._group.create_task(channel.feed.parting.run())

    def _settle(self, channel: Channel, address: Address | None) -> None:
        """Have a channel subscribed at a server, or where the lane knows it to be."""
        here = channel.ear.address if channel.ear else None
        address = address or self.rooms.lane.address_of(channel.name) or here
        ear = self._ears.get(address)
        if ear is None:
            rooms = self.rooms
            ear = Ear(rooms.settings, rooms.clock, address, self._settle, self.waits)
            self._ears[address] = ear
            ear.take(channel)
            if self._group:
                self._group.create_task(self._run(ear))
        else:
            ear.take(channel)

    async def _run(self, ear: Ear) -> None:
        await ear.run()
        # No shop is there any more; nothing happens between the end of the loop and this.
        del self._ears[ear.address]

    async def _keep(self, channel: Channel, every_s: float, step: Step) -> None:
        """Take a step for a shop now and then, whatever became of the one before."""
        while True:
            await asyncio.sleep(every_s * self.rooms.rng.uniform(1 - _JITTER, 1 + _JITTER))
            try:
                await step(channel)
            except HoldfastError as error:
                log.debug("news: shop %s: %s", channel.feed.shop, error)
            except Exception:
                log.exception("news: shop %s: could not be looked after", channel.feed.shop)

    async def _count(self, channel: Channel) -> None:
        await channel.feed.count_viewers(self.process)

    async def _look(self, channel: Channel) -> None:
        """Have a shop subscribed, and read, that is not, or whose news is lost."""
        lost, unheard = False, not channel.standing
        try:
            lost = await channel.feed.is_deaf()
            await self._probe(channel)
        except HoldfastError as error:
            # By having asked, the lane finds out who has the slot now.
            log.debug("news: shop %s: %s", channel.feed.shop, error)
        if lost or not channel.standing or self._is_elsewhere(channel):
            self._settle(channel, None)
        elif channel.ear and self._is_dead(channel):
            log.warning("news: shop %s: its probes are not heard", channel.feed.shop)
            channel.ear.hang_up()
        if unheard and channel.feed.ready.is_set():
            # Commands may have a way where news has none.
            async with channel.turn:
                await channel.feed.catch_up()

    async def _probe(self, channel: Channel) -> None:
        """Publish something on a silent channel, for all to hear who listen to it.

        Who hears it has no need to probe. So however many processes listen, the one that happens to
        look first probes for all.
        """
        if channel.standing and channel.silent_s >= self.waits.probe_after_s:
            await publish(self.rooms.lane, channel.feed.shop, News(probe=self.process))
            channel.probes += 1

    def _is_dead(self, channel: Channel) -> bool:
        enough = channel.probes >= _FEWEST_PROBES
        return enough and channel.silent_s >= self.waits.deaf_s

    def _is_elsewhere(self, channel: Channel) -> bool:
        address = self.rooms.lane.address_of(channel.name)
        return bool(address and channel.ear and channel.ear.address != address)
