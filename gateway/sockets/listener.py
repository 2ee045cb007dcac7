"""The subscriptions through which this process hears the news of its shops, and its viewers' count.

There is one connection for each server that has a shop (see ``ear``): one alone, or as many as the
cluster has primaries. Every shop is looked at now and then, by a task of its own, so that a server
in trouble holds up no shop of another. A shop is subscribed anew, and read, when its slot is
somewhere else by now, when its server came back, or when its stock moves and nothing is heard of
it, which is how lost news shows.
"""

import asyncio
import logging
import uuid
from dataclasses import dataclass, field

from gateway.errors import HoldfastError, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Address
from gateway.rooms import Rooms
from gateway.sockets.ear import Channel, Ear
from gateway.sockets.feed import Feed
from gateway.sockets.tally import Tally

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
"""How often a shop's viewers are counted, and it is looked whether its news is lost."""
_READY_WITHIN_S = 2.0


@dataclass(slots=True)
class NewsListener:
    """Keeps the feeds of this process true, and counts its viewers."""

    rooms: Rooms
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

    async def feed(self, shop: str) -> Feed:
        """The feed of a shop, subscribed and read.

        Raises:
            Unavailable: Redis does not answer.
        """
        channel = self._channels.get(shop)
        if channel is None:
            name = ShopKeys(shop).news.encode()
            channel = self._channels[shop] = Channel(name, Feed(shop, self.rooms, self.tally))
            self._begin(channel)
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                await channel.feed.ready.wait()
        except TimeoutError:
            raise Unavailable("The stock does not answer; try again.") from None
        return channel.feed

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
            self._group.create_task(self._look_after(channel))

    def _settle(self, channel: Channel, address: Address | None) -> None:
        """Have a channel subscribed at a server, or where the lane knows it to be."""
        here = channel.ear.address if channel.ear else None
        address = address or self.rooms.lane.address_of(channel.name) or here
        ear = self._ears.get(address)
        if ear is None:
            ear = self._ears[address] = Ear(self.rooms.settings, address, self._settle)
            ear.take(channel)
            if self._group:
                self._group.create_task(self._run(ear))
        else:
            ear.take(channel)

    async def _run(self, ear: Ear) -> None:
        await ear.run()
        # No shop is there any more; nothing happens between the end of the loop and this.
        del self._ears[ear.address]

    async def _look_after(self, channel: Channel) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            deaf = False
            try:
                await channel.feed.count_viewers(self.process)
                deaf = await channel.feed.is_deaf()
            except HoldfastError as error:
                # By having asked, the lane finds out who has the slot now.
                log.debug("news: shop %s: %s", channel.feed.shop, error.message)
            except Exception:
                log.exception("news: shop %s: could not be looked at", channel.feed.shop)
            if deaf or not channel.standing or self._is_elsewhere(channel):
                self._settle(channel, None)

    def _is_elsewhere(self, channel: Channel) -> bool:
        address = self.rooms.lane.address_of(channel.name)
        return bool(address and channel.ear and channel.ear.address != address)
