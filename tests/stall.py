"""A stall: one shop with a live show, sold from through the rooms, and its books.

The books are read from Redis and added up here, in a way of their own: what the scripts keep must
agree with the ledger they wrote, and with the holds that are there.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from gateway.checkout.record import Record
from gateway.checkout.records import Records
from gateway.environment import read
from gateway.keys import ShopKeys
from gateway.lane import Lane, pairs
from gateway.messages import Checkout, Payment
from gateway.model import (
    CatalogEntry,
    Contact,
    Fulfillment,
    LineRequest,
    Money,
    Movement,
    MovementKind,
)
from gateway.settings import Settings
from gateway.stock import rows
from gateway.stock.holds import Held, Holds, hold_id, order_id
from gateway.stock.movements import Movements

SHOW = "tonight"
SHIP = Fulfillment()
PRICE = 500
OPENED_AT = "2026-11-21T20:00:00.000Z"

Place = tuple[str, str]
"""A sku and a location."""


def settings_for(redis_url: str, shop: str, **changes: int | str) -> Settings:
    """Settings of a gateway for a shop, everything else by default."""
    settings = read(
        {
            "REDIS_URL": redis_url,
            "STRIPE_API_KEY": "sk_test_0123456789abcdef",
            "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef",
            "HOLDFAST_SECRET": "a-secret-of-the-tests-0123456789",
            "HOLDFAST_SHOP": shop,
            "HOLDFAST_WEBHOOK_TARGETS": "127.0.0.0/8",
        }
    )
    return msgspec.structs.replace(settings, **changes)


@dataclass
class Stall:
    """What tests do in a shop, in short words."""

    lane: Lane
    settings: Settings
    holds: Holds = field(init=False)
    movements: Movements = field(init=False)
    records: Records = field(init=False)

    def __post_init__(self) -> None:
        self.holds = Holds(self.lane, self.settings)
        self.movements = Movements(self.lane, self.settings)
        self.records = Records(self.lane, self.settings)

    @property
    def shop(self) -> str:
        return self.settings.shop

    @property
    def keys(self) -> ShopKeys:
        return ShopKeys(self.shop)

    async def opens(self) -> None:
        """The show is live."""
        await self.lane.command("HSET", self.keys.shows, f"{SHOW}:state", "live")

    async def lists(self, sku: str, limit: int | None = None) -> None:
        """A product is in the catalogue."""
        entry = CatalogEntry(sku, sku, Money(PRICE, "EUR"), limit_per_shopper=limit)
        await self.lane.command("HSET", self.keys.catalog, sku, msgspec.json.encode(entry))

    async def sells(self, sku: str, units: int, *, limit: int | None = None) -> None:
        """A product is on sale in the live show."""
        await self.opens()
        await self.lists(sku, limit)
        (result,) = await self.movements.apply(self.shop, (moved(f"in-{sku}", sku, units),))
        assert result.status == "applied"

    async def reserves(
        self, shopper: str, key: str, *lines: tuple[str, int], pickup: str | None = None
    ) -> Held:
        wanted = tuple(LineRequest(sku, units) for sku, units in lines)
        fulfillment = Fulfillment("pickup", pickup) if pickup else SHIP
        return await self.holds.reserve(self.shop, shopper, SHOW, key, wanted, fulfillment)

    async def begins(self, shopper: str, held: Held, token: str = "pm_card_visa") -> str:
        """A payment for a hold begins; returns the order."""
        return await self.records.begin(
            self.shop, shopper, checkout(held.hold.id, held.hold.total.amount, token)
        )

    async def pays(self, shopper: str, held: Held) -> Record:
        """A payment for a hold is under way; returns its record."""
        return await self.record(await self.begins(shopper, held))

    async def record(self, order: str) -> Record:
        record = await self.records.find(self.shop, order)
        assert record is not None
        return record

    async def commits(self, record: Record) -> None:
        await self.records.commit(self.shop, record, f"evt_{record.order}", b"{}")

    async def available(self) -> dict[str, int]:
        return await self.movements.available(self.shop)

    def hold_of(self, shopper: str, key: str) -> str:
        return hold_id(self.shop, shopper, key)

    def order_of(self, shopper: str, key: str) -> str:
        return order_id(self.hold_of(shopper, key))

    async def lapses(self, hold: str, shopper: str) -> None:
        """The deadline of an active hold, and the budget of its payment, are over."""
        await self.lane.command("HSET", self.keys.hold(hold), "expires_at", 1000)
        await self.lane.command("ZADD", self.keys.deadlines, "XX", 1000, f"{hold}:{shopper}")
        order = self.keys.order(order_id(hold))
        if await self.lane.command("EXISTS", order):
            await self.lane.command("HSET", order, "budget_until", 1000)

    async def books(self) -> "Books":
        return await read_books(self.lane, self.keys)


def moved(
    reference: str,
    sku: str,
    units: int,
    *,
    kind: MovementKind = "received",
    location: str = "main",
    at: str = OPENED_AT,
) -> Movement:
    return Movement(reference, kind, sku, location, units, at, "test")


def checkout(hold: str, amount: int, token: str = "pm_card_visa") -> Checkout:
    return Checkout(
        1, hold, Money(amount, "EUR"), Payment(payment_method=token), Contact("ann@example.com")
    )


@dataclass(frozen=True)
class Entry:
    """One movement of the ledger."""

    kind: str
    place: Place
    quantity: int
    deltas: tuple[int, int, int, int]
    reference: str
    version: int
    first_unit: int


@dataclass(frozen=True)
class Books:
    """Everything a shop has written about its stock."""

    version: int
    stock: dict[Place, rows.Row]
    ledger: list[Entry]
    holds: dict[str, dict[str, bytes]]
    deadlines: set[str]

    def drifts(self) -> list[str]:
        """What does not add up; empty when all is well."""
        return [
            *self._sums(),
            *self._holds(),
            *self._resolutions(),
            *self._units(),
            *(
                f"negative: {row}"
                for row in self.stock.values()
                if min(row.held, row.committed) < 0
            ),
        ]

    def _sums(self) -> list[str]:
        sums: dict[Place, list[int]] = {place: [0, 0, 0, 0] for place in self.stock}
        for entry in self.ledger:
            for at, delta in enumerate(entry.deltas):
                sums[entry.place][at] += delta
        return [
            f"{place}: the ledger says {sums[place]}, the row {row}"
            for place, row in self.stock.items()
            if sums[place] != [row.on_hand, row.safety_stock, row.held, row.committed]
        ]

    def _holds(self) -> list[str]:
        held: Counter[Place] = Counter()
        active = {hold for hold, facts in self.holds.items() if facts["state"] == b"active"}
        for hold in active:
            for line in msgspec.json.decode(self.holds[hold]["lines"]):
                held[line["sku"], line["location"]] += line["quantity"]
        wrong = [
            f"{place}: active holds have {held[place]}, the row {row.held}"
            for place, row in self.stock.items()
            if held[place] != row.held
        ]
        if self.deadlines != active:
            wrong.append(f"deadlines without an active hold, or without: {self.deadlines ^ active}")
        return wrong

    def _resolutions(self) -> list[str]:
        """Every line of a hold is held once, and resolved at most once, as its state says."""
        wrong = []
        for hold, facts in self.holds.items():
            lines = len(msgspec.json.decode(facts["lines"]))
            kinds = Counter(entry.kind for entry in self.ledger if entry.reference == hold)
            state = facts["state"].decode()
            expected = {"held": lines} if state == "active" else {"held": lines, state: lines}
            if kinds != Counter(expected):
                wrong.append(f"{hold} is {state}, the ledger says {dict(kinds)}")
        return wrong

    def _units(self) -> list[str]:
        numbers = Counter(
            (*entry.place, entry.first_unit + unit)
            for entry in self.ledger
            if entry.kind == "committed"
            for unit in range(entry.quantity)
        )
        return [f"unit {unit} sold {times} times" for unit, times in numbers.items() if times > 1]


async def read_books(lane: Lane, keys: ShopKeys) -> Books:
    """Read a shop's books; its references tell which holds there are."""
    version, stock, entries, deadlines = await asyncio.gather(
        lane.command("HGET", keys.meta, "version"),
        lane.command("HGETALL", keys.stock),
        lane.command("XRANGE", keys.ledger, "-", "+"),
        lane.command("ZRANGE", keys.deadlines, 0, -1),
    )
    ledger = [_entry(pairs(fields)) for _, fields in entries]
    ids = {entry.reference for entry in ledger if entry.kind == "held"}
    holds = await asyncio.gather(*(lane.command("HGETALL", keys.hold(hold)) for hold in ids))
    return Books(
        version=int(version or 0),
        stock={
            (sku, row.location): row
            for sku, packed in pairs(stock).items()
            for row in rows.decode(packed)
        },
        ledger=ledger,
        holds={hold: pairs(fields) for hold, fields in zip(ids, holds, strict=True)},
        deadlines={member.decode().partition(":")[0] for member in deadlines},
    )


def _entry(fields: dict[str, bytes]) -> Entry:
    on_hand, safety_stock, held, committed = (
        int(fields[name]) for name in ("on_hand", "safety_stock", "held", "committed")
    )
    return Entry(
        kind=fields["kind"].decode(),
        place=(fields["sku"].decode(), fields["location"].decode()),
        quantity=int(fields["quantity"]),
        deltas=(on_hand, safety_stock, held, committed),
        reference=fields["reference"].decode(),
        version=int(fields["version"]),
        first_unit=int(fields.get("first_unit", b"0")),
    )
