"""One purchase, step by step: what a test of payments does with it, in short words."""

import contextlib
from collections.abc import AsyncIterator

from gateway.checkout.record import Record
from gateway.checkout.settle import Settler
from gateway.keys import ShopKeys
from gateway.messages import Checkout, CheckoutFrame, Payment
from gateway.model import Contact, Fulfillment, LineRequest, Money, Movement
from gateway.stock.holds import order_id
from gateway.stock.sweeper import expire_due
from tests.bank import Bank
from tests.integration.conftest import SHOW, Corner

CARD = "pm_card_visa"
SECOND_STEP = "pm_card_authenticationRequired"
DECLINED = "pm_card_chargeDeclinedInsufficientFunds"


class Purchase:
    """Ann, who holds a tee of a corner, and what becomes of it."""

    def __init__(self, corner: Corner, bank: Bank) -> None:
        self.corner, self.bank, self.shop = corner, bank, corner.shop
        self.rooms = corner.rooms
        self.hold = ""

    @property
    def settler(self) -> Settler:
        return self.rooms.settler

    @property
    def order(self) -> str:
        return order_id(self.hold)

    async def reserves(self, key: str = "k", *, of: int = 5) -> None:
        """The corner has so many tees, and ann presses *Buy*."""
        await self.corner.sells("tee", of)
        lines = (LineRequest("tee", 1),)
        held = await self.rooms.holds.reserve(self.shop, "ann", SHOW, key, lines, Fulfillment())
        self.hold = held.hold.id

    async def begins(self, token: str = CARD) -> str:
        """Begin a payment, as a shopper's frame does before it settles."""
        payment = Payment(payment_method=token)
        command = Checkout(1, self.hold, Money(1500, "EUR"), payment, Contact("ann@example.com"))
        return await self.rooms.records.begin(self.shop, "ann", command)

    async def settle(self) -> str:
        return (await self.settler.settle(self.shop, self.order)).state

    async def frame(self, token: str = CARD) -> CheckoutFrame:
        """Pay, as far as it goes."""
        await self.begins(token)
        return await self.settler.settle(self.shop, self.order)

    async def second_step(self, frame: CheckoutFrame, outcome: str = "succeed") -> None:
        """Answer the bank, which a frame asks for."""
        assert frame.client_secret
        await self.bank.second_step(frame.client_secret, outcome)

    async def pays(self, token: str = CARD) -> str:
        await self.begins(token)
        return await self.settle()

    async def record(self) -> Record:
        record = await self.rooms.records.find(self.shop, self.order)
        assert record
        return record

    async def deadline_passes(self) -> None:
        """The hold's deadline passes; nobody has noticed yet."""
        keys, lane = ShopKeys(self.shop), self.rooms.lane
        await lane.command("HSET", keys.hold(self.hold), "expires_at", 1)
        await lane.command("ZADD", keys.deadlines, 1, f"{self.hold}:ann")

    async def lapses(self) -> None:
        """The hold's deadline passes, and the sweep comes by."""
        await self.deadline_passes()
        assert await expire_due(self.rooms.lane, self.rooms.settings, self.shop) == 1

    async def walk_in(self, units: int) -> None:
        """Somebody buys in the shop itself."""
        now = "2026-11-21T20:00:00.000Z"
        sold = Movement(f"till-{units}", "adjusted", "tee", "main", units, now, "test")
        await self.rooms.movements.apply(self.shop, (sold,))

    async def charged(self) -> list[tuple[str, int]]:
        """Status and money received, of every intent of the order."""
        found = await self.bank.intents(self.order)
        return [(one["status"], one["amount_received"]) for one in found]

    async def left(self) -> int:
        return (await self.rooms.movements.available(self.shop))["tee"]


@contextlib.asynccontextmanager
async def holding(corner: Corner) -> AsyncIterator[Purchase]:
    """A shopper who holds a unit; the bank fails as it is told until the end of the block."""
    made = Purchase(corner, Bank(corner.stripe_url))
    await made.reserves()
    try:
        yield made
    finally:
        await made.bank.fails()
