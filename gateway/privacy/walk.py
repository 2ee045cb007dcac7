"""Finds everything that is stored about one shopper.

No index leads from a shopper to all of it: what one bought is remembered for a month, an order for
a year, and a declined one under nobody's name. So all keys of the shop are walked once, a page at a
time, and the shop goes on selling meanwhile. What comes into being during a walk may be missed;
that there was a hold, ``Found.expires_at`` tells.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass

import msgspec
from redis.crc import key_slot

from gateway.claims.table import Claims
from gateway.errors import Invalid, NotFound, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, texts
from gateway.model import Contact
from gateway.orders.stream import Entry, read_entries
from gateway.pos.parked import Parking
from gateway.privacy.found import (
    PLACES,
    PSEUDONYM,
    Delivery,
    Found,
    Place,
    Question,
    Where,
    place_key,
    record_of,
)
from gateway.stock.holds import order_id
from gateway.stock.standing import State, stand

_KEYS = 1_000
"""Keys looked at in one step of the walk: well under a millisecond of the server's time."""
_SLICE = 200
"""Records, or entries of the stream, read at once."""
_MOST_NAMED = 10
"""Shoppers of one address that are named."""

_CHANGING = "The shop is moving to another server, or may have lost something; try again."
_CONTACT = msgspec.json.Decoder(Contact)
_QUESTION = msgspec.json.Decoder(tuple[str, str, str])

Progress = Callable[[int], None]
"""Told how many keys and entries were looked at so far."""


def _silent(_: int) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Walk:
    """Walks what is stored of one shop."""

    lane: Lane
    shop: str
    claims: Claims | None = None
    progress: Progress = _silent
    looked_at: int = 0

    @property
    def keys(self) -> ShopKeys:
        """The shop's keys."""
        return ShopKeys(self.shop)

    async def find(self, shopper: str) -> Found:
        """Find what is stored about a shopper.

        Raises:
            NotFound: there is no such shop.
            Unavailable: Redis or the claims table does not answer, or the shop's server changed.
        """
        # First of all: whoever erases has it looked again if there was a hold since.
        expires_at = await self.lane.command("PEXPIRETIME", self.keys.shopper(shopper))
        found = Found(self.shop, shopper, expires_at)
        found.visits = texts(await self.lane.command("HGETALL", self.keys.shopper(shopper)))
        others = set[tuple[str, str]]()
        async for page in self._pages():
            await self._take_records(found, page)
            others.update(key for key in page if key[0] not in {"order", "hold"})
        # An order has a hold before it is there, maybe only once the walk has passed its place.
        await self._take_records(found, [("order", order_id(hold)) for hold in sorted(found.holds)])
        await self._take_others(found, sorted(others))
        if self.claims:
            async for sale in self.claims.kept(self.shop):
                if record_of(sale).get("shopper") == shopper:
                    found.claims.append(sale)
        orders = found.orders.keys() | {sale.order for sale in found.claims}
        found.entries = await self._entries(orders)
        for webhook in found.webhooks:
            async for entry, parked in Parking(self.lane, self.shop, webhook).listing():
                if parked.order in orders:
                    found.deliveries.append(Delivery(webhook, entry, parked))
        return found

    async def shopper_of(self, order: str) -> str:
        """Whose an order is.

        Raises:
            NotFound: nobody knows the order, or its shopper is erased.
        """
        known = await self.lane.command("HGET", self.keys.order(order), "shopper")
        shopper = known.decode() if known else ""
        if self.claims and not shopper:
            async for sale in self.claims.kept(self.shop):
                if sale.order == order:
                    shopper = record_of(sale).get("shopper", "")
        if not shopper:
            raise NotFound(f"There is no order {order} in shop {self.shop}.")
        if shopper.startswith(PSEUDONYM):
            raise NotFound(f"The shopper of {order} is erased.")
        return shopper

    async def shopper_at(self, email: str) -> str:
        """Who gave an e-mail address with an order, however far it came.

        Raises:
            NotFound: nobody did.
            Invalid: several shoppers did; the message names them.
        """
        wanted, shoppers = email.casefold(), set[str]()
        async for page in self._pages():
            orders = [self.keys.order(name) for kind, name in page if kind == "order"]
            rows = await self._fields(orders, "contact", "shopper")
            shoppers |= {who.decode() for contact, who in rows if _is_at(contact, wanted)}
        if self.claims:
            async for sale in self.claims.kept(self.shop):
                record = record_of(sale)
                if _is_at(record.get("contact"), wanted):
                    shoppers.add(record["shopper"])
        match sorted(shoppers):
            case []:
                raise NotFound(f"No order of shop {self.shop} has this address.")
            case [one]:
                return one
            case several:
                named = ", ".join(several[:_MOST_NAMED])
                raise Invalid(f"{len(several)} shoppers gave this address; name one: {named}")

    async def _pages(self) -> AsyncIterator[list[tuple[str, str]]]:
        """All keys of the shop, each as its kind and its name; one may come twice."""
        begins, server = self.keys.every.removesuffix("*"), await self._server()
        cursor = b"0"
        while True:
            scan = ("SCAN", cursor, "MATCH", self.keys.every, "COUNT", _KEYS)
            cursor, keys = await self.lane.command(*scan, at=self.keys.meta)
            self._looked_at(_KEYS)
            names = (key.decode().removeprefix(begins).partition(":") for key in keys)
            yield [(kind, name) for kind, _, name in names]
            if int(cursor) == 0:
                break
        # A cursor means nothing to another server.
        if await self._server() != server:
            raise Unavailable(_CHANGING)

    async def _server(self) -> str:
        """The name of the one server that has all there is of the shop.

        Raises:
            NotFound: there is no such shop.
            Unavailable: it may have lost something, or hands the shop's keys to another just now.
        """
        standing = await stand(self.lane, self.shop)
        if standing.state is State.NEW:
            raise NotFound(f"There is no shop {self.shop}.")
        at = self.keys.meta
        nodes = b""
        if b"cluster_enabled:1" in await self.lane.command("INFO", "cluster", at=at):
            nodes = await self.lane.command("CLUSTER", "NODES", at=at)
        # One that has a slot on the move says so: [slot->-where to].
        if standing.state is State.FROZEN or f"[{key_slot(at.encode())}-".encode() in nodes:
            raise Unavailable(_CHANGING)
        return standing.here

    async def _take_records(self, found: Found, page: list[tuple[str, str]]) -> None:
        """Keep the shopper's orders and holds of some keys."""
        for kind, mine, key in (
            ("order", found.orders, self.keys.order),
            ("hold", found.holds, self.keys.hold),
        ):
            names = [name for one, name in page if one == kind]
            owners = await self._fields([key(name) for name in names], "shopper")
            for name, (owner,) in zip(names, owners, strict=True):
                if owner == found.shopper.encode():
                    mine[name] = texts(await self.lane.command("HGETALL", key(name)))
                    if not mine[name]:  # Its time was over just now.
                        del mine[name]

    async def _take_others(self, found: Found, keys: list[tuple[str, str]]) -> None:
        """Keep what the shopper has among that of others."""
        for kind, name in keys:
            if kind == "questions":
                found.questions += await self._questions(name, found.shopper)
            elif kind in PLACES:
                found.places += await self._place(name, kind, found.shopper)
            elif kind == "parked":
                found.webhooks.add(name)

    async def _fields(self, keys: list[str], *fields: str) -> list[list[bytes]]:
        rows: list[list[bytes]] = []
        for some in _sliced(keys):
            reading = (self.lane.command("HMGET", key, *fields) for key in some)
            rows += await asyncio.gather(*reading)
        return rows

    async def _questions(self, show: str, shopper: str) -> list[Question]:
        kept = await self.lane.command("ZRANGE", self.keys.questions(show), 0, -1, "WITHSCORES")
        return [
            Question(show, int(float(score)), text, member)
            for member, score in zip(kept[::2], kept[1::2], strict=True)
            for _, who, text in [_QUESTION.decode(member)]
            if who == shopper
        ]

    async def _place(self, show: str, where: Where, shopper: str) -> list[Place]:
        number = await self.lane.command("ZSCORE", place_key(self.keys, where, show), shopper)
        return [] if number is None else [Place(show, where, int(float(number)))]

    async def _entries(self, orders: Collection[str]) -> list[Entry]:
        """What the stream has of some orders, oldest first."""
        found: list[Entry] = []
        start = "-"
        while orders:
            rows = await self.lane.command("XRANGE", self.keys.orders, start, "+", "COUNT", _SLICE)
            self._looked_at(len(rows))
            found += [one for one in read_entries(rows) if one.order in orders]
            if len(rows) < _SLICE:
                break
            start = f"({rows[-1][0].decode()}"
        return found

    def _looked_at(self, count: int) -> None:
        self.looked_at += count
        self.progress(self.looked_at)


def _is_at(contact: str | bytes | None, email: str) -> bool:
    """Whether a contact has this address, written in small letters."""
    if contact is None:
        return False
    try:
        return _CONTACT.decode(contact).email.casefold() == email
    except msgspec.DecodeError:
        # Of another form than ours: rather one too many than one whom nobody finds.
        text = contact.decode(errors="replace") if isinstance(contact, bytes) else contact
        return email in text.casefold()


def _sliced(keys: list[str]) -> Iterator[list[str]]:
    return (keys[at : at + _SLICE] for at in range(0, len(keys), _SLICE))
