"""Shoppers who want the same few units while Redis fails, and what must be true afterwards.

They buy through the rooms of several gateways, each with a way to Redis of its own, and pay at a
real Stripe sandbox. Whatever is not answered they send again, with the same key; whoever is told
that there is no such order begins again, with the same key too.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.checkout import marks
from gateway.checkout.payment import Payments
from gateway.clock import SystemClock
from gateway.errors import (
    Frozen,
    HoldAlreadyCommitted,
    HoldfastError,
    NotFound,
    Overloaded,
    Unavailable,
)
from gateway.keys import ShopKeys
from gateway.lane import pairs, served
from gateway.messages import Checkout, Payment
from gateway.model import (
    CatalogEntry,
    Contact,
    Fulfillment,
    LineRequest,
    Money,
    Movement,
    Show,
    Units,
)
from gateway.rooms import Rooms, join
from gateway.settings import Settings
from gateway.stock.audit import audit
from gateway.stock.holds import Held, order_id
from gateway.sweep import Sweep
from tests.bank import Bank

SHOW = "tonight"
PRICE = Money(1500, "EUR")
CARD = "pm_card_visa"
PATIENCE_S = 30.0
AGAIN_S = 0.01
ARRIVE_WITHIN_S = 0.25
SWEEP_EVERY_S = 0.25
OPENED_AT = "2026-11-21T20:00:00.000Z"

Unit = tuple[str, str, int]
"""sku, location, unit number."""


@contextlib.asynccontextmanager
async def open_gateways(each: Sequence[Settings], rng: random.Random) -> AsyncIterator[list[Rooms]]:
    """The rooms of a gateway for each of these settings, with a lane of its own."""
    async with contextlib.AsyncExitStack() as stack:
        gateways = []
        for settings in each:
            lane = await stack.enter_async_context(served(settings))
            payments = Payments(settings, lane, SystemClock())
            stack.push_async_callback(payments.aclose)
            rooms = join(settings, SystemClock(), random.Random(rng.random()), lane, payments)
            stack.push_async_callback(rooms.recovery.aclose)
            gateways.append(rooms)
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
        assert result.status in {"applied", "duplicate"}, result


@dataclass
class Throng:
    """Shoppers of one shop, who come to its gateways in turn."""

    gateways: Sequence[Rooms]
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
                    rooms = self.gateways[number % len(self.gateways)]
                    group.create_task(self._shops(rooms, f"s{number}", after_s))
        self.waiting = {f"s{n}" for n in range(shoppers)} - self.heard.keys()

    async def _shops(self, rooms: Rooms, name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                self.heard[name] = await self.buys(rooms, name)
                return
            except Frozen:
                await self.waits(rooms)
            except (Unavailable, Overloaded, NotFound):
                await asyncio.sleep(AGAIN_S)
            except HoldfastError as refusal:
                self.heard[name] = refusal.code
                return

    async def waits(self, rooms: Rooms) -> None:
        """What a session does while the shop is rebuilt."""
        with contextlib.suppress(Frozen):
            await rooms.recovery.served(self.shop)

    @contextlib.asynccontextmanager
    async def swept(self, sweep: Sweep) -> AsyncIterator[None]:
        """The sweep comes by the shop all the time."""

        async def run() -> None:
            while True:
                with contextlib.suppress(Unavailable):
                    await sweep.round(self.shop)
                await asyncio.sleep(SWEEP_EVERY_S)

        sweeping = asyncio.create_task(run())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await sweep.settled()

    async def reserves(self, rooms: Rooms, name: str, sku: str = "tee") -> Held:
        """A shopper presses *Buy*."""
        lines = (LineRequest(sku, 1),)
        return await rooms.holds.reserve(self.shop, name, SHOW, "k", lines, Fulfillment())

    async def begins(self, rooms: Rooms, name: str, held: Held) -> str:
        """A shopper presses *Pay*; returns the order."""
        self.orders[name] = order_id(held.hold.id)
        payment, contact = Payment(payment_method=CARD), Contact(f"{name}@example.com")
        command = Checkout(1, held.hold.id, held.hold.total, payment, contact)
        return await rooms.records.begin(self.shop, name, command)

    async def buys(self, rooms: Rooms, name: str, sku: str = "tee") -> str:
        """One turn of a shopper: hold, pay, and wait for the end.

        Raises:
            HoldfastError: what a gateway says; ``NotFound`` when hold or order is lost.
        """
        held = await self.reserves(rooms, name, sku)
        if held.hold.state in {"released", "expired"}:
            return held.hold.state
        with contextlib.suppress(HoldAlreadyCommitted):
            await self.begins(rooms, name, held)
        while True:
            frame = await rooms.settler.settle(self.shop, self.orders[name])
            if frame.state in {"confirmed", "declined"}:
                return frame.state
            await asyncio.sleep(AGAIN_S)


@dataclass(frozen=True)
class Charged:
    """The payments taken for one order."""

    times: int
    units: Units
    """What Stripe was told they pay for."""


@dataclass(frozen=True)
class Ending:
    """What Redis and Stripe say when everybody has heard the last word."""

    faults: list[str]
    """Whatever must never be; empty when all is well."""
    untold: list[str]
    """Orders that were confirmed, and the till is not told of them once."""
    captured: int


async def ending(throng: Throng, bank: Bank, stock: int, since_s: int) -> Ending:
    """Look everything over that was bought in one shop since a moment, by Stripe's clock."""
    rooms, shop = throng.gateways[0], throng.shop
    for order in await rooms.lane.command("ZRANGE", ShopKeys(shop).unsettled, 0, -1):
        await rooms.settler.settle(shop, order.decode())  # as the sweep will
    charged = await _charged(bank, shop, since_s)
    records = {order: await rooms.records.find(shop, order) for order in charged}
    told = await _told(rooms, shop)
    faults = [f"{name} waits for ever" for name in sorted(throng.waiting)]
    for order, payment in charged.items():
        if payment.times > 1:
            faults.append(f"{order} charged {payment.times} times")
        record = records[order]
        if record is None or record.phase != "captured":
            faults.append(f"{order} charged, and Redis says {record and record.phase.value}")
        elif record.units != payment.units:
            faults.append(f"{order} paid for {payment.units} and has {record.units}")
    confirmed = throng.confirmed
    faults += [f"{order} confirmed, not charged" for order in confirmed if order not in charged]
    units = Counter(unit for payment in charged.values() for unit in _each(payment.units))
    faults += [f"unit {unit} captured {times} times" for unit, times in units.items() if times > 1]
    captured = sum(payment.times for payment in charged.values())
    if captured > stock:
        faults.append(f"{captured} units captured of {stock}")
    faults += [f"drift: {drift}" for drift in (await audit(rooms.lane, shop)).drift]
    untold = [f"{order}: {told[order]} times" for order in confirmed if told[order] != 1]
    return Ending(faults, untold, captured)


async def _charged(bank: Bank, shop: str, since_s: int) -> dict[str, Charged]:
    """Order → what was charged for it."""
    charged: dict[str, Charged] = {}
    for intent in await bank.since(since_s):
        mark = marks.read(intent["metadata"])
        if mark is None or mark.shop != shop or not intent["amount_received"]:
            continue
        paid = marks.read_units(intent["metadata"], PRICE.currency)
        before = charged.get(mark.order, Charged(0, ()))
        units = before.units + (paid.units if paid else ())
        charged[mark.order] = Charged(before.times + 1, units)
    return charged


async def _told(rooms: Rooms, shop: str) -> Counter[str]:
    """Order → different events of it that wait for the till."""
    entries = await rooms.lane.command("XRANGE", ShopKeys(shop).orders, "-", "+")
    told = {(words["order"], words["event_id"]) for words in (pairs(flat) for _, flat in entries)}
    return Counter(order.decode() for order, _ in told)


def _each(units: Units) -> Iterator[Unit]:
    for sku, location, first, quantity in units:
        yield from ((sku, location, number) for number in range(first, first + quantity))


def quick(settings: Settings, stripe_url: str, replicas: int) -> Settings:
    """Settings for a round that is over soon, at a Stripe without limits."""
    return msgspec.structs.replace(
        settings,
        stripe_url=stripe_url,
        wait_replicas=replicas,
        # A machine may be busy; whoever is killed is noticed at once all the same.
        redis_timeout_ms=2_000,
        wait_timeout_ms=50,
        stripe_rate_per_s=10_000,
        stripe_account_rate_per_s=40_000,
    )
