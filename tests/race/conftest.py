"""Two gateways, processes of their own, over one Redis; and shops to race in."""

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.lane import served
from gateway.model import Show
from gateway.sandbox.warden import Warden
from gateway.shows.shows import Shows
from gateway.tickets import Tokens
from tests.processes import free_port
from tests.shopper import Shopper, shopping
from tests.stall import SHOW, Stall, settings_for

START_S = 60.0
STOP_S = 10.0
MANY_FILES = 8_192
"""Open files this process and each gateway may need for 2,000 sockets."""
ENVIRONMENT = {
    "STRIPE_API_KEY": "sk_test_0123456789abcdef",
    "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef",
    "HOLDFAST_SECRET": "a-secret-of-the-tests-0123456789",
    # One shopper races against himself here, over more sockets than anybody has.
    "HOLDFAST_SOCKETS_PER_SHOPPER": "100",
    "HOLDFAST_HOLDS_PER_SHOPPER": "100",
}


@pytest.fixture(scope="session")
def many_files() -> None:
    """Raise the limit of open files, which children inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY_FILES:
        pytest.skip(f"needs {MANY_FILES} open files, the system allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY_FILES), hard))


@pytest.fixture(scope="session")
def gateways(
    many_files: None, redis_url: str, warden: Warden, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """The addresses of the sockets of two gateways."""
    with contextlib.ExitStack() as stack:
        logs = tmp_path_factory.mktemp("gateways")
        ports = [
            stack.enter_context(_gateway(redis_url, warden, logs / f"{name}.log"))
            for name in ("one", "two")
        ]
        yield [f"ws://127.0.0.1:{port}/v1/live" for port in ports]


@contextlib.contextmanager
def _gateway(redis_url: str, warden: Warden, log: Path) -> Iterator[int]:
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if "HOLDFAST" not in name},
        **ENVIRONMENT,
        "REDIS_URL": redis_url,
        "HOLDFAST_PORT": str(port),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"],
            env=environment,
            stdout=output,
            stderr=output,
            process_group=warden.group,
        )
    try:
        _wait_until_open(port, process, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return


@dataclass(frozen=True)
class Race:
    """A live show of one shop, served by two gateways."""

    stall: Stall
    urls: list[str]
    tokens: Tokens

    def shopper(
        self, number: int, name: str | None = None
    ) -> contextlib.AbstractAsyncContextManager[Shopper]:
        """Let a shopper in, at one gateway or the other in turn."""
        ticket, _ = self.tokens.sign_ticket(self.stall.shop, SHOW, name or f"shopper{number}")
        return shopping(self.urls[number % len(self.urls)], ticket, SHOW)

    async def let_in(
        self, stack: contextlib.AsyncExitStack, count: int, name: str | None = None, wave: int = 100
    ) -> list[Shopper]:
        """Let many in, in waves, so that connecting is no race of its own."""
        shoppers: list[Shopper] = []
        while len(shoppers) < count:
            numbers = range(len(shoppers), min(count, len(shoppers) + wave))
            entering = (stack.enter_async_context(self.shopper(n, name)) for n in numbers)
            shoppers += await asyncio.gather(*entering)
        return shoppers


@pytest.fixture
async def stall(redis_url: str, shop: str) -> AsyncIterator[Stall]:
    """A shop whose show is live."""
    settings = settings_for(redis_url, shop, redis_timeout_ms=20_000)  # A stall is no silence.
    async with served(settings) as lane:
        shows = Shows(lane)
        await shows.put(shop, Show(SHOW, "Tonight's show"))
        await shows.move(shop, SHOW, "live")
        yield Stall(lane, settings)


@pytest.fixture
def race(stall: Stall, gateways: list[str]) -> Race:
    return Race(stall, gateways, Tokens(stall.settings, SystemClock()))
