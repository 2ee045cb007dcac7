"""What Redis keeps of a sku's stock, one row per location. Pure.

A row is a JSON array, in the order of the fields below; the scripts read and write it whole.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct


class Row(Struct, array_like=True, frozen=True):
    """Quantities of one sku at one location."""

    location: str
    on_hand: int
    safety_stock: int
    held: int
    committed: int
    next_unit: int
    """Number the next unit sold here will carry."""
    counted_at: int
    """When it was last counted, ms; what happened before is in the count."""

    @property
    def available(self) -> int:
        """What can be promised; negative is a shortfall, which only the world can cause."""
        return self.on_hand - self.safety_stock - self.held - self.committed


_ROWS = msgspec.json.Decoder(tuple[Row, ...])


def decode(packed: bytes) -> tuple[Row, ...]:
    """Read the rows of one sku."""
    return _ROWS.decode(packed)


def legible(stock: Mapping[str, bytes]) -> tuple[dict[str, tuple[Row, ...]], list[str]]:
    """Read the rows of every sku; those that make no sense here are named instead: a newer version
    wrote them, or somebody by hand.
    """
    found, unreadable = {}, []
    for sku, packed in stock.items():
        try:
            found[sku] = decode(packed)
        except (msgspec.DecodeError, UnicodeDecodeError):
            unreadable.append(sku)
    return found, sorted(unreadable)


def on_sale(rows: tuple[Row, ...]) -> int:
    """Units of a sku that viewers see: a shortfall in one place does not hide units in another."""
    return sum(max(0, row.available) for row in rows)
