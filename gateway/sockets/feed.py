"""A shop as this process knows it: its stock kept true by the news, and its viewers told.

The stock is read once, after the subscription stands; from then on each message carries absolute
values and raises ``version`` by one. A gap means that a message was lost: all is read again, and
told again. So is it when Redis is ahead of us and nothing comes (``is_deaf``): the last message may
be lost, which no gap would show. How many viewers are told is the fan-out's.

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
    StockFrame,
    StockState,
    ViewersFrame,
    encode,
)
from gateway.model import CatalogEntry, Hold
from gateway.news import News, hold_from_words
from gateway.rooms import Rooms
from gateway.scripts import load
from gateway.sockets.direct import Encoded, encoded
from gateway.sockets.fanout import Fanout
from gateway.sockets.roster import Roster
from gateway.sockets.tally import Tally
from gateway.stock.holds import order_id
from gateway.stock.lost import Known, bring_back
from gateway.stock.standing import Position, Standing, State

log = logging.getLogger(__name__)

_SHOPPERS_AT_ONCE = 256
"""Shoppers whose holds are read again at once when news was lost."""
_SILENT_MS = 3_000
"""A process whose viewer count is older than this is gone."""


@dataclass(slots=True)
class Feed:
    """One shop in this process."""

    shop: str
    rooms: Rooms
    tally: Tally = field(default_factory=Tally)
    roster: Roster = field(default_factory=Roster)
    fanout: Fanout = field(init=False)
    epoch: int = 0
    version: int = -1
    items: dict[str, int] = field(default_factory=dict)
    catalog: dict[str, CatalogEntry] = field(default_factory=dict)
    _counted: dict[str, int] = field(default_factory=dict)
    _doubted: int | None = None
    _born: str = ""
    """When the shop was opened, as its server said."""
    _brought_back: tuple[str, int] = ("", 0)
    """The server to which the holds known here were brought back, and its epoch then."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once everything has been read."""

    def __post_init__(self) -> None:
        tick_s = self.rooms.settings.stock_tick_ms / 1000
        self.fanout = Fanout(self, self.roster, self.tally, self.rooms.clock, tick_s)

    async def read(self) -> None:
        """Read everything from Redis; needed at first, and whenever news may have been lost.

        Raises:
            Unavailable, Overloaded: Redis does not answer; nothing has changed here.
        """
        # The position first: if the stock moves meanwhile, its news is still to come.
        known = self._position
        seen = known if self.ready.is_set() else None
        standing = await self.rooms.recovery.look(self.shop, seen)
        if seen and standing.state is State.FROZEN:
            # Whoever is sent away now could not bring back what it holds; its new epoch will tell.
            await self._bring_back_holds(standing)
            return
        position = standing.position
        items = await self.rooms.movements.available(self.shop)
        entries = await self.rooms.catalog.entries(self.shop)
        new = tuple(entry for entry in entries if self.catalog.get(entry.sku) != entry)
        self.epoch, self.version, self.items = position.epoch, position.version, items
        self._born = position.born
        self.catalog = {entry.sku: entry for entry in entries}
        if not self.ready.is_set():
            self.ready.set()
        elif position.lacks(known) or position.epoch != known.epoch:
            # It was frozen and served again while we could not look.
            await self._bring_back_holds(standing)
            self._start_over()
        else:
            await self._tell_again(new)

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

    async def _bring_back_holds(self, standing: Standing) -> None:
        """Have a server that may have lost them hold again what our shoppers hold, once."""
        there = (standing.here, standing.position.epoch)
        if self._brought_back == there:
            return
        known = {
            hold.id: Known(seat.shopper, seat.show, hold)
            for seat in self.roster.everyone()
            for hold in seat.session.active_holds()
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
        for seat in self.roster.everyone():
            seat.session.epoch_changed()

    async def _tell_again(self, new: tuple[CatalogEntry, ...]) -> None:
        """Tell the viewers all that news would have told them."""
        self.fanout.changed(self.items, 0, urgent=True)
        if new:
            self.fanout.tell(self.roster.everyone(), CatalogFrame(items=new))
        for name in self.roster.counts():
            with contextlib.suppress(NotFound):
                show = await self.rooms.shows.get(self.shop, name)
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
            held |= {hold.id for hold in seat.session.active_holds()}
        for hold in sorted(held):
            for found in await self.rooms.holds.of(self.shop, (hold,)):
                self._tell_hold(shopper, found)
            for frame in await self.rooms.settler.tidings(self.shop, order_id(hold)):
                self.roster.tell(self.roster.of(shopper), frame)

    @property
    def stock(self) -> StockState:
        """The stock as it is known here."""
        return StockState(self.epoch, self.version, dict(self.items))

    def snapshot(self) -> Encoded:
        """A stock frame with everything."""
        frame = StockFrame(epoch=self.epoch, version=self.version, items=self.items)
        return encoded(encode(frame), "stock", self.version)

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
            self.catalog |= {entry.sku: entry for entry in news.catalog}
            self.fanout.tell(self.roster.everyone(), CatalogFrame(items=news.catalog))
        elif news.show is not None:
            self._tell_show(news.show, news)

    def _apply(self, news: News) -> None:
        self.version = news.version
        before = {sku: self.items.get(sku) for sku in news.stock}
        self.items |= news.stock
        changed = [sku for sku, available in news.stock.items() if available != before[sku]]
        urgent = any(not before[sku] or not news.stock[sku] for sku in changed)
        self.fanout.changed(changed, news.at, urgent=urgent)

    def _tell_holds(self, news: News) -> None:
        for shopper, *words in news.holds:
            if self.roster.of(shopper):
                self._tell_hold(shopper, hold_from_words(tuple(words)))

    def _tell_hold(self, shopper: str, hold: Hold, reason: Literal["lost"] | None = None) -> None:
        seats = self.roster.of(shopper)
        for seat in seats:
            seat.session.hold_changed(hold)
        self.roster.tell(seats, HoldFrame(hold=hold, version=self.version, reason=reason))

    def _tell_show(self, show: str, news: News) -> None:
        seats = self.roster.at(show)
        if news.state is not None:
            state = news.state
            frame = ShowFrame(show=show, state=state)
            self.fanout.tell(seats, frame, lambda seat: seat.session.show_changed(state))
        if not isinstance(news.highlight, msgspec.UnsetType):
            self.fanout.tell(seats, HighlightFrame(sku=news.highlight or None))

    async def count_viewers(self, process: str) -> None:
        """Add up the viewers of every process, and tell when the number has changed."""
        here = self.roster.counts()
        for show in here.keys() | self._counted.keys():
            total = await self.rooms.lane.call(
                load("viewers_count"),
                (ShopKeys(self.shop).viewers(show),),
                (process, here.get(show, 0), _SILENT_MS),
            )
            if show not in here:
                self._counted.pop(show)
            elif self._counted.get(show) != total:
                self._counted[show] = total
                frame = ViewersFrame(count=total)
                self.fanout.tell_latest(("viewers", show), self.roster.at(show), frame)

    def forget_count(self, show: str) -> None:
        """A newcomer does not know the number yet: tell it again."""
        if show in self._counted:
            self._counted[show] = -1
