"""A purchase that is paid for at the Stripe sandbox, and what becomes of it."""

from collections import Counter
from typing import Any

import msgspec

from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.checkout.refund import Refund, RefundRequest
from gateway.checkout.refunds import Refunds
from gateway.keys import ShopKeys
from gateway.lane import pairs
from gateway.messages import Checkout, Payment
from gateway.model import Contact, Fulfillment, LineRequest, Money, Movement
from gateway.rooms import Rooms
from gateway.stock import rows
from gateway.stock.audit import audit
from gateway.stock.holds import order_id
from tests.bank import Bank

SHOW = "tonight"
TEE, CAP = 1500, 700
TOTAL, SOLD = 2 * TEE + CAP, 3


class Bought:
    """Ann's two tees and a cap, of five tees and three caps on sale."""

    def __init__(self, rooms: Rooms, shop: str, bank: Bank) -> None:
        self.rooms, self.shop, self.bank, self.order = rooms, shop, bank, ""
        self.refunds = refunds_of(rooms)

    @property
    def keys(self) -> ShopKeys:
        return ShopKeys(self.shop)

    async def begins(self) -> None:
        """Ann holds them, and her payment begins."""
        lines = (LineRequest("tee", 2), LineRequest("cap", 1))
        held = await self.rooms.holds.reserve(self.shop, "ann", SHOW, "k", lines, Fulfillment())
        payment, total = Payment(payment_method="pm_card_visa"), Money(TOTAL, "EUR")
        command = Checkout(1, held.hold.id, total, payment, Contact("ann@example.com"))
        await self.rooms.records.begin(self.shop, "ann", command)
        self.order = order_id(held.hold.id)

    async def pays(self) -> None:
        await self.begins()
        await self.rooms.settler.settle(self.shop, self.order)
        assert (await self.record()).phase is Phase.CAPTURED

    async def record(self) -> Record:
        record = await self.rooms.records.find(self.shop, self.order)
        assert record
        return record

    async def begin(self, key: str, **request: Any) -> Refund:
        wanted = msgspec.convert(request, RefundRequest)
        return await self.refunds.begin(self.shop, self.order, key, wanted)

    async def go_on(self) -> bool:
        return await self.refunds.go_on(self.shop, await self.record())

    async def refund(self, key: str, **request: Any) -> Refund:
        """Begin a refund and go on with it."""
        refund = await self.begin(key, **request)
        await self.go_on()
        return await self.again(refund)

    async def again(self, refund: Refund) -> Refund:
        """A refund as it is now."""
        return (await self.refunds.read(self.shop, self.order)).refunds[refund.n - 1]

    async def paid_back(self) -> list[int]:
        """Amounts of the refunds Stripe has, oldest first."""
        listed = await self.bank.refunds((await self.record()).intent or "")
        return [refund["amount"] for refund in reversed(listed) if refund["status"] != "failed"]

    async def told(self) -> list[dict[str, Any]]:
        """What the POS gets of the order, oldest first."""
        entries = await self.rooms.lane.command("XRANGE", self.keys.orders, "-", "+")
        events = [msgspec.json.decode(pairs(fields)["event"]) for _, fields in entries]
        return [event["data"] for event in events if event["subject"] == self.order]

    async def row(self, sku: str) -> tuple[int, int]:
        """Units on hand, and committed."""
        packed = await self.rooms.lane.command("HGET", self.keys.stock, sku)
        (row,) = rows.decode(packed)
        return row.on_hand, row.committed

    async def left(self) -> dict[str, int]:
        return await self.rooms.movements.available(self.shop)

    async def unsettled(self) -> int:
        return int(await self.rooms.lane.command("ZCARD", self.keys.unsettled))

    async def hands_over(self, sku: str, units: int) -> None:
        """The shopper has some of it."""
        move = Movement(
            f"out-{sku}", "fulfilled", sku, "main", units, "2026-11-21T21:00:00.000Z", "test"
        )
        (result,) = await self.rooms.movements.apply(self.shop, (move,))
        assert result.status == "applied"

    async def adds_up(self) -> None:
        """No drift; versions in order; the events, the record and Stripe say the same."""
        verdict = await audit(self.rooms.lane, self.shop)
        assert verdict.drift == ()
        assert verdict.committed_units == SOLD, "a refund undoes no sale: its units are returned"
        told = await self.told()
        assert [order["order_version"] for order in told] == list(range(1, len(told) + 1))
        done = Counter(refund["amount"]["amount"] for refund in told[-1].get("refunds", []))
        kept = (await self.refunds.read(self.shop, self.order)).refunds
        assert done == Counter(refund.amount for refund in kept if refund.state == "done")
        assert done == Counter(await self.paid_back())
        assert done.total() == len(told) - 1


def euros(amount: int) -> dict[str, Any]:
    """An amount as a request has it."""
    return {"amount": amount, "currency": "EUR"}


def units(**lines: int) -> list[dict[str, Any]]:
    """Lines as a request has them."""
    return [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()]


def refunds_of(rooms: Rooms) -> Refunds:
    """Refunds over the rooms' lane and payments."""
    encode = rooms.settler.encode_event
    return Refunds(rooms.lane, rooms.payments, rooms.settings, rooms.clock, encode)
