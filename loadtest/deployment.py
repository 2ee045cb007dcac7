"""A whole deployment on this machine, for a load test: Valkey, the Stripe sandbox, a till, two
gateways, a relay and a sweep, each a process, all of which end with it.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from gateway.clock import SystemClock
from gateway.demo.family import Family
from gateway.demo.home import Home, new_secrets
from gateway.demo.parts import SHOP, Part, Site, gateway_environment, parts
from gateway.environment import read
from gateway.sandbox.ports import HOST, free_ports
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.tickets import Tokens
from loadtest.child import cpu_s
from loadtest.planted import FAULTS

SHOW = "flash-sale"
_NAMES = ("gateway one", "gateway two")
_STOP_WITHIN_S = 10.0
_PACE = {
    "HOLDFAST_HOLD_TTL_S": "30",
    "HOLDFAST_PAYMENT_BUDGET_S": "60",
    "HOLDFAST_DECLINE_GRACE_S": "10",
    "HOLDFAST_SETTLE_INTERVAL_S": "2",
    "HOLDFAST_REDIS_TIMEOUT_MS": "2000",
}
"""What somebody walked away from is on sale again, and comes to rest, within the test. And since
the shoppers share this machine, a gateway that has to wait for a core does not blame Redis."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One that runs."""

    urls: tuple[str, ...]
    """Of the gateways."""
    till_url: str
    admin_key: str
    pos_key: str
    family: Family

    def cpu_s(self) -> dict[str, float]:
        """What each process has taken of the cores so far, in seconds."""
        running = [child for child in self.family.children if child.is_running]
        taken = {child.part.name: cpu_s(child.pid) for child in running}
        valkey = self.family.valkey
        return taken | ({"Valkey": cpu_s(valkey.pid)} if valkey.is_running else {})

    def broken(self) -> list[str]:
        """Which processes have ended, though nobody asked them to."""
        ended = [child.how_it_ended() for child in self.family.children if not child.is_running]
        return ended if self.family.valkey.is_running else [*ended, "Valkey ended unexpectedly."]


@contextlib.asynccontextmanager
async def deployed(logs: Path, planted: str | None = None) -> AsyncIterator[Deployment]:
    """Start everything, with a fault if one is to be planted; end it with the block.

    Raises:
        Breakdown: a part does not start; the message has its last words.
        ValkeyMissingError: there is no Valkey on this machine.
    """
    if planted and planted not in FAULTS:
        raise ValueError(f"nobody knows how to plant {planted}")
    logs.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  nothing runs yet
    one, two, stripe, till, proxy = free_ports(5)
    with tempfile.TemporaryDirectory(prefix="holdfast-") as root, Warden() as warden:
        family = Family(warden.group, logs, EmbeddedValkey(warden.group, port=0))
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                redis_url = await family.start_valkey()
                home = Home(Path(root), keeps=False, secrets=new_secrets())
                site = Site(home, redis_url, one, stripe, till, crowd=1)
                if planted == "slow_redis":
                    await _put_before(family, proxy)
                await family.start(_parts(site, (one, two), proxy, planted), client)
                tokens = Tokens(read(gateway_environment(site)), SystemClock())
                running = Deployment(
                    urls=tuple(f"http://{HOST}:{port}" for port in (one, two)),
                    till_url=site.till_url,
                    admin_key=tokens.sign_key(SHOP, ("admin",)),
                    pos_key=tokens.sign_key(SHOP, ("pos",)),
                    family=family,
                )
                await _has_till(client, running, site)
                yield running
        finally:
            await family.stop(_STOP_WITHIN_S)


async def _put_before(family: Family, proxy: int) -> None:
    """Put the proxy before Valkey, and wait until it listens."""
    words = ("slow_redis", "--to", str(family.valkey.port), "--port", str(proxy))
    child = family.add(Part("proxy", "loadtest.planted", words))
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, proxy)
            writer.close()
            return
        if not child.is_running:
            raise RuntimeError(child.how_it_ended())
        await asyncio.sleep(0.05)


def _parts(site: Site, ports: tuple[int, ...], proxy: int, planted: str | None) -> tuple[Part, ...]:
    """Those of the demo, with two gateways and at another pace.

    The sandbox grants what Stripe does: a load test that pays faster than one may would flatter the
    queue, and burden the gateways with what they never meet.
    """
    own = gateway_environment(site) | _PACE | {"HOLDFAST_SHOW": SHOW}
    slow = {"REDIS_URL": f"redis://{HOST}:{proxy}"} if planted == "slow_redis" else {}
    changed = planted in {"oversell", "staleness"}
    gateways = (
        Part(
            name,
            "loadtest.planted" if changed else "gateway",
            (str(planted),) if changed else ("serve",),
            own | slow | {"HOLDFAST_PORT": str(port)},
            f"http://{HOST}:{port}/readyz",
        )
        for name, port in zip(_NAMES, ports, strict=True)
    )
    beside = (
        replace(part, environment=own) if part.module == "gateway" else part
        for part in parts(site)
        if part.name != "gateway"
    )
    return (*gateways, *beside)


async def _has_till(client: httpx.AsyncClient, running: Deployment, site: Site) -> None:
    """Have orders pushed to the till."""
    answer = await client.put(
        f"{running.urls[0]}/v1/webhooks/till",
        json={"url": f"{running.till_url}/orders", "secret": site.home.secrets.till},
        headers={"authorization": f"Bearer {running.admin_key}"},
    )
    answer.raise_for_status()
