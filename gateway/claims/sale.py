"""A sale as the table keeps it, and who gets which unit when many claim at once. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from gateway.model import UNITS, Units

Row = tuple[str, str, str, str, str, bytes, int]
"""A sale's columns, in the order of its fields."""


class Unit(NamedTuple):
    """One unit, of all there are. Its number is never given twice, unless Redis forgot one."""

    shop: str
    sku: str
    location: str
    number: int


class Sale(Struct, frozen=True):
    """An order whose units are sold, as it was before its money was captured."""

    shop: str
    order: str
    intent: str
    """The PaymentIntent whose money it is."""
    hold: str
    units: Units
    record: bytes
    """The order's hash in Redis, fields and texts as one JSON object: enough to restore it."""
    claimed_at: int
    """When it was claimed first, in ms by the clock of the process that did."""

    @property
    def each_unit(self) -> frozenset[Unit]:
        """Every unit of the sale."""
        return frozenset(
            Unit(self.shop, sku, location, number)
            for sku, location, first, units in self.units
            for number in range(first, first + units)
        )

    @property
    def row(self) -> Row:
        """The sale as the tables keep it."""
        units = msgspec.json.encode(self.units).decode()
        return (self.shop, self.order, self.intent, self.hold, units, self.record, self.claimed_at)

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Sale":
        """Read it again."""
        shop, order, intent, hold, units, record, claimed_at = row
        return cls(shop, order, intent, hold, UNITS.decode(units), record, claimed_at)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be written for sales that claim together, and what each of them is answered."""

    answers: tuple[str | None, ...]
    """For each sale: ``None``, it is claimed; or an order that has a unit of it already."""
    units: tuple[tuple[Unit, str], ...]
    """Units nobody had, each with its order from now on; in the same order for everybody, so that
    two who write at once may have to wait for one another, but never in a circle."""
    sales: tuple[Sale, ...]
    """The sales that are claimed, likewise sorted."""


def decide(sales: Sequence[Sale], owners: Mapping[Unit, str]) -> Verdict:
    """Decide about sales no two of which share a unit; ``owners`` has those the table knows."""
    answers, units, claimed = [], [], []
    for sale in sales:
        others = {owners.get(unit, sale.order) for unit in sale.each_unit} - {sale.order}
        answers.append(min(others, default=None))
        if not others:
            claimed.append(sale)
            units += [(unit, sale.order) for unit in sale.each_unit if unit not in owners]
    claimed.sort(key=lambda sale: (sale.shop, sale.order))
    return Verdict(tuple(answers), tuple(sorted(units)), tuple(claimed))


def every_unit(sales: Iterable[Sale]) -> list[Unit]:
    """Every unit of some sales, sorted."""
    return sorted(unit for sale in sales for unit in sale.each_unit)
