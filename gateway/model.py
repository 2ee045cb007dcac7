"""The nouns as types: money, lines, holds, catalogue entries, movements, orders.

They are validated while they are decoded, so that a value of these types is a good value. What a
socket says is in ``messages``; how things are kept in Redis is the business of the room that keeps
them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.discreet import Discreet

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}\Z"
r"""Ids may not carry braces or colons, which mean something in Redis keys. ``\Z``, since ``$``
would let a trailing newline pass."""

LINE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
"""Free text is one line without control characters, which terminals and labels would obey."""
_EMAIL_PATTERN = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+\Z"

MAX_AMOUNT = 10**11
"""Largest amount, in minor units. Lua counts in doubles and prints from 1e14 on as ``1e+14``."""

MAX_PAYMENT = 99_999_999
"""Largest total of one payment, in minor units: Stripe takes eight digits."""

MAX_QUANTITY = 1_000_000
"""Largest quantity of one line or movement."""

Id = Annotated[str, Meta(pattern=ID_PATTERN)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z", description="ISO 4217 code")]
Amount = Annotated[int, Meta(ge=0, le=MAX_AMOUNT, description="in the currency's minor unit")]
Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
Text = Annotated[str, Meta(min_length=1, max_length=500, pattern=LINE_PATTERN)]
Name = Annotated[str, Meta(max_length=200, pattern=LINE_PATTERN)]
"""Of a person or a place, or a part of an address."""
Timestamp = Annotated[str, Meta(max_length=40, description="RFC 3339, UTC, milliseconds")]

FulfillmentState = Literal["proposed", "reserved", "prepared", "completed", "canceled", "failed"]
OrderState = Literal["confirmed", "partially_refunded", "refunded", "canceled"]
HoldState = Literal["active", "committed", "released", "expired"]
ShowState = Literal["scheduled", "live", "ended"]
MovementKind = Literal["received", "adjusted", "counted", "returned", "fulfilled", "safety_stock"]


class Money(Struct, frozen=True):
    """An integer in the currency's minor unit beside its ISO 4217 code."""

    amount: Amount
    currency: Currency


class LineRequest(Struct, frozen=True):
    """What a shopper asks for."""

    sku: Id
    quantity: Quantity


class Line(Struct, frozen=True):
    """So many units of one sku from one location, at the price of the moment of reserving."""

    sku: str
    quantity: int
    unit_price: Money
    location: str


Numbered = tuple[str, str, int, int]
"""Sold units of one sku, as the commit numbers them: sku, location, first number, how many."""
Units = tuple[Numbered, ...]
"""The units of an order."""
UNITS = msgspec.json.Decoder(Units)
"""Reads them where they are kept as text."""


class Fulfillment(Struct, frozen=True):
    """How the goods reach the shopper; ``location`` is where a pickup is picked up."""

    type: Literal["ship", "pickup"] = "ship"
    location: Id | None = None


class Hold(Struct, frozen=True):
    """A shopper's short exclusive claim, resolved exactly once."""

    id: str
    state: HoldState
    lines: tuple[Line, ...]
    total: Money
    expires_at: Timestamp
    fulfillment: Fulfillment


class CatalogEntry(Struct, frozen=True, omit_defaults=True):
    """One sellable variant: what the shopper sees, what it costs, how many one may have."""

    sku: Id
    title: Text
    price: Money
    options: dict[str, str] = {}
    compare_at: Money | None = None
    image: Annotated[str, Meta(max_length=2000)] | None = None
    description: Annotated[str, Meta(max_length=5000)] | None = None
    limit_per_shopper: Quantity | None = None


class Show(Struct, frozen=True):
    """One live event of a shop."""

    id: Id
    title: Text
    state: ShowState = "scheduled"
    starts_at: Timestamp | None = None
    video: Annotated[str, Meta(max_length=2000)] | None = None
    highlight: Id | None = None


class Contact(Struct, frozen=True, omit_defaults=True):
    """How to reach the shopper about the order."""

    email: Annotated[str, Meta(min_length=3, max_length=254, pattern=_EMAIL_PATTERN)]
    name: Name | None = None
    phone: Annotated[str, Meta(max_length=40, pattern=LINE_PATTERN)] | None = None


class Address(Struct, frozen=True, omit_defaults=True):
    """Where to ship, as postal services and Stripe name the parts."""

    line1: Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE_PATTERN)]
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z", description="ISO 3166-1 alpha-2")]
    name: Name | None = None
    line2: Name | None = None
    city: Name | None = None
    postal_code: Annotated[str, Meta(max_length=20, pattern=LINE_PATTERN)] | None = None
    state: Annotated[str, Meta(max_length=100, pattern=LINE_PATTERN)] | None = None


class Movement(Struct, frozen=True, omit_defaults=True):
    """A change in the physical world that the POS reports.

    ``received``, ``returned`` add; ``adjusted`` adds or, negative, takes (a walk-in sale is an
    adjustment with a reason); ``fulfilled`` hands over committed units; ``counted`` and
    ``safety_stock`` state an absolute number.
    """

    reference_id: Id
    kind: MovementKind
    sku: Id
    location: Id
    quantity: Annotated[int, Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
    occurred_at: Timestamp
    source: Id
    reason: Annotated[str, Meta(max_length=200, pattern=LINE_PATTERN)] | None = None


class Tender(Struct, frozen=True):
    """One part of a payment."""

    type: Literal["card"]
    amount: Money
    provider: Literal["stripe"]
    reference: str


class OrderFulfillment(Discreet, frozen=True, omit_defaults=True):
    """How, where and how far an order is handed over."""

    type: Literal["ship", "pickup"]
    state: FulfillmentState
    location: str | None = None
    ship_to: Address | None = None


class OrderRefund(Struct, frozen=True, omit_defaults=True):
    """Money that went back for an order, and the units it was for, if any were named.

    ``restocked`` units are back in the stock already: nobody need report them as returned.
    """

    id: str
    amount: Money
    restocked: bool
    reference: str
    """What the payment provider calls it."""
    recorded_at: Timestamp
    lines: tuple[Line, ...] = ()
    reason: str | None = None


class Order(Discreet, frozen=True, omit_defaults=True):
    """What the POS gets, as the ``data`` of a CloudEvent; its effect is exactly once by
    ``event_id`` and ``order_version``.

    ``lines`` and ``total`` stay what was sold; ``refunds`` says what of it was undone. An order is
    ``partially_refunded`` until all its money went back. Then it is ``canceled`` if every unit went
    back into the stock before it was handed over, so that there is nothing left to do, and
    ``refunded`` if not. ``occurred_at`` is when it was sold, ``recorded_at`` when it became this
    version. ``erased``: its shopper asked to be forgotten. ``contact`` and ``ship_to`` are
    gone, and whoever got them by an earlier version has to erase them, too. They are also missing
    of an order that only the payment provider still knew when the shop had lost its data.
    """

    id: str
    order_version: int
    state: OrderState
    lines: tuple[Line, ...]
    total: Money
    tenders: tuple[Tender, ...]
    contact: Contact | None
    fulfillment: OrderFulfillment
    show: str
    occurred_at: Timestamp
    recorded_at: Timestamp
    refunds: tuple[OrderRefund, ...] = ()
    erased: bool = False
