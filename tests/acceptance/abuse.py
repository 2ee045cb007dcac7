"""Somebody attacks a gateway process, while honest shoppers reserve and give back, and the memory
of the gateway is looked at.
"""

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from gateway.clock import SystemClock
from gateway.sandbox.warden import Warden
from gateway.tickets import Tokens
from tests.acceptance.arena import Arena
from tests.acceptance.attacker import GIVES_WAY, Orders
from tests.processes import ROOT
from tests.shopper import Shopper
from tests.stall import SHOW

_PACE_S = 0.15
"""Two commands in so long are fewer than a socket may send."""
_LOOKS_EVERY_S = 0.1
_PATIENCE_S = 30
TICKETS = 200

Met = dict[str, dict[str, int]]


@dataclass
class Honest:
    """Shoppers who each reserve a unit and give it back, without end; how long a yes took, ms."""

    arena: Arena
    count: int
    took_ms: list[float] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def shopping(self) -> AsyncIterator[None]:
        """Meanwhile they shop."""
        async with contextlib.AsyncExitStack() as stack:
            names = (f"honest-{number}" for number in range(self.count))
            people = [await stack.enter_async_context(self.arena.shopper(name)) for name in names]
            running = [asyncio.create_task(self._shops(one)) for one in people]
            try:
                yield
            finally:
                for one in running:
                    one.cancel()
                for outcome in await asyncio.gather(*running, return_exceptions=True):
                    if isinstance(outcome, Exception):
                        raise outcome

    async def _shops(self, shopper: Shopper) -> None:
        for number in itertools.count():
            began = time.perf_counter()
            lines = [{"sku": "tee", "quantity": 1}]
            reply = await shopper.ask("reserve", key=f"k{number}", lines=lines)
            self.took_ms.append((time.perf_counter() - began) * 1_000)
            assert reply["type"] == "hold", reply
            await shopper.ask("release", hold=reply["hold"]["id"])
            await asyncio.sleep(_PACE_S)

    def taken(self) -> list[float]:
        """What was measured since last asked."""
        taken, self.took_ms = self.took_ms, []
        return taken


def p99(values: list[float]) -> float:
    """The value that one in a hundred exceeds."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]


@dataclass
class Seen:
    """What attacks came to."""

    met: dict[str, Counter[str]]
    """By attack, how often which end."""
    quiet_ms: list[float]
    under_attack_ms: list[float]
    kib_before: int
    kib_most: int
    cpu_quiet_s: float = 0.0
    """Processor time of the gateway in all quiet seconds."""
    cpu_under_attack_s: float = 0.0
    quiet_s: float = 0.0
    under_attack_s: float = 0.0

    @property
    def more_kib(self) -> int:
        return self.kib_most - self.kib_before

    def __str__(self) -> str:
        before, during = p99(self.quiet_ms), p99(self.under_attack_ms)
        met = ", ".join(f"{attack} {dict(ends)}" for attack, ends in self.met.items())
        return (
            f"{met}; memory {self.more_kib / 1024:+.1f} MiB; "
            f"processor {self.cpu_quiet_s / self.quiet_s:.0%} -> "
            f"{self.cpu_under_attack_s / self.under_attack_s:.0%}; "
            f"p50 {statistics.median(self.quiet_ms):.1f} -> "
            f"{statistics.median(self.under_attack_ms):.1f} ms, "
            f"p99 {before:.1f} -> {during:.1f} ms ({during / before - 1:+.0%}) "
            f"of {len(self.quiet_ms)} and {len(self.under_attack_ms)} reservations"
        )


class _Spent:
    """Time that passes, and the gateway's processor time in it."""

    def __init__(self, arena: Arena) -> None:
        self._gateway = arena.gateway
        self._began, self._cpu = time.monotonic(), arena.gateway.cpu_s()

    def more_than(self, seconds: float, cpu_s: float) -> tuple[float, float]:
        passed = time.monotonic() - self._began
        return seconds + passed, cpu_s + self._gateway.cpu_s() - self._cpu


async def attacked(
    arena: Arena,
    warden: Warden,
    kinds: Mapping[str, int],
    seconds: float,
    rounds: int,
    quiet_s: float,
    until: Mapping[str, set[str]] = MappingProxyType({}),
    *,
    gives_way: bool = False,
) -> Seen:
    """Attack in rounds, so many in each of these ways, for so long or until it has come to one of
    these ends; before each, nobody does for a while. The attacker may give way to all others.
    """
    honest = Honest(arena, 10)
    met: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    seen = Seen(met, [], [], arena.gateway.memory_kib(), 0)
    async with honest.shopping():
        await asyncio.sleep(0.2)  # The first of everything takes longer.
        for number in range(rounds):
            honest.taken()
            clock = _Spent(arena)
            await asyncio.sleep(quiet_s)
            seen.quiet_ms += honest.taken()
            seen.quiet_s, seen.cpu_quiet_s = clock.more_than(seen.quiet_s, seen.cpu_quiet_s)
            orders = [
                Orders(
                    *(kind, port(arena), count, seconds),
                    tickets=tickets(arena, kind, number),
                    until=list(until.get(kind, ())),
                )
                for kind, count in kinds.items()
            ]
            async with _started(warden, orders, *[GIVES_WAY] * gives_way) as attacker:
                honest.taken()
                clock = _Spent(arena)
                while not attacker.done():
                    seen.kib_most = max(seen.kib_most, arena.gateway.memory_kib())
                    await asyncio.wait([attacker], timeout=_LOOKS_EVERY_S)
                seen.under_attack_ms += honest.taken()
                seen.under_attack_s, seen.cpu_under_attack_s = clock.more_than(
                    seen.under_attack_s, seen.cpu_under_attack_s
                )
            for kind, ends in attacker.result().items():
                met[kind].update(ends)
    return seen


def port(arena: Arena) -> int:
    return int(arena.gateway.address.rpartition(":")[2])


def tickets(arena: Arena, kind: str, number: int) -> list[str]:
    """Tickets of shoppers of one's own: whom one of them annoys is nobody else."""
    if kind != "messages":
        return []
    tokens, shop = Tokens(arena.settings, SystemClock()), arena.settings.shop
    names = (f"{kind}-{number}-{nth}" for nth in range(TICKETS))
    return [tokens.sign_ticket(shop, SHOW, name)[0] for name in names]


@contextlib.asynccontextmanager
async def _started(
    warden: Warden, orders: list[Orders], *flags: str
) -> AsyncIterator["asyncio.Future[Met]"]:
    """A process that attacks; its end, and what it met."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.attacker", *flags),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        process_group=warden.group,
    )

    told = json.dumps([asdict(one) for one in orders]).encode()

    async def ends() -> Met:
        async with asyncio.timeout(orders[0].seconds + _PATIENCE_S):
            said, _ = await process.communicate(told)
        assert process.returncode == 0
        met: Met = json.loads(said)
        return met

    ending = asyncio.ensure_future(ends())
    try:
        yield ending
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.gather(ending, return_exceptions=True)
