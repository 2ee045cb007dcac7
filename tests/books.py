"""A shop whose books are made to differ: orders as the gateway leaves them, and what befalls them
behind its back, at Stripe, in Redis and in the order stream.
"""

from dataclasses import dataclass, replace
from typing import Any

from gateway.checkout.payment import Intent
from gateway.checkout.record import Record
from gateway.checkout.settle import Settler
from gateway.clock import SystemClock
from gateway.keys import ShopKeys
from gateway.messages import Checkout, Payment
from gateway.model import Contact, Fulfillment, LineRequest, Money
from gateway.reconcile.differences import LYING_MS
from gateway.reconcile.findings import Mend, Reconciliation
from gateway.reconcile.reconciler import Reconciler
from gateway.stock.holds import order_id
from tests.integration.conftest import SHOW, Corner

CARD = "pm_card_visa"
SECOND_STEP = "pm_card_authenticationRequired"
LATER_MS = LYING_MS + 60_000
DAY_MS = 86_400_000


class Later(SystemClock):
    """The same clock, when everything that is there now has been lying for too long."""

    def now_ms(self) -> int:
        return super().now_ms() + LATER_MS


@dataclass
class Books:
    """A corner, and the hand that tampers with it."""

    corner: Corner

    @property
    def shop(self) -> str:
        return self.corner.shop

    @property
    def keys(self) -> ShopKeys:
        return ShopKeys(self.shop)

    @property
    def settler(self) -> Settler:
        return self.corner.rooms.settler

    def reconciler(self, *, later: bool = True) -> Reconciler:
        return Reconciler(replace(self.settler, clock=Later()) if later else self.settler)

    async def look(self, mend: Mend = Mend.NOTHING, *, later: bool = True) -> Reconciliation:
        """Reconcile this shop over the last day, a quarter of an hour from now unless told."""
        since_ms = SystemClock().now_ms() - DAY_MS
        return await self.reconciler(later=later).look(self.shop, since_ms, mend)

    async def names(self, *, later: bool = True) -> dict[str, int]:
        """The differences there are."""
        return (await self.look(later=later)).differences

    # Orders

    async def begins(self, shopper: str = "ann", token: str = CARD) -> str:
        """A payment is begun, and not settled; returns the order."""
        rooms, lines = self.corner.rooms, (LineRequest("tee", 1),)
        held = await rooms.holds.reserve(self.shop, shopper, SHOW, "k", lines, Fulfillment())
        payment, contact = Payment(payment_method=token), Contact("ann@example.com")
        checkout = Checkout(1, held.hold.id, held.hold.total, payment, contact)
        await rooms.records.begin(self.shop, shopper, checkout)
        return order_id(held.hold.id)

    async def sells(self, shopper: str = "ann") -> str:
        """An order that is sold, captured and handed on."""
        order = await self.begins(shopper)
        assert (await self.settler.settle(self.shop, order)).state == "confirmed"
        return order

    async def record(self, order: str) -> Record:
        record = await self.settler.records.find(self.shop, order)
        assert record is not None
        return record

    async def sets(self, order: str, **fields: str | int) -> None:
        """Fields of a record change behind the scripts' back."""
        words = [word for pair in fields.items() for word in pair]
        await self.settler.lane.command("HSET", self.keys.order(order), *words)

    async def forgets(self, order: str, *fields: str) -> None:
        """A record, or fields of it, are lost."""
        key, lane = self.keys.order(order), self.settler.lane
        await (lane.command("HDEL", key, *fields) if fields else lane.command("DEL", key))

    async def available(self) -> int:
        return (await self.corner.rooms.movements.available(self.shop))["tee"]

    # Money

    @property
    def _stripe(self) -> Any:
        return self.settler.payments.provider.client.v1

    async def authorizes(self, order: str, attempt: int = 1, **changes: Any) -> str:
        """An intent with our metadata is made behind our back; returns its id."""
        metadata = {"env": "main", "shop": self.shop, "order": order, "hold": "h_" + order[2:]}
        params = {
            "amount": 1500,
            "currency": "eur",
            "capture_method": "manual",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
            "payment_method": CARD,
            "metadata": metadata | {"attempt": str(attempt), "epoch": "1"},
        }
        made = await self._stripe.payment_intents.create_async(params | changes)
        return str(made.id)

    async def captures(self, intent: str, amount: int | None = None) -> None:
        params = {} if amount is None else {"amount_to_capture": amount}
        await self._stripe.payment_intents.capture_async(intent, params)

    async def cancels(self, intent: str) -> None:
        await self._stripe.payment_intents.cancel_async(intent)

    async def refunds(self, intent: str, amount: int) -> None:
        await self._stripe.refunds.create_async({"payment_intent": intent, "amount": amount})

    async def money(self, intent: str | None) -> tuple[str, int, int]:
        """An intent's status, what was received and what was given back."""
        params = {"expand": ["latest_charge"]}
        found = await self._stripe.payment_intents.retrieve_async(intent, params)
        charge = found.latest_charge
        return found.status, found.amount_received, charge.amount_refunded if charge else 0

    async def read(self, intent: str) -> Intent:
        return await self.settler.payments.read(intent)

    # The stream

    async def entries(self) -> list[tuple[bytes, list[bytes]]]:
        found = await self.settler.lane.command("XRANGE", self.keys.orders, "-", "+")
        return [(entry, fields) for entry, fields in found]

    async def drops(self, entry: bytes) -> None:
        await self.settler.lane.command("XDEL", self.keys.orders, entry)

    async def appends(self, fields: list[bytes]) -> None:
        await self.settler.lane.command("XADD", self.keys.orders, "*", *fields)


def price() -> Money:
    """What a tee costs."""
    return Money(1500, "EUR")
