"""Gateways in processes of their own, one live show, and a crowd in another process before them.

The crowd's frames are read there, the stock is changed here, and what is true is asked of Redis.
"""

import asyncio
import contextlib
import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.clock import SystemClock
from gateway.environment import read
from gateway.lane import Lane, served
from gateway.model import Show
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.shows.shows import Shows
from gateway.tickets import Tokens
from loadtest.servers import cpu_s
from loadtest.viewers import Answer, CrowdProcess, raise_limit, started
from tests.processes import BRIEF, Process, environment, free_port
from tests.sales import eventually
from tests.shopper import Shopper, shopping
from tests.stall import SHOW, Stall, moved

FAR_BUFFER = 4_096
"""SO_RCVBUF of whoever stops reading: the less the system keeps, the sooner it is noticed."""
looks_into_processes = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="this system has no /proc to look into"
)
_SECRET = "a-secret-of-the-tests-0123456789"


@dataclass
class Gateway:
    """One gateway process."""

    process: Process
    address: str
    """host:port"""
    client: httpx.AsyncClient
    key: dict[str, str]

    @property
    def socket(self) -> str:
        return f"ws://{self.address}/v1/live"

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.client.request(
            method, f"http://{self.address}{path}", headers=self.key, **options
        )

    async def ready(self) -> bool:
        return (await self.ask("GET", "/readyz")).status_code == 200

    async def number(self, name: str, **labels: str) -> float:
        """A figure of ``/metrics``: the sum of those that have these labels."""
        text = (await self.ask("GET", "/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def is_empty(self) -> bool:
        return await self.number("holdfast_viewers") == 0

    def still_has(self, ports: Sequence[int]) -> int:
        """How many connections from these ports it still has a file for."""
        _, ours = self.address.split(":")
        count = 0
        for line in self._told_by_the_system("net/tcp")[1:]:
            _, local, remote, _, *rest = line.split()
            if int(local[-4:], 16) == int(ours) and int(remote[-4:], 16) in ports:
                count += rest[5] != "0"  # Without an inode only the system remembers it.
        return count

    def cpu_s(self) -> float:
        return cpu_s([self.process.child.pid]) or 0.0

    def memory_kib(self) -> int:
        """What it takes from the machine that nobody else has (PSS), KiB."""
        lines = self._told_by_the_system("smaps_rollup")
        [line] = [one for one in lines if one.startswith("Pss:")]
        return int(line.split()[1])

    def _told_by_the_system(self, what: str) -> list[str]:
        return Path("/proc", str(self.process.child.pid), what).read_text().splitlines()


@dataclass
class Arena:
    """The gateways, the shop behind them, and the crowd before them."""

    settings: Settings
    stall: Stall
    gateways: list[Gateway]
    crowd_process: CrowdProcess
    _references: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def gateway(self) -> Gateway:
        return self.gateways[0]

    async def crowd(self, do: str, **words: object) -> Answer:
        """Have the crowd do something (see ``loadtest.viewer_commands``)."""
        return await asyncio.to_thread(self.crowd_process.ask, do, **words)

    async def enter(self, count: int, gateways: list[Gateway] | None = None, **how: Any) -> Answer:
        """So many viewers come, to the gateways in turn."""
        where = {
            "urls": [one.address for one in gateways or self.gateways],
            "shop": self.settings.shop,
            "show": SHOW,
            "secret": _SECRET,
        }
        return await self.crowd("open", count=count, **(where | how))

    def shopper(
        self, name: str, gateway: Gateway | None = None, **said: object
    ) -> contextlib.AbstractAsyncContextManager[Shopper]:
        """A shopper who was let in, at the first gateway unless one is named."""
        tokens = Tokens(self.settings, SystemClock())
        ticket, _ = tokens.sign_ticket(self.settings.shop, SHOW, name)
        return shopping((gateway or self.gateway).socket, ticket, SHOW, **said)

    async def changes(self, *skus: str, units: int = 1) -> None:
        """Units of these come, or go: one version, and one message to every gateway."""
        number = next(self._references)
        batch = (moved(f"m{number}-{sku}", sku, units, kind="adjusted") for sku in skus)
        results = await self.stall.movements.apply(self.settings.shop, tuple(batch))
        assert {result.status for result in results} == {"applied"}, results

    async def keeps_changing(self, skus: Sequence[str], per_s: float, seconds: float) -> None:
        """So many changes of all these a second, evenly."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_s * seconds)):
                await asyncio.sleep(max(0.0, began + number / per_s - loop.time()))
                group.create_task(self.changes(*skus, units=-1 if number % 3 == 2 else 1))

    async def sells(self, *skus: str, units: int = 10_000) -> None:
        """These are on sale, too."""
        for sku in skus:
            await self.stall.sells(sku, units)

    async def version(self) -> int:
        return int(await self.stall.lane.command("HGET", self.stall.keys.meta, "version") or 0)

    async def all_show_the_truth(self, within_s: float) -> None:
        """Wait until every viewer that is connected shows what Redis says."""
        shown: list[Any] = []
        true: dict[str, int] = {}

        async def true_for_all() -> bool:
            nonlocal shown, true
            true = await self.stall.available()
            shown = (await self.crowd("stocks"))["stocks"]
            return bool(shown) and all(items == true for _, _, items, _ in shown)

        try:
            await eventually(true_for_all, within_s, every_s=0.05)
        except TimeoutError:
            raise AssertionError(f"Redis says {true}, shown is {shown[:5]}") from None


def report(figures: str) -> None:
    """Figures for whoever asked for them with ``-rP``."""
    sys.stdout.write(figures + "\n")


@contextlib.asynccontextmanager
async def open_arena(
    redis_url: str, warden: Warden, gateways: int = 1, stripe_url: str = "", **settings: object
) -> AsyncIterator[Arena]:
    """Start so many gateways with these settings, and a crowd; open a show with ten thousand tees.

    The gateways reach Redis by ``gateway_redis_url``, if it is given.
    """
    raise_limit()
    shop = f"shop_{uuid.uuid4().hex}"
    via = settings.pop("gateway_redis_url", redis_url)
    env = environment(redis_url, stripe_url or "http://127.0.0.1:9", shop, **settings)
    ours = read(env | {"HOLDFAST_REDIS_TIMEOUT_MS": "10000"})
    key = Tokens(ours, SystemClock()).sign_key(shop, ("admin",))
    async with contextlib.AsyncExitStack() as stack:
        crowd = stack.enter_context(started(warden.group))
        client = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, timeout=20, limits=BRIEF)
        )
        lane = await stack.enter_async_context(served(ours))
        opened = []
        for _ in range(gateways):
            port = free_port()
            words = env | {"HOLDFAST_PORT": str(port), "REDIS_URL": str(via)}
            process = await stack.enter_async_context(
                Process(warden, ("-m", "gateway", "serve"), words)
            )
            authorized = {"authorization": f"Bearer {key}"}
            opened.append(Gateway(process, f"127.0.0.1:{port}", client, authorized))
        arena = Arena(ours, Stall(lane, ours), opened, crowd)
        await _open_show(arena.stall, lane)
        for gateway in opened:
            await gateway.process.answers(f"http://{gateway.address}/readyz")
        yield arena


async def _open_show(stall: Stall, lane: Lane) -> None:
    shows = Shows(lane)
    await shows.put(stall.shop, Show(SHOW, "Tonight's show"))
    await shows.move(stall.shop, SHOW, "live")
    await stall.sells("tee", 10_000)
