"""The ledger of a shop, read page by page: every movement of its stock, in the order it happened.

A reader that keeps the cursor reads each movement once. What a hold was for, the show and the
shopper, is in the hold's own record: it can be told while that record is kept.
"""

import asyncio
import re
from dataclasses import dataclass

from msgspec import Struct

from gateway.clock import rfc3339
from gateway.errors import Invalid
from gateway.keys import ShopKeys
from gateway.lane import Lane, texts
from gateway.model import Timestamp

START = "0-0"
"""The cursor before the first movement."""

MAX_PAGE = 1_000
"""Most movements of one page: some ten milliseconds of one process."""

_CURSOR = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


class Booked(Struct, frozen=True, omit_defaults=True):
    """One movement as the ledger has it: what it did to each quantity of one sku at one location.

    ``reference`` is the hold, the order or the report it belongs to. ``first_unit`` is the number
    of the first unit sold, or given back after its sale.
    """

    id: str
    at: Timestamp
    kind: str
    sku: str
    location: str
    quantity: int
    reference: str
    version: int
    on_hand: int = 0
    safety_stock: int = 0
    held: int = 0
    committed: int = 0
    first_unit: int | None = None
    show: str | None = None
    """Of a hold, while its record is kept."""
    shopper: str | None = None
    """Of a hold, while its record is kept."""


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Movements, and the cursor that continues after them."""

    movements: tuple[Booked, ...]
    next: str


async def page(lane: Lane, shop: str, after: str, limit: int) -> LedgerPage:
    """Read at most ``limit`` movements after a cursor, oldest first.

    Raises:
        Invalid: the cursor is none of ours, or the limit is out of bounds.
        Unavailable: Redis does not answer.
    """
    if not _CURSOR.fullmatch(after):
        raise Invalid("after must be a `next` of an earlier page")
    if not 1 <= limit <= MAX_PAGE:
        raise Invalid(f"limit must be between 1 and {MAX_PAGE}")
    keys = ShopKeys(shop)
    found = await lane.command("XRANGE", keys.ledger, f"({after}", "+", "COUNT", limit)
    entries = [(entry.decode(), texts(fields)) for entry, fields in found]
    holds = {fields["reference"] for _, fields in entries if fields["kind"] == "held"}
    told = await asyncio.gather(
        *(lane.command("HMGET", keys.hold(hold), "show", "shopper") for hold in holds)
    )
    about = dict(zip(holds, told, strict=True))
    booked = tuple(_booked(entry, fields, about) for entry, fields in entries)
    return LedgerPage(booked, booked[-1].id if booked else after)


def _booked(entry: str, text: dict[str, str], about: dict[str, list[bytes | None]]) -> Booked:
    show = shopper = None
    if text["kind"] == "held":
        show, shopper = about[text["reference"]]
    first = text.get("first_unit")
    return Booked(
        id=entry,
        at=rfc3339(int(entry.partition("-")[0])),
        kind=text["kind"],
        sku=text["sku"],
        location=text["location"],
        quantity=int(text["quantity"]),
        reference=text["reference"],
        version=int(text["version"]),
        on_hand=int(text["on_hand"]),
        safety_stock=int(text["safety_stock"]),
        held=int(text["held"]),
        committed=int(text["committed"]),
        first_unit=int(first) if first else None,
        show=show.decode() if show else None,
        shopper=shopper.decode() if shopper else None,
    )
