"""A shopper's holds: a method per script, and the scripts' words mapped once.

A hold's id is made of the shop, the shopper and the caller's key, so that the same key is the same
hold: the record of the hold is the record of the request.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec

from gateway import news
from gateway.errors import (
    Frozen,
    HoldAlreadyCommitted,
    HoldAlreadyReleased,
    HoldExpired,
    HoldfastError,
    IdempotencyKeyReused,
    Invalid,
    LimitExceeded,
    NotFound,
    Paused,
    ShowNotLive,
    SoldOut,
)
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply
from gateway.model import Fulfillment, Hold, LineRequest
from gateway.scripts import load
from gateway.settings import Settings
from gateway.stock.reservations import GroupCommit, Request, Words


@dataclass(frozen=True, slots=True)
class Held:
    """A hold as it is now, and the stock's version it belongs to."""

    hold: Hold
    version: int


@dataclass(slots=True)
class Holds:
    """Reserve, extend and give back, for any shop of this Redis."""

    lane: Lane
    settings: Settings
    _groups: dict[str, GroupCommit] = field(default_factory=dict)

    async def reserve(
        self,
        shop: str,
        shopper: str,
        show: str,
        key: str,
        lines: tuple[LineRequest, ...],
        fulfillment: Fulfillment,
    ) -> Held:
        """Hold all lines or none. The same key gives the same hold again, as it is now.

        A refusal writes nothing and is not remembered: asking again may succeed.

        Raises:
            SoldOut, LimitExceeded, ShowNotLive, NotFound, Invalid, IdempotencyKeyReused: by design.
            Overloaded, Unavailable: ask again with the same key.
        """
        return held(await self.decide(shop, shopper, show, key, lines, fulfillment))

    def decide(
        self,
        shop: str,
        shopper: str,
        show: str,
        key: str,
        lines: tuple[LineRequest, ...],
        fulfillment: Fulfillment,
    ) -> asyncio.Future[Words]:
        """Ask for what ``reserve`` awaits, for a caller that wants no task; ``held`` reads it.

        Raises:
            Invalid, Overloaded, Unavailable: it is not even asked.
        """
        merged = _merge(lines)
        if fulfillment.type == "ship" and fulfillment.location:
            raise Invalid("A location goes with a pickup only.")
        request = Request(
            hold=hold_id(shop, shopper, key),
            shopper=shopper,
            show=show,
            fingerprint=_fingerprint(show, merged, fulfillment),
            ttl_ms=self.settings.hold_ttl_s * 1000,
            fulfillment=msgspec.json.encode(fulfillment).decode(),
            lines=merged,
            location=fulfillment.location,
        )
        group = self._groups.get(shop)
        if group is None:
            group = self._groups.setdefault(shop, GroupCommit(shop, self.lane, self.settings))
        return group.decide(request)

    async def extend(self, shop: str, shopper: str, hold: str) -> Held:
        """Give an active hold more time; an expired one is never revived.

        Raises:
            NotFound, HoldExpired, HoldAlreadyCommitted, HoldAlreadyReleased: it is not active.
        """
        keys, settings = ShopKeys(shop), self.settings
        return _held(
            await self.lane.call(
                load("hold_extend"),
                (
                    keys.meta,
                    keys.deadlines,
                    keys.hold(hold),
                    keys.order(order_id(hold)),
                    keys.news,
                ),
                (hold, shopper, settings.hold_ttl_s * 1000, settings.hold_max_s * 1000),
            )
        )

    async def release(self, shop: str, shopper: str, hold: str) -> Held:
        """Give a hold back; again is fine.

        Raises:
            NotFound, HoldExpired, HoldAlreadyCommitted: it is not active.
        """
        keys, order = ShopKeys(shop), order_id(hold)
        return _held(
            await self.lane.call(
                load("hold_release"),
                (
                    keys.meta,
                    keys.stock,
                    keys.deadlines,
                    keys.ledger,
                    keys.news,
                    keys.unsettled,
                    keys.hold(hold),
                    keys.shopper(shopper),
                    keys.order(order),
                ),
                (hold, shopper, order, self.settings.hold_retention_s * 1000),
            )
        )

    async def of(self, shop: str, holds: tuple[str, ...]) -> tuple[Hold, ...]:
        """Read holds by id; those that are gone are left out."""
        keys = ShopKeys(shop)
        replies = await asyncio.gather(
            *(self.lane.command("HMGET", keys.hold(hold), *_FIELDS) for hold in holds)
        )
        return tuple(
            news.hold_from_words([hold.encode(), *words])
            for hold, words in zip(holds, replies, strict=True)
            if words[0] is not None
        )


_FIELDS = ("state", "lines", "amount", "currency", "expires_at", "fulfillment")


_LETTERS = str.maketrans("0123456789abcdef", "ghijklmnopabcdef")
"""Without digits an id is never taken for a card number."""


def hold_id(shop: str, shopper: str, key: str) -> str:
    """The id of the hold that a shopper's key makes."""
    digest = hashlib.sha256(f"{shop}:{shopper}:{key}".encode()).hexdigest()
    return "h_" + digest[:30].translate(_LETTERS)


def order_id(hold: str) -> str:
    """The id of the order a hold becomes: one hold, one order, by construction."""
    return "o_" + hold.removeprefix("h_")


def raise_ended(state: str) -> NoReturn:
    """Raise the error that says how a hold ended."""
    errors: dict[str, HoldfastError] = {
        "committed": HoldAlreadyCommitted("This hold has become an order."),
        "released": HoldAlreadyReleased("This hold was given back."),
        "expired": HoldExpired("The time to pay is over; the units are back on sale."),
    }
    raise errors[state]


def _merge(lines: tuple[LineRequest, ...]) -> tuple[LineRequest, ...]:
    """The same sku twice is one line; the order of lines means nothing."""
    if len(lines) == 1:
        return lines
    units: dict[str, int] = {}
    for line in lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    return tuple(LineRequest(sku, units[sku]) for sku in sorted(units))


def _fingerprint(show: str, lines: tuple[LineRequest, ...], fulfillment: Fulfillment) -> str:
    content = msgspec.json.encode((show, lines, fulfillment))
    return hashlib.sha256(content).hexdigest()[:16]


def _held(reply: Reply) -> Held:
    return held([word.decode() for word in reply])


def held(words: Words) -> Held:
    """Map the words of the hold scripts; every word they can say is here.

    Raises:
        HoldfastError: what they say is no hold.
    """
    match words:
        case ["HOLD", *hold, version]:
            return Held(news.hold_from_words(tuple(hold)), int(version))
        case ["SOLD_OUT", sku, available]:
            raise SoldOut(_sold_out(int(available)), sku=sku, available=int(available))
        case ["LIMIT", sku, limit]:
            raise LimitExceeded(f"One shopper may have {limit} of this.", sku=sku, limit=int(limit))
        case ["HOLDS", limit]:
            raise LimitExceeded(f"One shopper may hold {limit} at once.", limit=int(limit))
        case ["KEY_REUSED"]:
            raise IdempotencyKeyReused("This key was used for another reservation.")
        case ["SHOW_NOT_LIVE", ""]:
            raise NotFound("There is no such show.")
        case ["SHOW_NOT_LIVE", state]:
            raise ShowNotLive("Nothing is on sale: the show is not live.", state=state)
        case ["NOT_FOUND", sku]:
            raise NotFound("This product is not in the catalogue.", sku=sku)
        case ["CURRENCIES"]:
            raise Invalid("These products are priced in different currencies.")
        case ["FROZEN"]:
            raise Frozen
        case ["PAUSED"]:
            raise Paused
        case ["UNPAYABLE"]:
            raise Invalid("The total is nothing, or more than one payment can be.")
        case ["NOT_FOUND"]:
            raise NotFound("There is no such hold.")
        case ["ENDED", state]:
            raise_ended(state)
        case _:
            raise AssertionError(f"a hold script said {words[:1]}")


def _sold_out(available: int) -> str:
    return f"Only {available} left." if available else "Sold out."
