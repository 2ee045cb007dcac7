"""A shopper who leaves personal data wherever there is a place for it, and the search for it.

Every planted text is one that nothing else has, so that a search of every key and value of a server
tells where it is.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from gateway.clock import SystemClock
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.messages import Checkout, Payment
from gateway.model import Address, Contact, Fulfillment, LineRequest, Money
from gateway.orders.group import OrderGroup
from gateway.orders.stream import START, OrderStream
from gateway.pos.parked import Parking
from gateway.privacy.found import Found
from gateway.privacy.walk import Walk
from gateway.rooms import Rooms
from gateway.stock.holds import order_id
from tests.purchase import CARD, DECLINED

SHOW = "tonight"
SHOPPER = "annabel-7f3a"
EMAIL, OTHER_EMAIL = "annabel.planted@example.org", "second.planted@example.org"
NAME, PHONE = "Annabel Planted", "+49 170 7654321"
STREET, CITY = "17 Planted Lane", "Plantedham"
QUESTION = "Is the planted tee made of cotton?"
TEXTS = (EMAIL, OTHER_EMAIL, NAME, PHONE, STREET, CITY, QUESTION)
CONTACT = Contact(EMAIL, NAME, PHONE)
HOME = Address(STREET, "DE", NAME, city=CITY)
PARKS, TAKES = "gone", "till"
"""Webhooks: at one all is parked, the other takes all."""


async def dump(lane: Lane, at: str, match: str = "*") -> dict[str, bytes]:
    """Every key of a server with all it holds, read by its type; a kind unknown here fails."""
    reading = {
        b"string": ("GET",),
        b"hash": ("HGETALL",),
        b"set": ("SMEMBERS",),
        b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
        b"stream": ("XRANGE", "-", "+"),
    }
    found: dict[str, bytes] = {}
    cursor = b"0"
    while True:
        cursor, keys = await lane.command("SCAN", cursor, "MATCH", match, "COUNT", 1_000, at=at)
        for key in keys:
            name = key.decode()
            command, *rest = reading[await lane.command("TYPE", name)]
            found[name] = _flat(await lane.command(command, name, *rest))
        if int(cursor) == 0:
            return found


def _flat(reply: object) -> bytes:
    if isinstance(reply, list | tuple):
        return b"\n".join(map(_flat, reply))
    return reply if isinstance(reply, bytes) else str(reply).encode()


async def traces(
    lane: Lane, at: str, texts: tuple[str, ...], match: str = "*"
) -> dict[str, set[str]]:
    """Where texts are, in keys or in values: text → keys."""
    held = await dump(lane, at, match)
    found: dict[str, set[str]] = {}
    for text in texts:
        keys = {key for key, value in held.items() if text in key or text.encode() in value}
        if keys:
            found[text] = keys
    return found


def happens_after_the_look(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[str]]
) -> list[str]:
    """Have something happen once, between the first look and what is done about it; what came of
    it.
    """
    find, came = Walk.find, list[str]()

    async def overtaken(walk: Walk, shopper: str) -> Found:
        found = await find(walk, shopper)
        if not came:
            came.append(await happens())
        return found

    monkeypatch.setattr(Walk, "find", overtaken)
    return came


@dataclass
class Person:
    """One shopper of a shop whose rooms are open."""

    rooms: Rooms
    shop: str
    shopper: str = SHOPPER
    bought: str = ""
    declined: str = ""
    groups: list[OrderGroup] = field(default_factory=list)

    @property
    def keys(self) -> ShopKeys:
        return ShopKeys(self.shop)

    @property
    def lane(self) -> Lane:
        return self.rooms.lane

    async def reserves(self, key: str, sku: str = "tee") -> str:
        lines = (LineRequest(sku, 1),)
        held = await self.rooms.holds.reserve(
            self.shop, self.shopper, SHOW, key, lines, Fulfillment()
        )
        return held.hold.id

    async def begins(self, hold: str, token: str = CARD, contact: Contact = CONTACT) -> str:
        wish = Checkout(1, hold, Money(1500, "EUR"), Payment(payment_method=token), contact, HOME)
        return await self.rooms.records.begin(self.shop, self.shopper, wish)

    async def buys(self, key: str = "k") -> str:
        """Pay for a tee; returns the order."""
        order = await self.begins(await self.reserves(key))
        frame = await self.rooms.settler.settle(self.shop, order)
        assert frame.state == "confirmed"
        return order

    async def is_declined(self, key: str = "declined") -> str:
        """A card that is refused, under another address, and the hold given back."""
        hold = await self.reserves(key)
        await self.begins(hold, DECLINED, Contact(OTHER_EMAIL))
        await self.rooms.settler.settle(self.shop, order_id(hold))
        await self.rooms.holds.release(self.shop, self.shopper, hold)
        return order_id(hold)

    async def talks(self) -> None:
        """A question, a place of each kind."""
        await self.rooms.shows.ask(
            self.shop, SHOW, self.shopper, QUESTION, "q1", SystemClock().now_ms()
        )
        for key in (self.keys.line, self.keys.heard, self.keys.invited, self.keys.inside):
            await self.lane.command("ZADD", key(SHOW), SystemClock().now_ms(), self.shopper)

    async def is_handed_on(self) -> None:
        """One webhook takes all there is of the orders, at the other all is parked."""
        for name in (TAKES, PARKS):
            group = OrderGroup(self.lane, self.shop, name)
            await group.open()
            for entry in [*await group.pending(START, 100), *await group.new(100, 10)]:
                if name == TAKES:
                    await OrderStream(self.lane, self.shop).acknowledge(name, entry.id)
                else:
                    parking = Parking(self.lane, self.shop, name)
                    await parking.park(entry, "status 410", 1, "2026-11-21T20:11:54.123Z")
            await group.close()

    async def lives(self, key: str = "k") -> None:
        """All of it; another key is another purchase."""
        self.bought = await self.buys(key)
        self.declined = await self.is_declined(f"{key} declined")
        await self.talks()
        await self.is_handed_on()
