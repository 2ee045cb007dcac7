"""The audit: every quantity recomputed from the ledger and the holds, and each drift named.

The ledger is the truth: each movement carries what it did to each quantity. Added up it must give
the rows the scripts keep; the units it says are held must belong to active holds; and no unit may
have been sold twice under one number.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, pairs, texts
from gateway.model import Line
from gateway.scripts import load
from gateway.stock import rows
from gateway.stock.rows import Row

_PAGE = 1_000
"""Ledger entries read at once: a gateway that audits for somebody has sockets to serve, too."""
_HOLDS = 200
"""Holds read at once."""
_LOOKS = 50
"""Times the audit looks while the shop is selling, until ledger and rows belong together. A look
reads only what is new, so a quiet moment of a few milliseconds is enough."""
_LINES = msgspec.json.Decoder(tuple[Line, ...])
_QUANTITIES = ("on_hand", "safety_stock", "held", "committed")
UNREADABLE = "record_unreadable"
"""A sku whose rows make no sense here; reconciling has the same word for an order's record."""


class Drift(Struct, frozen=True, omit_defaults=True):
    """One quantity that is not what it must be."""

    sku: str
    location: str
    quantity: str
    """``on_hand``, ``safety_stock``, ``held``, ``committed``, or what else is wrong:
    ``record_unreadable`` has no location, and nothing else is said of its rows.
    """
    expected: int
    found: int
    repaired: bool = False
    why: str = ""


class Verdict(Struct, frozen=True):
    """What the audit of one shop found."""

    shop: str
    version: int
    movements: int
    committed_units: int
    """Units sold and not undone, whether handed over or not. What a refund put back stays sold: it
    is ``returned``."""
    active_holds: int
    shortfalls: int
    """Rows whose available is negative: the world has less than was promised."""
    drift: tuple[Drift, ...]


@dataclass(slots=True)
class _Ledger:
    """The ledger added up."""

    quantities: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    holds: dict[str, Counter[tuple[str, str]]] = field(default_factory=lambda: defaultdict(Counter))
    units: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    sold: int = 0
    movements: int = 0
    last: str = "-"

    def add(self, entry: bytes, text: dict[str, str]) -> None:
        """Add one movement."""
        place = (text["sku"], text["location"])
        for quantity in _QUANTITIES:
            self.quantities[place][quantity] += int(text[quantity])
        if held := int(text["held"]):
            self.holds[text["reference"]][place] += held
        if text["kind"] == "committed":
            first, units = int(text["first_unit"]), int(text["quantity"])
            self.units.update((*place, number) for number in range(first, first + units))
            self.sold += units
        elif text["kind"] == "released" and int(text["committed"]):
            first, units = int(text["first_unit"]), int(text["quantity"])
            self.units.subtract((*place, number) for number in range(first, first + units))
            self.sold -= units
        self.movements += 1
        self.last = "(" + entry.decode()

    def held(self) -> dict[str, Counter[tuple[str, str]]]:
        """The holds that have units by the ledger."""
        return {hold: units for hold, units in self.holds.items() if any(units.values())}


async def audit(lane: Lane, shop: str, *, repair: bool = False) -> Verdict:
    """Look a shop over; with ``repair`` mend what is certain.

    It may run while the shop sells: rows and ledger are compared at one version of the stock.

    Raises:
        Unavailable: Redis does not answer, or the stock never stands still.
    """
    keys, ledger = ShopKeys(shop), _Ledger()
    for _ in range(_LOOKS):
        before = await _version(lane, keys)
        await _read_ledger(lane, keys, ledger)
        stock = pairs(await lane.command("HGETALL", keys.stock))
        holds = await _read_holds(lane, keys, ledger)
        version = await _version(lane, keys)
        if version == before:
            break
    else:
        raise Unavailable("The shop is selling too fast to be audited now; try again.")
    found, unreadable = rows.legible(stock)
    drifts = [
        *_unreadable(unreadable),
        *_compare(ledger, found, unreadable),
        *_compare_holds(ledger, holds),
        *_sold_twice(ledger),
    ]
    if repair:
        drifts = await _repair(lane, keys, version, ledger, found, drifts)
    return Verdict(
        shop=shop,
        version=version,
        movements=ledger.movements,
        committed_units=ledger.sold,
        active_holds=len(ledger.held()),
        shortfalls=sum(row.available < 0 for places in found.values() for row in places),
        drift=tuple(drifts),
    )


async def _version(lane: Lane, keys: ShopKeys) -> int:
    return int(await lane.command("HGET", keys.meta, "version") or 0)


async def _read_ledger(lane: Lane, keys: ShopKeys, ledger: _Ledger) -> None:
    """Add up what has come since the last look."""
    while True:
        page = await lane.command("XRANGE", keys.ledger, ledger.last, "+", "COUNT", _PAGE)
        for entry, fields in page:
            ledger.add(entry, texts(fields))
        if len(page) < _PAGE:
            return


@dataclass(frozen=True, slots=True)
class _Kept:
    """A hold as its own record has it."""

    state: str
    units: Counter[tuple[str, str]]


async def _read_holds(lane: Lane, keys: ShopKeys, ledger: _Ledger) -> dict[str, _Kept]:
    """Every hold that has units by the ledger, or a deadline."""
    members = await lane.command("ZRANGE", keys.deadlines, 0, -1)
    waiting = {member.decode().partition(":")[0] for member in members}
    asked = sorted(waiting | ledger.held().keys())
    kept = {}
    for at in range(0, len(asked), _HOLDS):
        some = asked[at : at + _HOLDS]
        reading = (lane.command("HMGET", keys.hold(hold), "state", "lines") for hold in some)
        for hold, (state, lines) in zip(some, await asyncio.gather(*reading), strict=True):
            units: Counter[tuple[str, str]] = Counter()
            for line in _LINES.decode(lines or b"[]"):
                units[line.sku, line.location] += line.quantity
            kept[hold] = _Kept((state or b"gone").decode(), units)
    return kept


def _unreadable(skus: Collection[str]) -> list[Drift]:
    why = "a newer version wrote its rows, or somebody by hand"
    return [Drift(sku, "", UNREADABLE, expected=0, found=1, why=why) for sku in skus]


def _compare(
    ledger: _Ledger, found: dict[str, tuple[Row, ...]], unreadable: Collection[str]
) -> list[Drift]:
    """Rows against the ledger. What cannot be read is not repaired, for it may be right."""
    drifts = []
    places = {(sku, row.location): row for sku, there in found.items() for row in there}
    booked = {place for place in ledger.quantities if place[0] not in unreadable}
    for place in sorted(places.keys() | booked):
        row = places.get(place)
        for quantity in _QUANTITIES:
            expected = ledger.quantities[place][quantity] if place in ledger.quantities else 0
            kept = getattr(row, quantity) if row else 0
            if kept != expected:
                drifts.append(Drift(*place, quantity, expected=expected, found=kept))
    return drifts


def _compare_holds(ledger: _Ledger, holds: dict[str, _Kept]) -> list[Drift]:
    """The ledger against the holds: a hold has its units while it is active, and none after."""
    held, drifts = ledger.held(), []
    for hold, kept in holds.items():
        mine = kept.units if kept.state == "active" else Counter()
        booked = held.get(hold, Counter())
        why = f"{hold} is {kept.state}"
        drifts += [
            Drift(*place, "hold", expected=mine[place], found=booked[place], why=why)
            for place in sorted(mine.keys() | booked.keys())
            if mine[place] != booked[place]
        ]
    return drifts


def _sold_twice(ledger: _Ledger) -> list[Drift]:
    return [
        Drift(sku, location, "unit", expected=1, found=times, why=f"unit {number} was sold twice")
        for (sku, location, number), times in sorted(ledger.units.items())
        if times > 1
    ]


async def _repair(
    lane: Lane,
    keys: ShopKeys,
    version: int,
    ledger: _Ledger,
    found: dict[str, tuple[Row, ...]],
    drifts: list[Drift],
) -> list[Drift]:
    """Set rows to what the ledger says. What no ledger can tell is left to a person."""
    certain = {drift.sku for drift in drifts if drift.quantity in _QUANTITIES}
    repaired = set()
    for sku in sorted(certain):
        mended = _mended(sku, ledger, found.get(sku, ()))
        reply = await lane.call(
            load("stock_repair"),
            (keys.meta, keys.stock, keys.news),
            (version, sku, msgspec.json.encode(mended), rows.on_sale(mended)),
        )
        if reply[0] != b"REPAIRED":
            break
        version += 1
        repaired.add(sku)
    return [
        msgspec.structs.replace(drift, repaired=drift.sku in repaired)
        if drift.quantity in _QUANTITIES
        else drift
        for drift in drifts
    ]


def _mended(sku: str, ledger: _Ledger, kept: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of a sku as the ledger has them."""
    counted = {row.location: row.counted_at for row in kept}
    places = [row.location for row in kept]
    places += sorted(
        place for name, place in ledger.quantities if name == sku and place not in places
    )
    return tuple(
        Row(
            location=place,
            on_hand=ledger.quantities[sku, place]["on_hand"],
            safety_stock=ledger.quantities[sku, place]["safety_stock"],
            held=ledger.quantities[sku, place]["held"],
            committed=ledger.quantities[sku, place]["committed"],
            next_unit=1 + max((n for s, p, n in ledger.units if (s, p) == (sku, place)), default=0),
            counted_at=counted.get(place, 0),
        )
        for place in places
    )
