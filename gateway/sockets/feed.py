"""A shop as this process knows it: its stock kept true by the news, and its viewers told.

The stock is read once, after the subscription stands; from then on each message carries absolute
values and raises ``version`` by one. A gap means that a message was lost: all is read again, and
told again. So is it when Redis is ahead of us and nothing comes (``is_deaf``): the last message may
be lost, which no gap would show. Shows have no version: they are read when the first viewer comes,
and again when all is. When the stock starts over in a new epoch, all viewers are sent away, one
after the other (see ``parting``), for a snapshot. How many viewers are told is the fan-out's.

A shop whose server may have lost writes is frozen: what its viewers hold is brought back from here.

One task reads and hears, so that the two never meet.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gateway.errors import NotFound
from gateway.keys import ShopKeys
from gateway.messages import (
    CatalogFrame,
    HighlightFrame,
    HoldFrame,
    ShowFrame,
    ViewersFrame,
)
from gateway.model import CatalogEntry, Hold, Show
from gateway.news import News, hold_from_words
from gateway.rooms import Rooms
from gateway.sockets.direct import Encoded, encoded
from gateway.sockets.fanout import Fanout
from gateway.sockets.parting import Parting
from gateway.sockets.roster import Roster, Seat
from gateway.sockets.showcase import Showcase
from gateway.sockets.tally import Tally
from gateway.sockets.viewers import Viewers
from gateway.stock.holds import order_id
from gateway.stock.lost import Known, bring_back
from gateway.stock.standing import Position, Standing, State, stand

log = logging.getLogger(__name__)

_SHOPPERS_AT_ONCE = 256
"""Shoppers whose holds are read again at once when news was lost."""


@dataclass(slots=True)
class Feed:
    """One shop in this process."""

    shop: str
    rooms: Rooms
    tally: Tally = field(default_factory=Tally)
    roster: Roster = field(default_factory=Roster)
    showcase: Showcase = field(default_factory=Showcase)
    fanout: Fanout = field(init=False)
    viewers: Viewers = field(init=False)
    parting: Parting = field(init=False)
    _shows: dict[str, Show] = field(default_factory=dict)
    """Shows with viewers here, kept true by the news."""
    _turns: int = 0
    """Rises whenever a show may have changed: what was read before may be old."""
    _doubted: int | None = None
    _born: str = ""
    """When the shop was opened, as its server said."""
    _brought_back: tuple[str, int] = ("", 0)
    """The server to which the holds known here were brought back, and its epoch then."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once everything has been read."""

    def __post_init__(self) -> None:
        rooms = self.rooms
        tick_s = rooms.settings.stock_tick_ms / 1000
        self.fanout = Fanout(self, self.roster, self.tally, rooms.clock, tick_s)
        self.viewers = Viewers(self.shop, rooms.lane, rooms.clock, self.roster, self._tell_viewers)
        self.parting = Parting(self.roster)

    @property
    def epoch(self) -> int:
        """Of the stock."""
        return self.showcase.epoch

    @property
    def version(self) -> int:
        """Of the stock, within its epoch."""
        return self.showcase.version

    @property
    def items(self) -> dict[str, int]:
        """Units available, by sku."""
        return self.showcase.items

    async def read(self) -> None:
        """Read everything from Redis; needed at first, and whenever news may have been lost.

        Raises:
            Unavailable, Overloaded: Redis does not answer; nothing has changed here.
        """
        # The position first: if the stock moves meanwhile, its news is still to come. And once more
        # after it: until then the news is of what was read already, and nobody has been told.
        seen = self._position if self.ready.is_set() else None
        standing = await self.rooms.recovery.look(self.shop, seen)
        if seen and standing.state is State.FROZEN:
            # Whoever is sent away now could not bring back what it holds; its new epoch will tell.
            await self._bring_back_holds(standing)
            return
        position = standing.position
        starts_over = seen is not None and (position.lacks(seen) or position.epoch != seen.epoch)
        if starts_over:
            # It was frozen and served again while we could not look.
            await self._bring_back_holds(standing)
        items = await self.rooms.movements.available(self.shop)
        newest = (await stand(self.rooms.lane, self.shop)).position
        entries = await self.rooms.catalog.entries(self.shop)
        new = self.showcase.relist(entries)
        self.showcase.restock(position.epoch, position.version, items, newest.version)
        self._born = position.born
        self._forget_shows()
        if starts_over:
            self._start_over()
        elif self.ready.is_set():
            await self._tell_again(new)
        self.ready.set()

    @property
    def _position(self) -> Position:
        """How far the stock is that is known here."""
        return Position(self.epoch, self.version, self._born)

    async def is_deaf(self) -> bool:
        """Whether news has been lost, or Redis has lost data: then everything must be read again.

        Ask now and then. Redis being ahead once is no more than news on its way.
        """
        standing = await self.rooms.recovery.look(self.shop, self._position)
        if standing.state is State.FROZEN:
            await self._bring_back_holds(standing)
            return False
        if standing.position.epoch != self.epoch:
            return True
        behind = standing.position.version != self.version
        doubted, self._doubted = self._doubted, self.version if behind else None
        return behind and doubted == self.version

    async def catch_up(self) -> None:
        """Have the stock as it is now told to everybody, while its news is not heard.

        What else there is to tell is told once news is heard again, for then all is read.

        Raises:
            Unavailable, Overloaded: Redis does not answer; nothing has changed here.
        """
        standing = await self.rooms.recovery.look(self.shop, self._position)
        position = standing.position
        if standing.state is State.FROZEN or position.epoch != self.epoch:
            return  # What follows from that is for whoever reads everything.
        if position.version > self.version:
            items = await self.rooms.movements.available(self.shop)
            self.fanout.changed(self.showcase.change(position.version, items), 0, urgent=True)

    async def _bring_back_holds(self, standing: Standing) -> None:
        """Have a server that may have lost them hold again what our shoppers hold, once."""
        there = (standing.here, standing.position.epoch)
        if self._brought_back == there:
            return
        known = {
            hold.id: Known(seat.shopper, seat.show, hold)
            for seat in self.roster.everyone()
            for hold in seat.holder.active_holds()
        }
        rooms = self.rooms
        for gone in await bring_back(rooms.lane, rooms.settings, self.shop, tuple(known.values())):
            over = msgspec.structs.replace(gone.hold, state="released")
            self._tell_hold(gone.shopper, over, reason="lost")
        self._brought_back = there

    def _start_over(self) -> None:
        """Versions count anew, so no client would believe our pushes: all must come back."""
        log.warning("news: shop %s: the stock has started over", self.shop)
        self.fanout.start_over()
        self.parting.begin()

    async def _tell_again(self, new: tuple[CatalogEntry, ...]) -> None:
        """Tell the viewers all that news would have told them."""
        self.fanout.changed(self.items, 0, urgent=True)
        if new:
            self.fanout.tell(self.roster.everyone(), CatalogFrame(items=new))
        for name in self.roster.counts():
            with contextlib.suppress(NotFound):
                show = await self.show(name)
                news = News(show=name, state=show.state, highlight=show.highlight or "")
                self._tell_show(name, news)
        shoppers = self.roster.shoppers()
        for at in range(0, len(shoppers), _SHOPPERS_AT_ONCE):
            batch = shoppers[at : at + _SHOPPERS_AT_ONCE]
            await asyncio.gather(*(self._tell_shopper_again(shopper) for shopper in batch))

    async def _tell_shopper_again(self, shopper: str) -> None:
        """What became of the holds the devices know of, and of those they have not heard of."""
        fields = await self.rooms.lane.command("HKEYS", ShopKeys(self.shop).shopper(shopper))
        held = {name[5:].decode() for name in fields if name.startswith(b"hold:")}
        for seat in self.roster.of(shopper):
            held |= {hold.id for hold in seat.holder.active_holds()}
        for hold in sorted(held):
            for found in await self.rooms.holds.of(self.shop, (hold,)):
                self._tell_hold(shopper, found)
            for frame in await self.rooms.settler.tidings(self.shop, order_id(hold)):
                self.roster.tell(self.roster.of(shopper), frame)

    async def show(self, name: str) -> Show:
        """A show, read only until it is known: in a storm of newcomers the first few have it read.

        Raises:
            NotFound: there is none of this name.
            Unavailable, Overloaded: Redis does not answer.
        """
        show = self._shows.get(name)
        if show is None:
            turn = self._turns
            show = await self.rooms.shows.get(self.shop, name)
            # News that came meanwhile is newer than what was read, and may have come before it.
            if turn == self._turns and self.roster.at(name):
                self._shows[name] = show
        return show

    def _forget_shows(self) -> None:
        self._shows.clear()
        self._turns += 1

    def snapshot(self) -> Encoded:
        """A stock frame with everything."""
        return encoded(self.showcase.snapshot(), "stock", self.version)

    async def hear(self, news: News) -> None:
        """Take in one message: keep what it says, and tell whom it concerns."""
        if news.version:
            if news.epoch != self.epoch or news.version > self.version + 1:
                await self.read()
            elif news.version == self.version + 1:
                self._apply(news)
        if news.holds:
            self._tell_holds(news)
        elif news.shopper is not None:
            self.roster.tell(self.roster.of(news.shopper), bytes(news.frame))
        elif news.catalog:
            self.showcase.add(news.catalog)
            self.fanout.tell(self.roster.everyone(), CatalogFrame(items=news.catalog))
        elif news.show is not None:
            self._keep_show(news.show, news)
            self._tell_show(news.show, news)

    def _apply(self, news: News) -> None:
        before = self.showcase.change(news.version, news.stock)
        urgent = any(not units or not news.stock[sku] for sku, units in before.items())
        self.fanout.changed(before, news.at, urgent=urgent)

    def _tell_holds(self, news: News) -> None:
        for shopper, *words in news.holds:
            if self.roster.of(shopper):
                self._tell_hold(shopper, hold_from_words(tuple(words)))

    def _tell_hold(self, shopper: str, hold: Hold, reason: Literal["lost"] | None = None) -> None:
        seats = self.roster.of(shopper)
        for seat in seats:
            seat.holder.hold_changed(hold)
        self.roster.tell(seats, HoldFrame(hold=hold, version=self.version, reason=reason))

    def _keep_show(self, name: str, news: News) -> None:
        self._turns += 1
        show = self._shows.pop(name, None)
        changes: dict[str, str | None] = {}
        if news.state is not None:
            changes["state"] = news.state
        if not isinstance(news.highlight, msgspec.UnsetType):
            changes["highlight"] = news.highlight or None
        if show and changes:
            self._shows[name] = msgspec.structs.replace(show, **changes)

    def _tell_show(self, show: str, news: News) -> None:
        seats = self.roster.at(show)
        if news.state is not None:
            state = news.state
            frame = ShowFrame(show=show, state=state)
            self.fanout.tell(seats, frame, lambda seat: seat.holder.show_changed(state))
        if not isinstance(news.highlight, msgspec.UnsetType):
            self.fanout.tell(seats, HighlightFrame(sku=news.highlight or None))

    async def count_viewers(self, process: str) -> None:
        """Count the viewers of this and every other process, and forget shows that have none here.

        Raises:
            Unavailable, Overloaded: Redis does not answer.
        """
        await self.viewers.count(process)
        for show in self._shows.keys() - self.roster.counts().keys():
            del self._shows[show]

    def _tell_viewers(self, show: str, count: int) -> None:
        frame = ViewersFrame(count=count)
        self.fanout.tell_latest(("viewers", show), self.roster.at(show), frame)

    def greet(self, seat: Seat) -> None:
        """Tell a newcomer what others were told before it came, and will not be told again."""
        count = self.viewers.known(seat.show)
        if count is not None:
            self.roster.tell((seat,), ViewersFrame(count=count))
