"""What we write on a PaymentIntent, so that it can be told whose it is and what it paid for. Pure.

Stripe keeps it whatever happens to Redis: a shop that lost its database learns from it which units
are sold. Ids and prices only; who the shopper is stays with us.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from gateway.checkout.record import Record
from gateway.model import Id, Line, Money, Units

_LONGEST = 500
"""Characters of one value, by Stripe's limit; there may be 50 values."""


class Mark(Struct, frozen=True):
    """Whose an intent is. What others wrote on theirs is not of this form."""

    shop: Id
    order: Id
    attempt: int
    env: str = ""
    hold: Id | None = None
    shopper: Id | None = None
    show: Id | None = None


class PaidFor(Struct, frozen=True):
    """The units a capture paid for, and what they cost."""

    units: Units
    lines: tuple[Line, ...]


def of_attempt(environment: str, shop: str, record: Record) -> dict[str, str]:
    """What an attempt's intent carries from the beginning."""
    return {
        "env": environment,
        "shop": shop,
        "order": record.order,
        "hold": record.hold,
        "shopper": record.shopper,
        "show": record.show,
        "attempt": str(record.attempt),
        "epoch": str(record.epoch),
    }


def of_units(record: Record) -> dict[str, str]:
    """What is added when the money is captured: the units and their prices."""
    prices = {(line.sku, line.location): line.unit_price.amount for line in record.lines}
    sold = [(*unit, prices[unit[0], unit[1]]) for unit in record.units]
    text = msgspec.json.encode(sold).decode()
    parts = [text[at : at + _LONGEST] for at in range(0, len(text), _LONGEST)]
    return {f"units_{n}": part for n, part in enumerate(parts)}


def read(metadata: Mapping[str, str]) -> Mark | None:
    """Read whose an intent is; ``None`` when it is none of ours."""
    try:
        return msgspec.convert(metadata, Mark, strict=False)
    except msgspec.ValidationError:
        return None


def read_units(metadata: Mapping[str, str], currency: str) -> PaidFor | None:
    """Read what a capture paid for; ``None`` when it does not say."""
    parts, n = [], 0
    while (part := metadata.get(f"units_{n}")) is not None:
        parts.append(part)
        n += 1
    try:
        sold = _PRICED.decode("".join(parts))
    except msgspec.DecodeError:
        return None
    return PaidFor(
        units=tuple((sku, location, first, units) for sku, location, first, units, _ in sold),
        lines=tuple(
            Line(sku, units, Money(price, currency), location)
            for sku, location, _, units, price in sold
        ),
    )


_PRICED = msgspec.json.Decoder(tuple[tuple[str, str, int, int, int], ...])
