"""Many more want in than there is room for: never too many are in, and refusing costs little.

By default six hundred attempts at sixty places. At full size, with the figures printed:

    HOLDFAST_TEST_ATTEMPTS=20000 pytest -n 0 -rP tests/acceptance/test_admission.py
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from gateway.sandbox.warden import Warden
from tests.acceptance.arena import Arena, Gateway, open_arena, report
from tests.depth import many
from tests.sales import eventually

ATTEMPTS = many("ATTEMPTS", 600, 600)
FULL = ATTEMPTS >= 20_000
CAP = 1_000 if FULL else 60
ROUNDS = 4
"""Times that half of those who are in leave while others push in."""
IN_FLIGHT = 100
"""At once: as soon as one is answered the next one comes, as fast as the gateway can refuse."""
PROBE_EVERY_S = 0.02
MOST_COST = 1 / 3
LIVEZ_P99_MS = 50


@dataclass
class Seen:
    """What a probe saw of a gateway from outside while the crowd pushed."""

    livez_ms: list[float] = field(default_factory=list)
    sockets: list[float] = field(default_factory=list)

    def percentile_ms(self, part: float) -> float:
        ordered = sorted(self.livez_ms)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def test_never_too_many_are_in(redis_url: str, warden: Warden) -> None:
    async with open_arena(redis_url, warden, sockets=CAP) as arena:
        gateway = arena.gateway
        accept_ms = await _cost_ms(arena, 0, CAP, CAP)
        async with _probed(gateway) as seen:
            refusal_ms = await _cost_ms(arena, CAP, ATTEMPTS - CAP, 0)
        met = await arena.crowd("tell")
        report(
            f"an accept {accept_ms:.3f} ms of CPU, a refusal {refusal_ms:.3f} ms, "
            f"{refusal_ms / accept_ms:.2f} of it; /livez p50 {seen.percentile_ms(0.5):.1f} ms, "
            f"p99 {seen.percentile_ms(0.99):.1f} ms of {len(seen.livez_ms)}; the crowd {met}"
        )
        assert met["refused"] == {"503": ATTEMPTS - CAP}
        assert met["unhelpful"] == 0, "a refusal came without Retry-After"
        assert met["open"] == CAP, "somebody who was in was sent away"
        assert set(seen.sockets) == {CAP}
        async with _probed(gateway) as then:
            await _push_while_others_leave(arena)
        met = await arena.crowd("tell")
        report(f"while half of them change places /livez p99 {then.percentile_ms(0.99):.1f} ms")
        assert max(then.sockets) <= CAP
        assert met["most_open"] <= CAP
        await eventually(lambda: _counts(gateway, met["open"]))
    assert not FULL or refusal_ms <= accept_ms * MOST_COST
    assert not FULL or seen.percentile_ms(0.99) < LIVEZ_P99_MS


async def _cost_ms(arena: Arena, first: int, count: int, expected: int) -> float:
    """The gateway's CPU for each of so many attempts, of which so many get in."""
    before_s = arena.gateway.cpu_s()
    came = await arena.enter(count, first=first, in_flight=IN_FLIGHT)
    assert (came["in"], came["failed"]) == (expected, 0), came
    return (arena.gateway.cpu_s() - before_s) * 1000 / count


async def _push_while_others_leave(arena: Arena) -> None:
    """Half of those who are in are cut off, and at once twice as many want their places."""
    leaving, count = 0, CAP // 2
    for newcomers in range(ATTEMPTS, ATTEMPTS + ROUNDS * CAP, CAP):
        await arena.crowd("leave", first=leaving, count=count, code=None, within_s=0)
        came = await arena.enter(CAP, first=newcomers, in_flight=IN_FLIGHT)
        assert came["failed"] == 0, came
        leaving, count = newcomers, CAP


async def _counts(gateway: Gateway, sockets: int) -> bool:
    return await gateway.number("holdfast_sockets") == sockets


@contextlib.asynccontextmanager
async def _probed(gateway: Gateway) -> AsyncIterator[Seen]:
    """Ask all the time, as an orchestrator and Prometheus do now and then."""
    seen = Seen()

    async def probe() -> None:
        while True:
            began = time.monotonic()
            assert (await gateway.ask("GET", "/livez")).status_code == 200
            seen.livez_ms.append((time.monotonic() - began) * 1000)
            if len(seen.livez_ms) % 5 == 1:
                seen.sockets.append(await gateway.number("holdfast_sockets"))
            await asyncio.sleep(PROBE_EVERY_S)

    probing = asyncio.create_task(probe())
    try:
        yield seen
        assert seen.sockets
    finally:
        probing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probing
