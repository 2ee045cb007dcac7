"""A shop as this process knows it: its stock kept true by the news, and its viewers told.

The stock is read once, after the subscription stands; from then on each message carries absolute
values and raises ``version`` by one. A gap means that a message was lost: the stock is read again.
Viewers hear of it at most once a tick, except that the first change after silence, *sold out* and
*back in stock* go at once.
"""

import asyncio
import logging
from dataclasses import dataclass, field

import msgspec

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
from gateway.sockets.roster import Roster

log = logging.getLogger(__name__)

_SILENT_MS = 3_000
"""A process whose viewer count is older than this is gone."""


@dataclass(slots=True)
class Feed:
    """One shop in this process."""

    shop: str
    rooms: Rooms
    roster: Roster = field(default_factory=Roster)
    epoch: int = 0
    version: int = -1
    items: dict[str, int] = field(default_factory=dict)
    catalog: dict[str, CatalogEntry] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)
    _told_at_s: float = 0.0
    _timer: asyncio.TimerHandle | None = None
    _counted: dict[str, int] = field(default_factory=dict)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> None:
        """Read everything from Redis; needed at first, and whenever news may have been lost."""
        async with self._reading:
            keys = ShopKeys(self.shop)
            epoch, version = await self.rooms.lane.command("HMGET", keys.meta, "epoch", "version")
            items = await self.rooms.movements.available(self.shop)
            entries = await self.rooms.catalog.entries(self.shop)
            if int(epoch or 1) == self.epoch and int(version or 0) < self.version:
                return  # the news has overtaken this reading
            self.epoch, self.version = int(epoch or 1), int(version or 0)
            self.catalog = {entry.sku: entry for entry in entries}
            if items != self.items:
                self.items = items
                self._changed.update(items)
                self._tell_stock()

    @property
    def stock(self) -> StockState:
        """The stock as it is known here."""
        return StockState(self.epoch, self.version, dict(self.items))

    def snapshot(self) -> bytes:
        """A stock frame with everything."""
        return encode(StockFrame(epoch=self.epoch, version=self.version, items=self.items))

    async def hear(self, news: News) -> None:
        """Take in one message: keep what it says, and tell whom it concerns."""
        if news.version:
            if news.epoch != self.epoch or news.version > self.version + 1:
                await self.read()
            elif news.version == self.version + 1:
                self._apply(news)
            self._tell_holds(news)
        elif news.shopper is not None:
            self.roster.tell(self.roster.of(news.shopper), bytes(news.frame))
        elif news.catalog:
            self.catalog.update({entry.sku: entry for entry in news.catalog})
            self.roster.tell(self.roster.everyone(), CatalogFrame(items=news.catalog))
        elif news.show is not None:
            self._tell_show(news.show, news)

    def _apply(self, news: News) -> None:
        self.version = news.version
        urgent = False
        for sku, available in news.stock.items():
            before = self.items.get(sku)
            if before != available:
                self.items[sku] = available
                self._changed.add(sku)
                urgent = urgent or not before or not available
        if self._changed:
            self._schedule(urgent=urgent)

    def _schedule(self, *, urgent: bool) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._told_at_s + self.rooms.settings.stock_tick_ms / 1000 - loop.time()
        if urgent or wait_s <= 0:
            self._tell_stock()
        elif self._timer is None:
            self._timer = loop.call_later(wait_s, self._tell_stock)

    def _tell_stock(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._told_at_s = asyncio.get_running_loop().time()
        items = {sku: self.items[sku] for sku in self._changed}
        self._changed.clear()
        frame = encode(StockFrame(epoch=self.epoch, version=self.version, items=items))
        for seat in self.roster.everyone():
            seat.outbox.put_stock(frame)

    def _tell_holds(self, news: News) -> None:
        for shopper, *words in news.holds:
            seats = self.roster.of(shopper)
            if not seats:
                continue
            hold: Hold = hold_from_words(tuple(words))
            for seat in seats:
                seat.session.hold_changed(hold)
            self.roster.tell(seats, HoldFrame(hold=hold, version=news.version))

    def _tell_show(self, show: str, news: News) -> None:
        seats = tuple(self.roster.at(show))
        if news.state is not None:
            self.roster.tell(seats, ShowFrame(show=show, state=news.state))
            for seat in seats:
                seat.session.show_changed(news.state)
        if not isinstance(news.highlight, msgspec.UnsetType):
            self.roster.tell(seats, HighlightFrame(sku=news.highlight or None))

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
                self.roster.tell(self.roster.at(show), ViewersFrame(count=total))

    def forget_count(self, show: str) -> None:
        """A newcomer does not know the number yet: tell it again."""
        if show in self._counted:
            self._counted[show] = -1
