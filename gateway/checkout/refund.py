"""A refund: what is asked for, what the order's record keeps, what the order becomes. Pure."""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.errors import Invalid
from gateway.messages import MAX_LINES
from gateway.model import (
    Line,
    LineRequest,
    Money,
    Order,
    OrderRefund,
    OrderState,
    Text,
    Timestamp,
)


class RefundRequest(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What shall go back: an amount, the units of some lines, or all that is left of both.

    With lines and an amount, the amount is what is paid for these lines, instead of their price.
    ``restock`` puts the units back into the stock: when they never left, or came back. Unless it is
    said, they are put back whenever the refund is about units, so not for a mere amount. A misspelt
    field is refused: without it everything would go back.
    """

    amount: Money | None = None
    lines: Annotated[tuple[LineRequest, ...], Meta(min_length=1, max_length=MAX_LINES)] | None = (
        None
    )
    restock: bool | None = None
    reason: Text | None = None

    @property
    def restocks(self) -> bool:
        """Whether units go back into the stock."""
        return self.about_units if self.restock is None else self.restock

    @property
    def about_units(self) -> bool:
        """Whether there are units that could."""
        return self.lines is not None or self.amount is None

    @property
    def fingerprint(self) -> str:
        """Equal for equal requests."""
        plain = msgspec.structs.replace(self, restock=self.restocks)
        return hashlib.sha256(msgspec.json.encode(plain)).hexdigest()[:16]

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            Invalid: the message says why.
        """
        if self.amount and not self.amount.amount:
            raise Invalid("amount: Expected more than nothing.")
        if self.restock and not self.about_units:
            raise Invalid("restock: Name the lines whose units are to be restocked.")
        skus = [line.sku for line in self.lines or ()]
        if len(set(skus)) < len(skus):
            raise Invalid("lines: A sku appears twice.")


class Refund(Struct, frozen=True, kw_only=True):
    """A refund of an order, as the order's record keeps it; ``n`` counts from 1."""

    n: int
    key: str
    """The caller's idempotency key."""
    fingerprint: str
    amount: int
    state: Literal["pending", "done", "failed"]
    restock: bool
    lines: tuple[Line, ...] = ()
    reason: str | None = None
    reference: str | None = None
    """What the payment provider calls it, once it is done."""
    code: str | None = None
    """Why it failed."""
    order_version: int | None = None
    """The version of the order that tells of it, once it is done."""
    handed_over: bool = False
    """A unit that was put back had left already."""

    @property
    def restocked(self) -> bool:
        """Its units are back in the stock."""
        return self.state == "done" and self.restock and bool(self.lines)


class Kept(Struct, frozen=True):
    """What an order's record says about refunds; ``order`` is its latest version."""

    order: Order
    refunds: tuple[Refund, ...]

    @property
    def pending(self) -> tuple[Refund, ...]:
        """Those that somebody must go on with."""
        return tuple(refund for refund in self.refunds if refund.state == "pending")


def refund_id(order: str, n: int) -> str:
    """The id of an order's nth refund."""
    return f"r_{order.removeprefix('o_')}_{n}"


def next_version(
    kept: Kept, refund: Refund, reference: str, now: Timestamp, *, handed_over: bool
) -> Order:
    """The order once a refund is done; ``handed_over``: one of its units had left already."""
    order, state = kept.order, _state(kept, refund, handed_over=handed_over)
    fulfillment = order.fulfillment
    if state == "canceled":
        fulfillment = msgspec.structs.replace(fulfillment, state="canceled")
    told = OrderRefund(
        id=refund_id(order.id, refund.n),
        amount=Money(refund.amount, order.total.currency),
        restocked=refund.restock and bool(refund.lines),
        reference=reference,
        recorded_at=now,
        lines=refund.lines,
        reason=refund.reason,
    )
    return msgspec.structs.replace(
        order,
        order_version=order.order_version + 1,
        state=state,
        fulfillment=fulfillment,
        recorded_at=now,
        refunds=(*order.refunds, told),
    )


def _state(kept: Kept, refund: Refund, *, handed_over: bool) -> OrderState:
    done = [*(one for one in kept.refunds if one.state == "done"), refund]
    if sum(one.amount for one in done) < kept.order.total.amount:
        return "partially_refunded"
    back = sum(line.quantity for one in done if one.restock for line in one.lines)
    left = sum(line.quantity for line in kept.order.lines) - back
    gone = handed_over or any(one.handed_over for one in done)
    gone = gone or kept.order.fulfillment.state == "completed"
    return "refunded" if left or gone else "canceled"
