"""Shoppers who want the same few units while Redis fails, and what must be true afterwards.

They buy through the rooms of several gateways, each with a way to Redis of its own, and pay at a
real Stripe sandbox. Whatever is not answered they send again, with the same key; whoever is told
that there is no such order begins again, with the same key too.
"""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.checkout.payment import Intent, Payments
from gateway.checkout.records import Record
from gateway.checkout.turns import OnWait
from gateway.clock import SystemClock
from gateway.errors import HoldAlreadyCommitted, HoldfastError, NotFound, Overloaded, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import pairs, served
from gateway.messages import Checkout, Payment
from gateway.model import CatalogEntry, Contact, Fulfillment, LineRequest, Money, Movement, Show
from gateway.rooms import Rooms, join
from gateway.settings import Settings
from gateway.stock.audit import audit
from gateway.stock.holds import Held, order_id
from tests.bank import Bank

SHOW = "tonight"
PRICE = Money(1500, "EUR")
CARD = "pm_card_visa"
PATIENCE_S = 30.0
AGAIN_S = 0.01
ARRIVE_WITHIN_S = 0.25
OPENED_AT = "2026-11-21T20:00:00.000Z"

Unit = tuple[str, str, int]
"""sku, location, unit number."""


class Witness(Payments):
    """Stripe, and a note of which units each order had when its money was taken."""

    sold: dict[str, set[Unit]]

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.sold = defaultdict(set)

    async def capture(self, shop: str, record: Record, on_wait: OnWait | None = None) -> Intent:
        self.sold[record.order] |= {
            (sku, location, number)
            for sku, location, first, units in record.units
            for number in range(first, first + units)
        }
        return await super().capture(shop, record, on_wait)


@dataclass(frozen=True)
class Gateway:
    """The rooms of one gateway, and what it took money for."""

    rooms: Rooms
    witness: Witness


@contextlib.asynccontextmanager
async def open_gateways(
    each: Sequence[Settings], rng: random.Random
) -> AsyncIterator[list[Gateway]]:
    """A gateway for each of these settings, with a lane of its own."""
    async with contextlib.AsyncExitStack() as stack:
        gateways = []
        for settings in each:
            lane = await stack.enter_async_context(served(settings))
            witness = Witness(settings, lane, SystemClock())
            stack.push_async_callback(witness.aclose)
            rooms = join(settings, SystemClock(), random.Random(rng.random()), lane, witness)
            gateways.append(Gateway(rooms, witness))
        yield gateways


async def opens_shop(rooms: Rooms, shop: str, **units: int) -> None:
    """A live show in which so many of each product are on sale."""
    entries = tuple(CatalogEntry(sku, f"The {sku}", PRICE) for sku in units)
    await rooms.catalog.put(shop, entries)
    await rooms.shows.put(shop, Show(SHOW, "Tonight's show"))
    await rooms.shows.move(shop, SHOW, "live")
    for sku, number in units.items():
        received = Movement(f"in-{sku}", "received", sku, "main", number, OPENED_AT, "test")
        (result,) = await rooms.movements.apply(shop, (received,))
        assert result.status == "applied"


@dataclass
class Throng:
    """Shoppers of one shop, who come to its gateways in turn."""

    gateways: Sequence[Gateway]
    shop: str
    rng: random.Random
    heard: dict[str, str] = field(default_factory=dict)
    """Shopper → the last word."""
    orders: dict[str, str] = field(default_factory=dict)
    """Shopper → order."""
    waiting: set[str] = field(default_factory=set)
    """Who never heard the last word."""

    @property
    def confirmed(self) -> list[str]:
        """Orders whose shoppers heard that they are bought."""
        return [self.orders[name] for name, word in self.heard.items() if word == "confirmed"]

    async def all_shop(self, shoppers: int) -> None:
        """So many want a tee; returns when each has, in the end, heard the last word."""
        arrivals = [self.rng.random() * ARRIVE_WITHIN_S for _ in range(shoppers)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                for number, after_s in enumerate(arrivals):
                    rooms = self.gateways[number % len(self.gateways)].rooms
                    group.create_task(self._shops(rooms, f"s{number}", after_s))
        self.waiting = {f"s{n}" for n in range(shoppers)} - self.heard.keys()

    async def _shops(self, rooms: Rooms, name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                self.heard[name] = await self.buys(rooms, name)
                return
            except (Unavailable, Overloaded, NotFound):
                await asyncio.sleep(AGAIN_S)
            except HoldfastError as refusal:
                self.heard[name] = refusal.code
                return

    async def reserves(self, rooms: Rooms, name: str, sku: str = "tee") -> Held:
        """A shopper presses *Buy*."""
        lines = (LineRequest(sku, 1),)
        return await rooms.holds.reserve(self.shop, name, SHOW, "k", lines, Fulfillment())

    async def buys(self, rooms: Rooms, name: str, sku: str = "tee") -> str:
        """One turn of a shopper: hold, pay, and wait for the end.

        Raises:
            HoldfastError: what a gateway says; ``NotFound`` when hold or order is lost.
        """
        held = await self.reserves(rooms, name, sku)
        if held.hold.state in {"released", "expired"}:
            return held.hold.state
        self.orders[name] = order_id(held.hold.id)
        payment, contact = Payment(payment_method=CARD), Contact(f"{name}@example.com")
        command = Checkout(1, held.hold.id, held.hold.total, payment, contact)
        with contextlib.suppress(HoldAlreadyCommitted):
            await rooms.records.begin(self.shop, name, command)
        while True:
            frame = await rooms.settler.settle(self.shop, self.orders[name])
            if frame.state in {"confirmed", "declined"}:
                return frame.state
            await asyncio.sleep(AGAIN_S)


@dataclass(frozen=True)
class Ending:
    """What Redis and Stripe say when everybody has heard the last word."""

    faults: list[str]
    """Whatever must never be; empty when all is well."""
    captured: int


async def ending(throng: Throng, bank: Bank, stock: int, since_s: int) -> Ending:
    """Look everything over that was bought in one shop since a moment, by Stripe's clock."""
    rooms, shop = throng.gateways[0].rooms, throng.shop
    for order in await rooms.lane.command("ZRANGE", ShopKeys(shop).unsettled, 0, -1):
        await rooms.settler.settle(shop, order.decode())  # as the sweep will
    charged = await _charged(bank, shop, since_s)
    records = {order: await rooms.records.find(shop, order) for order in charged}
    delivered = await _delivered(rooms, shop)
    faults = [f"{name} waits for ever" for name in sorted(throng.waiting)]
    faults += [f"{order} charged {times} times" for order, times in charged.items() if times > 1]
    for order in throng.confirmed:
        record = records.get(order)
        if order not in charged:
            faults.append(f"{order} confirmed, not charged")
        elif record is None or record.phase != "captured":
            faults.append(f"{order} confirmed, and Redis says {record and record.phase.value}")
        elif delivered[order] != 1:
            faults.append(f"{order} confirmed, and told the till {delivered[order]} times")
    units = _units(throng.gateways, charged)
    faults += [f"unit {unit} captured {times} times" for unit, times in units.items() if times > 1]
    if sum(charged.values()) > stock:
        faults.append(f"{sum(charged.values())} units captured of {stock}")
    faults += [f"drift: {drift}" for drift in (await audit(rooms.lane, shop)).drift]
    return Ending(faults, sum(charged.values()))


async def _charged(bank: Bank, shop: str, since_s: int) -> Counter[str]:
    """Order → payments taken for it."""
    intents = await bank.since(since_s)
    return Counter(
        one["metadata"]["order"]
        for one in intents
        if one["metadata"].get("shop") == shop and one["amount_received"]
    )


async def _delivered(rooms: Rooms, shop: str) -> Counter[str]:
    """Order → different events of it that wait for the till."""
    entries = await rooms.lane.command("XRANGE", ShopKeys(shop).orders, "-", "+")
    told = {(pairs(words)["order"], pairs(words)["event_id"]) for _, words in entries}
    return Counter(order.decode() for order, _ in told)


def _units(gateways: Sequence[Gateway], charged: Counter[str]) -> Counter[Unit]:
    """Unit → orders that paid for it."""
    sold: defaultdict[str, set[Unit]] = defaultdict(set)
    for gateway in gateways:
        for order in charged:
            sold[order] |= gateway.witness.sold.get(order, set())
    return Counter(unit for units in sold.values() for unit in units)


def quick(settings: Settings, stripe_url: str, replicas: int) -> Settings:
    """Settings for a round that is over soon, at a Stripe without limits."""
    return msgspec.structs.replace(
        settings,
        stripe_url=stripe_url,
        wait_replicas=replicas,
        wait_timeout_ms=50,
        stripe_rate_per_s=10_000,
        stripe_account_rate_per_s=40_000,
    )
