"""Gateways that a test owns to the last await, and a street they stand in: one shop, one Stripe.

Every effect of a gateway passes a seam: each script and command on its way to a real Valkey, each
request of the real SDK on its way to the sandbox. What the seam does is the test's: count it, let
the process die there, or park it until it is let go. The sandbox is called without a socket and all
clocks are one that the test moves, so that a run is the same each time.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import httpx
import msgspec
import pytest
import stripe

from gateway.checkout.desk import Desk
from gateway.checkout.payment import Payments
from gateway.checkout.record import Record
from gateway.checkout.webhook import StripeWebhook
from gateway.clock import SystemClock
from gateway.errors import HoldfastError
from gateway.keys import ShopKeys
from gateway.lane import Lane, Word, pairs
from gateway.rooms import Rooms, join
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.stripe.app import build
from gateway.scripts import Script
from gateway.settings import Settings
from gateway.stock import rows
from gateway.stock.holds import Held
from gateway.sweep import Sweep
from tests.bank import Bank
from tests.stall import PRICE, Stall, settings_for

T = TypeVar("T")

CARD = "pm_card_visa"
SECOND_STEP = "pm_card_authenticationRequired"
DECLINED = "pm_card_chargeDeclinedInsufficientFunds"

NEWEST = 10
"""Intents among which an order's are looked for: one buyer comes after the other."""

Effect = Callable[[], Awaitable[T]]


class Seam(Protocol):
    """What every effect of a gateway passes."""

    async def passes(self, step: str, effect: Effect[T]) -> T:
        """Carry the effect out, or not, or later."""
        ...


class Open:
    """A seam that nothing is kept at."""

    async def passes(self, step: str, effect: Effect[T]) -> T:  # noqa: ARG002 - a seam's signature
        return await effect()


class Calendar(SystemClock):
    """The time of day for gateways, scripts and sandbox; it stands still until it is moved.

    It is an hour ahead of the machine's, for scripts go by the highest time they have seen.
    """

    def __init__(self) -> None:
        self.ms = SystemClock().now_ms() + 3_600_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000

    def seconds(self) -> float:
        return self.ms / 1000


class _SeamLane(Lane):
    """A lane whose requests pass its gateway's seam."""

    gateway: "Gateway"

    def _submit(
        self,
        words: tuple[Word, ...],
        key: Word | None,
        script: Script | None = None,
        *,
        durable: bool = False,
    ) -> asyncio.Future[Any]:
        async def effect() -> Any:
            return await Lane._submit(self, words, key, script, durable=durable)

        step = script.name if script else str(words[0])
        return asyncio.ensure_future(self.gateway.seam.passes(step, effect))


class _SeamTransport(httpx.AsyncBaseTransport):
    """The SDK's way to the sandbox, past its gateway's seam."""

    def __init__(self, gateway: "Gateway", sandbox: httpx.AsyncBaseTransport) -> None:
        self._gateway, self._sandbox = gateway, sandbox

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def effect() -> httpx.Response:
            try:
                response = await self._sandbox.handle_async_request(request)
                await response.aread()
            except ConnectionResetError as lost:
                raise httpx.ReadError("the reply is lost") from lost
            return response

        step = f"{request.method} {request.url.path.rpartition('/')[2]}"
        if request.url.path.rpartition("/")[2].startswith("pi_"):
            step = "GET intent"
        return await self._gateway.seam.passes(step, effect)


@dataclass
class Gateway:
    """A gateway process, as far as payments are concerned."""

    rooms: Rooms
    seam: Seam

    @property
    def shop(self) -> str:
        return self.rooms.settings.shop

    def starts(self, seam: Seam) -> None:
        """A new process in the old one's place; it remembers nothing."""
        self.seam = seam
        self.rooms.payments.provider._failures = 0

    def desk(self) -> Desk:
        return Desk(self.rooms.settler, self.rooms.settings, random.Random(1))

    async def checks_out(self, buyer: "Buyer", token: str = CARD) -> None:
        """A shopper's frame: begin the payment, then settle it."""
        with contextlib.suppress(HoldfastError):
            await self.begins(buyer, token)
            await self.settles(buyer)

    async def begins(self, buyer: "Buyer", token: str = CARD) -> None:
        stall = Stall(self.rooms.lane, self.rooms.settings)
        await stall.begins(buyer.name, buyer.held, token)

    async def settles(self, buyer: "Buyer") -> None:
        """One try of it. What went wrong is left to whoever comes next, as in the gateway."""
        with contextlib.suppress(HoldfastError):
            await self.rooms.settler.settle(self.shop, buyer.order)

    async def settles_at_its_desk(self, buyer: "Buyer") -> None:
        """As a shopper's frame has it settled."""
        await self.desk().settle(self.shop, buyer.order, buyer.held.hold.id)

    async def hears(self, body: bytes) -> None:
        """A webhook comes in, signed."""
        rooms = self.rooms
        secret, now_s = rooms.settings.stripe_webhook_secret, rooms.clock.now_ms() // 1000
        signature: str = stripe.WebhookSignature.generate_signature_header(
            body.decode(), secret, now_s
        )
        receiver = StripeWebhook(self.desk(), rooms.unknown, rooms.settings, rooms.clock)
        await receiver.receive(body, signature)

    async def sweeps(self) -> None:
        """One round of the sweep, and what it began."""
        sweep = Sweep(self.rooms)
        await sweep.round(self.shop)
        await sweep.settled()


@dataclass
class Buyer:
    """A shopper who holds one unit of a product that nobody else wants, unless a test says so."""

    name: str
    held: Held
    order: str

    @property
    def sku(self) -> str:
        return f"sku-{self.name}"


class NearBank(Bank):
    """The sandbox, asked without a socket."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        super().__init__("http://sandbox")
        key = {"Authorization": "Bearer sk_test_0123456789abcdef"}
        client = httpx.AsyncClient(transport=transport, base_url=self.url, headers=key)
        object.__setattr__(self, "client", client)

    client: httpx.AsyncClient

    async def _ask(self, method: str, path: str, **content: Any) -> Any:
        reply = await self.client.request(method, path, **content)
        assert reply.is_success, reply.text
        return reply.json()

    async def intents(self, order: str) -> list[Any]:
        listed = await self._ask("GET", f"/v1/payment_intents?limit={NEWEST}")
        return [one for one in listed["data"] if one["metadata"].get("order") == order]

    async def approvals(self, order: str) -> list[bytes]:
        """The bodies of the webhooks that tell of an order's approval, newest first."""
        kind = "payment_intent.amount_capturable_updated"
        listed = await self._ask("GET", f"/v1/events?type={kind}&limit={NEWEST}")
        return [
            msgspec.json.encode(event)
            for event in listed["data"]
            if event["data"]["object"]["metadata"].get("order") == order
        ]


@dataclass
class Street:
    """One shop, one Stripe and one clock: what outlives a gateway. ``world`` is a gateway too."""

    settings: Settings
    clock: Calendar
    bank: NearBank
    world: Gateway
    stall: Stall
    _transport: httpx.AsyncBaseTransport
    _stack: contextlib.AsyncExitStack = field(repr=False)

    @property
    def lane(self) -> Lane:
        return self.stall.lane

    @property
    def keys(self) -> ShopKeys:
        return self.stall.keys

    async def gateway(self, seam: Seam | None = None, **changes: int | str) -> Gateway:
        """Another gateway; it lasts as long as the street."""
        settings = msgspec.structs.replace(self.settings, **changes)
        entering = _gateway(settings, self.clock, seam or Open(), self._transport)
        return await self._stack.enter_async_context(entering)

    async def comes(self, name: str, units: int = 2) -> Buyer:
        """Somebody holds one of so many units of a product."""
        buyer = f"sku-{name}"
        await self.stall.sells(buyer, units)
        held = await self.stall.reserves(name, "k", (buyer, 1))
        return Buyer(name, held, self.stall.order_of(name, "k"))

    async def record(self, buyer: Buyer) -> Record | None:
        return await self.stall.records.find(self.stall.shop, buyer.order)

    async def commits(self, buyer: Buyer) -> int:
        """How often the buyer's units were sold, by the newest entries of the ledger."""
        newest = await self.lane.command("XREVRANGE", self.keys.ledger, "+", "-", "COUNT", NEWEST)
        found = [pairs(fields) for _, fields in newest]
        return sum((one["sku"], one["kind"]) == (buyer.sku.encode(), b"committed") for one in found)

    async def answers(self, buyer: Buyer, outcome: str) -> None:
        """The shopper takes the second step, if there is one to take."""
        for intent in await self.bank.intents(buyer.order):
            if intent["status"] == "requires_action":
                await self.bank.second_step(intent["client_secret"], outcome)

    async def lapses(self, buyer: Buyer) -> None:
        """Time goes by until the hold has lapsed, and the sweep comes by."""
        key, lane = self.keys.hold(buyer.held.hold.id), self.lane
        await self.is_now(int(await lane.command("HGET", key, "expires_at")))
        await self.world.sweeps()

    async def is_now(self, ms: int) -> None:
        """The clock moves on, never back."""
        self.clock.ms = max(self.clock.ms, ms)
        await self.lane.command("HSET", self.keys.meta, "clock", self.clock.ms)

    async def next_due(self) -> int | None:
        """When the sweep has something to do next; ``None`` when all has come to rest."""
        scores = []
        for key in (self.keys.deadlines, self.keys.unsettled):
            first = await self.lane.command("ZRANGE", key, 0, 0, "WITHSCORES")
            scores += [int(float(score)) for score in first[1:]]
        return min(scores, default=None)


@contextlib.asynccontextmanager
async def _gateway(
    settings: Settings, clock: Calendar, seam: Seam, sandbox: httpx.AsyncBaseTransport
) -> AsyncIterator[Gateway]:
    lane = _SeamLane(settings)
    payments = Payments(settings, lane, clock)
    gateway = Gateway(join(settings, clock, random.Random(1), lane, payments), seam)
    lane.gateway = gateway
    await payments.provider._http._client_async.aclose()
    transport = _SeamTransport(gateway, sandbox)
    payments.provider._http._client_async = httpx.AsyncClient(transport=transport)
    serving = asyncio.create_task(lane.run())
    try:
        yield gateway
    finally:
        await payments.aclose()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@contextlib.asynccontextmanager
async def street(redis_url: str, shop: str, **changes: int | str) -> AsyncIterator[Street]:
    """A street that is open inside the block."""
    settings = settings_for(
        redis_url,
        shop,
        stripe_url=f"http://{shop}",
        stripe_rate_per_s=100_000,
        stripe_account_rate_per_s=100_000,
    )
    settings = msgspec.structs.replace(settings, **changes)
    clock = Calendar()
    app = build(StripeSettings(per_endpoint=0, per_account=0), clock.seconds, random.Random(7))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        bank = NearBank(transport)
        stack.push_async_callback(bank.client.aclose)
        world = await stack.enter_async_context(_gateway(settings, clock, Open(), transport))
        stall = Stall(world.rooms.lane, settings)
        opened = Street(settings, clock, bank, world, stall, transport, stack)
        await opened.is_now(clock.ms)
        yield opened


async def comes_to_rest(street: Street, gateway: Gateway, *, rounds: int = 60) -> None:
    """The sweep goes round, and time jumps to whatever is due next, until nothing is."""
    for _ in range(rounds):
        due = await street.next_due()
        if due is None:
            return
        await street.is_now(due)
        await gateway.sweeps()
    raise AssertionError(f"no rest after {rounds} rounds")


async def ends_of(street: Street, buyer: Buyer) -> str:
    """How it ended for a buyer: ``sold`` or ``not sold``.

    Fails if that is not what record, stream, units and Stripe say alike, or if any money is
    authorized, or was taken and given back.
    """
    record, keys = await street.record(buyer), street.keys
    phase = str(record.phase) if record else "none"
    intents = await street.bank.intents(buyer.order)
    statuses = sorted(one["status"] for one in intents)
    told = f"{buyer.name}: {phase}, reason {record and record.reason}, Stripe {statuses}"
    assert phase in {"none", "declined", "captured", "failed", "voided"}, told
    assert set(statuses) <= {"succeeded", "canceled"}, told
    sold = phase == "captured"
    assert statuses.count("succeeded") == sold, told
    assert sum(one["amount_received"] for one in intents) == PRICE * sold, told
    for one in intents:
        assert not await street.bank.refunds(one["id"]), f"{told}: refunded"
    if sold and record:
        assert [one["id"] for one in intents if one["status"] == "succeeded"] == [record.intent]
    written = await street.lane.command("XREVRANGE", keys.orders, "+", "-", "COUNT", NEWEST)
    events = sum(buyer.order.encode() in fields for _, fields in written)
    assert events == (phase in {"captured", "failed"}), f"{told}: {events} events"
    (row,) = rows.decode(await street.lane.command("HGET", keys.stock, buyer.sku))
    assert (row.held, row.committed) == (0, int(sold)), f"{told}: {row}"
    return "sold" if sold else "not sold"


def new_key_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """For controls: Stripe cannot tell a repetition from another request any more."""
    made, key = itertools.count(), Payments._key

    def new_key(self: Payments, shop: str, record: Record, step: str) -> str:
        return f"{key(self, shop, record, step)}/{next(made)}"

    monkeypatch.setattr(Payments, "_key", new_key)
