"""SIGTERM to a gateway full of viewers: they are sent elsewhere in order, and it ends in time.

Some of them have stalled, and one is paying, which takes its bank a while. The size and the window
can be set: ``HOLDFAST_TEST_VIEWERS=5000 HOLDFAST_TEST_DRAIN_S=20 pytest -n 0 this_file``.
"""

import asyncio
import contextlib
import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import msgspec

from gateway.clock import SystemClock
from gateway.environment import read
from gateway.lane import Lane, served
from gateway.messages import SUBPROTOCOL
from gateway.model import Show
from gateway.news import News, publish
from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.stripe.faults import FaultPlan
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.shows.shows import Shows
from gateway.stock.holds import Holds
from gateway.tickets import Tokens
from tests.depth import only_deep
from tests.processes import Process, environment, free_port
from tests.sales import eventually
from tests.shopper import Shopper, connected
from tests.stall import SHOW, Stall

VIEWERS = int(os.environ.get("HOLDFAST_TEST_VIEWERS", "60"))
WINDOW_S = int(os.environ.get("HOLDFAST_TEST_DRAIN_S", "3"))
STALLED = min(50, VIEWERS // 10)
BANK_TAKES_S = min(4.0, WINDOW_S / 2)
"""Longer than the first sockets wait to be closed, shorter than a shopper for an answer."""
PATIENCE_S = 20
AT_ONCE = 50


@dataclass
class House:
    """A gateway, and whoever is connected to it."""

    settings: Settings
    lane: Lane
    gateway: Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def ticket(self, name: str) -> str:
        return Tokens(self.settings, SystemClock()).sign_ticket(self.settings.shop, SHOW, name)[0]

    @contextlib.asynccontextmanager
    async def viewer(self, name: str) -> AsyncIterator[Shopper]:
        """Somebody who takes whatever comes, however late it is looked at."""
        url = self.url.replace("http", "ws") + "/v1/live"
        async with connected(url, max_queue=None, ping_interval=None) as viewer:
            welcome = await viewer.ask("connect", token=self.ticket(name), show=SHOW)
            assert welcome["type"] == "welcome", welcome
            yield viewer

    async def is_paid_at(self) -> bool:
        """Whether a payment is under way."""
        async with httpx.AsyncClient() as client:
            told = (await client.get(f"{self.url}/metrics")).text
        return "\nholdfast_payments_running 1.0" in told

    async def stalls(self, name: str) -> socket.socket:
        """Somebody who comes in and never reads again, although there is much to read."""
        loop, peer = asyncio.get_running_loop(), socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.settimeout(0)
        await loop.sock_connect(peer, ("127.0.0.1", self.settings.port))
        words = {"type": "connect", "id": 1, "token": self.ticket(name), "show": SHOW}
        hello = msgspec.json.encode(words)
        masked = b"\x81\xfe" + len(hello).to_bytes(2) + bytes(4) + hello
        await loop.sock_sendall(peer, UPGRADE)
        assert b" 101 " in await loop.sock_recv(peer, 1_024)
        await loop.sock_sendall(peer, masked)
        while (first := await loop.sock_recv(peer, 1)) == b"\x89":
            [length] = await loop.sock_recv(peer, 1)
            await loop.sock_recv(peer, length)  # A ping, on a busy machine.
        assert first == b"\x81"
        large = msgspec.Raw(msgspec.json.encode("x" * 300_000))
        for _ in range(5):
            await publish(self.lane, self.settings.shop, News(shopper=name, frame=large))
        return peer


UPGRADE = (
    "GET /v1/live HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
).encode()


@contextlib.asynccontextmanager
async def open_house(redis_url: str, warden: Warden) -> AsyncIterator[House]:
    slow = FaultPlan(latency_ms=int(BANK_TAKES_S * 1000), endpoint="POST /v1/payment_intents")
    bank = StripeSettings(per_endpoint=0, per_account=0, faults=slow)
    async with stripe_server.serving(bank) as stripe_url:
        shop = f"shop_{uuid.uuid4().hex}"
        env = environment(redis_url, stripe_url, shop, port=free_port(), drain_s=WINDOW_S)
        settings = read(env)
        async with (
            served(settings) as lane,
            Process(warden, ["-m", "gateway", "serve"], env) as gateway,
        ):
            await Shows(lane).put(shop, Show(SHOW, "Tonight"))
            await Shows(lane).move(shop, SHOW, "live")
            await Stall(lane, settings).sells("tee", 10)
            house = House(settings, lane, gateway)
            await gateway.answers(f"{house.url}/readyz")
            yield house


async def left(viewer: Shopper) -> tuple[float, int]:
    """When a viewer's socket was closed, and with which code."""
    await viewer.socket.wait_closed()
    return asyncio.get_running_loop().time(), viewer.socket.close_code or 0


async def not_ready(url: str) -> float:
    """When the gateway said first that it is draining."""
    async with httpx.AsyncClient() as client:
        while (answer := await client.get(f"{url}/readyz")).status_code == 200:
            await asyncio.sleep(0.01)
    assert answer.json()["failing"] == ["draining"]
    return asyncio.get_running_loop().time()


@only_deep
async def test_everybody_is_sent_elsewhere_in_order_and_the_process_ends_in_time(
    redis_url: str, warden: Warden
) -> None:
    async with open_house(redis_url, warden) as house, contextlib.AsyncExitStack() as stack:
        crowd: list[Shopper] = []
        for at in range(0, VIEWERS, AT_ONCE):
            names = [f"viewer_{number}" for number in range(at, min(at + AT_ONCE, VIEWERS))]
            coming = (stack.enter_async_context(house.viewer(name)) for name in names)
            crowd += await asyncio.gather(*coming)
        holder, buyer = crowd[0], crowd[1]
        for number in range(STALLED):
            stack.enter_context(await house.stalls(f"stalled_{number}"))
        lines = [{"sku": "tee", "quantity": 1}]
        held, bought = [
            await one.ask("reserve", key=f"k{number}", lines=lines)
            for number, one in enumerate((holder, buyer))
        ]
        leaving = asyncio.gather(*(left(one) for one in crowd))
        failing = asyncio.create_task(not_ready(house.url))
        paying = asyncio.create_task(buyer.pays(bought["hold"]))
        await eventually(house.is_paid_at, PATIENCE_S)
        house.gateway.child.send_signal(signal.SIGTERM)
        assert await house.gateway.ended(WINDOW_S + 2) == -signal.SIGTERM
        async with asyncio.timeout(PATIENCE_S):
            ends = await leaving
            not_ready_s = await failing
            paid = await paying
        assert [code for _, code in ends] == [1012] * VIEWERS
        at_s = [at for at, _ in ends]
        assert not_ready_s < min(at_s)
        assert max(at_s) - min(at_s) >= 0.8 * WINDOW_S
        assert paid["state"] == "confirmed"
        assert max(at_s) == at_s[1]
        assert at_s[0] > sorted(at_s)[-4]
        assert len({int(10 * (at - min(at_s)) / WINDOW_S) for at in at_s}) >= 8
        for viewer in crowd[2:]:
            assert 0 < (await viewer.hears("drain"))["within_ms"] <= WINDOW_S * 900
        [hold] = await Holds(house.lane, house.settings).of(
            house.settings.shop, (held["hold"]["id"],)
        )
        assert hold.state == "active"
