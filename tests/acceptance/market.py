"""A whole shop in processes of its own: two gateways, sweep, relay, till, and Stripe's sandbox."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.clock import SystemClock
from gateway.environment import read
from gateway.keys import ShopKeys
from gateway.lane import Lane, served
from gateway.model import Show
from gateway.sandbox.ports import free_ports
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.shows.shows import Shows
from gateway.stock.audit import Verdict, audit
from gateway.tickets import Tokens
from tests.bank import Bank
from tests.processes import BRIEF, START_S, Process, environment
from tests.sales import eventually
from tests.stall import SHOW, Stall

TILL_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Market:
    """The parts, and what a test wants to know of them."""

    settings: Settings
    lane: Lane
    bank: Bank
    till_url: str
    gateways: dict[str, Process]
    """By the address of their sockets."""
    client: httpx.AsyncClient
    stall: Stall = field(init=False)

    def __post_init__(self) -> None:
        self.stall = Stall(self.lane, self.settings)

    @property
    def shop(self) -> str:
        return self.settings.shop

    @property
    def sockets(self) -> list[str]:
        return list(self.gateways)

    def ticket(self, shopper: str) -> str:
        return Tokens(self.settings, SystemClock()).sign_ticket(self.shop, SHOW, shopper)[0]

    async def opens(self, sku: str, units: int) -> None:
        """A live show that sells one thing."""
        shows = Shows(self.lane)
        await shows.put(self.shop, Show(SHOW, "Tonight's show"))
        await shows.move(self.shop, SHOW, "live")
        await self.stall.sells(sku, units)

    async def call(self, socket: str, method: str, path: str, **options: Any) -> httpx.Response:
        """Call a gateway as the shop's program."""
        key = Tokens(self.settings, SystemClock()).sign_key(self.shop, ("admin",))
        url = socket.replace("ws://", "http://").removesuffix("/v1/live")
        headers = {"authorization": f"Bearer {key}"}
        answer = await self.client.request(method, url + path, headers=headers, **options)
        assert answer.is_success, answer.text
        return answer

    async def running(self, socket: str) -> int:
        """Payments under way in one gateway."""
        numbers = (await self.call(socket, "GET", "/metrics")).text
        [line] = [one for one in numbers.splitlines() if one.startswith("holdfast_payments_run")]
        return int(float(line.rpartition(" ")[2]))

    async def dies(self, socket: str) -> None:
        """One gateway is killed."""
        gateway = self.gateways[socket]
        gateway.child.kill()
        assert await gateway.ended() == -9

    async def bank_is_open(self) -> bool:
        try:
            return bool(await self.bank.summary())
        except httpx.TransportError:
            return False

    async def till_orders(self) -> int:
        return int((await self.client.get(f"{self.till_url}/summary")).json()["orders"])

    async def at_rest(self) -> bool:
        """Whether no hold and no payment is under way."""
        keys = ShopKeys(self.shop)
        counts = [await self.lane.command("ZCARD", key) for key in (keys.deadlines, keys.unsettled)]
        return not any(counts)

    async def audit(self) -> Verdict:
        return await audit(self.lane, self.shop)


@contextlib.asynccontextmanager
async def open_market(
    redis_url: str, warden: Warden, rate_per_s: int, **settings: object
) -> AsyncIterator[Market]:
    """Start everything; ``rate_per_s`` is Stripe's limit, and ours."""
    shop = f"shop_{uuid.uuid4().hex}"
    stripe_port, till_port, *ports = free_ports(4)
    stripe_url, till_url = (f"http://127.0.0.1:{port}" for port in (stripe_port, till_port))
    env = environment(
        redis_url, stripe_url, shop, stripe_rate_per_s=rate_per_s, currency="EUR", **settings
    )
    async with contextlib.AsyncExitStack() as stack:

        async def start(module: str, *words: str, **changes: str) -> Process:
            command = ["-m", module, *words]
            return await stack.enter_async_context(Process(warden, command, env | changes))

        await start("gateway.sandbox.stripe", *_stripe_words(stripe_port, ports[1], env))
        till_words = ("--port", str(till_port), "--secret", TILL_SECRET)
        till = await start("gateway.sandbox.till", *till_words)
        gateways = {
            f"ws://127.0.0.1:{port}/v1/live": await start(
                "gateway", "serve", HOLDFAST_PORT=str(port)
            )
            for port in ports
        }
        await start("gateway", "sweep")
        await start("gateway", "relay")
        # The tester's own process is busy being the whole crowd.
        patient = read(env | {"HOLDFAST_REDIS_TIMEOUT_MS": "10000"})
        lane = await stack.enter_async_context(served(patient))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, limits=BRIEF))
        await till.answers(f"{till_url}/summary")
        market = Market(read(env), lane, Bank(stripe_url), till_url, gateways, client)
        await eventually(market.bank_is_open, START_S)
        for port, gateway in zip(ports, gateways.values(), strict=True):
            await gateway.answers(f"http://127.0.0.1:{port}/readyz")
        webhook = {"url": f"{till_url}/orders", "secret": TILL_SECRET}
        await market.call(market.sockets[0], "PUT", "/v1/webhooks/till", json=webhook)
        yield market


def _stripe_words(port: int, gateway_port: int, env: dict[str, str]) -> list[str]:
    """Webhooks go to the second gateway."""
    return [
        "--port", str(port), "--rate-limit", env["HOLDFAST_STRIPE_RATE_PER_S"],
        "--webhook-url", f"http://127.0.0.1:{gateway_port}/v1/stripe/webhook",
        "--webhook-secret", env["STRIPE_WEBHOOK_SECRET"],
    ]  # fmt: skip
