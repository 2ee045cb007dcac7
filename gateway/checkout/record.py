"""The record of an order and its payment."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.checkout.phases import Phase
from gateway.checkout.refund import Refund
from gateway.discreet import Discreet
from gateway.messages import OrderView
from gateway.model import Address, Contact, Fulfillment, Line, Money, OrderState, Units

_JSON_FIELDS = {"lines", "fulfillment", "contact", "ship_to", "units", "refunds"}


class Record(Discreet, frozen=True, kw_only=True):
    """One order, as Redis keeps it. Times are ms by Redis' clock."""

    order: str
    phase: Phase
    attempt: int
    token: str
    token_kind: str
    hold: str
    shopper: str
    show: str
    amount: int
    currency: str
    lines: tuple[Line, ...]
    fulfillment: Fulfillment
    attempt_at: int
    budget_until: int
    epoch: int = 1
    """Of the stock, when the attempt began."""
    contact: Contact | None = None
    """Missing of a sale that was written again from what Stripe knows, and once it is erased."""
    pinned: bool = False
    """Its method may take the money at once: the units stay held until it has ended."""
    ship_to: Address | None = None
    intent: str | None = None
    client_secret: str | None = None
    asked_at: int | None = None
    """When Stripe was last asked for the attempt's intent, by the asking process' own clock."""
    pay_state: str | None = None
    """Of an attempt under way: ``queued`` before Stripe is asked, then what Stripe last said,
    ``requires_action`` or ``processing``."""
    decline_code: str | None = None
    traceparent: str | None = None
    """The trace its checkout was part of; who settles it goes on there."""
    reason: str | None = None
    """Why it was voided or failed: ``released``, ``expired``, ``gone`` (approved late, and the
    units were sold), ``mismatch``, ``capture_refused``, ``sold_twice`` (a unit is another
    order's by the claims table)."""
    given_back: str | None = None
    """The intent whose money was taken without a sale; it is refunded. Written before that."""
    units: Units = ()
    """Set by the commit."""
    refunds: tuple[Refund, ...] = ()
    order_version: int = 1
    order_state: OrderState = "confirmed"
    """Of a captured order, as the POS has it."""

    @property
    def total(self) -> Money:
        """What the shopper pays."""
        return Money(self.amount, self.currency)

    @property
    def refunding(self) -> bool:
        """A refund is still to be made."""
        return any(refund.state == "pending" for refund in self.refunds)

    @property
    def view(self) -> OrderView:
        """The order as its shopper sees it."""
        match self.phase:
            case Phase.CAPTURED:
                state: str = self.order_state
            case Phase.FAILED:
                state = "canceled"
            case _:
                state = "processing"
        return OrderView(self.order, self.hold, self.order_version, state, self.lines, self.total)


def read_record(order: str, fields: Mapping[str, str]) -> Record:
    """A record from the fields of its hash."""
    values: dict[str, Any] = {"order": order}
    for name, text in fields.items():
        values[name] = msgspec.json.decode(text) if name in _JSON_FIELDS else text
    return msgspec.convert(values, Record, strict=False)
