"""Stock changes as fast as Redis takes it, and in the end every viewer of every process is right.

By default a thousand changes and two processes. At full size, with the figures printed:

    HOLDFAST_TEST_PUBLISHES=100000 pytest -n 0 -rP tests/acceptance/test_truth_for_all.py
"""

import asyncio
import time

from gateway.sandbox.warden import Warden
from tests.acceptance.arena import Arena, open_arena, report
from tests.depth import many
from tests.sales import eventually

PUBLISHES = many("PUBLISHES", 1_000, 1_000)
FULL = PUBLISHES >= 100_000
PROCESSES, EACH = (4, 1_000) if FULL else (2, 100)
VIEWERS = PROCESSES * EACH
AT_ONCE = 32
SKUS = [f"tee-{size}" for size in ("s", "m", "l", "xl", "xxl")]
OUTCOMES = ("delivered", "conflated", "dropped")
PATIENCE_S = 300 if FULL else 8


async def test_every_viewer_ends_with_what_redis_says(redis_url: str, warden: Warden) -> None:
    async with open_arena(redis_url, warden, gateways=PROCESSES) as arena:
        await arena.sells(*SKUS)
        assert (await arena.enter(VIEWERS))["in"] == VIEWERS
        await arena.all_show_the_truth(PATIENCE_S)
        before = await _values(arena)
        first, began = await arena.version(), time.monotonic()
        await _publish(arena)
        took_s = time.monotonic() - began
        assert await arena.version() == first + PUBLISHES
        await arena.all_show_the_truth(PATIENCE_S)
        caught_up_s = time.monotonic() - began - took_s
        met = await arena.crowd("tell")

        async def add_up() -> bool:
            return await _sum(arena, before) == PUBLISHES * VIEWERS

        try:
            await eventually(add_up, every_s=0.1)
        finally:
            after = await _values(arena)
            counted = {name: after[name] - before[name] for name in OUTCOMES}
            report(
                f"{PUBLISHES} publishes in {took_s:.1f} s to {VIEWERS} viewers, all right "
                f"{caught_up_s:.2f} s later: {counted}, in all {sum(counted.values()):.0f} of "
                f"{PUBLISHES * VIEWERS}; the crowd {met}"
            )
    assert met["backwards"] == 0
    assert met["open"] == VIEWERS


async def _publish(arena: Arena) -> None:
    """One sku, one version and one message each."""
    numbers = iter(range(PUBLISHES))

    async def change_in_turn() -> None:
        for number in numbers:
            await arena.changes(SKUS[number % len(SKUS)], units=-1 if number % 7 == 6 else 1)

    await asyncio.gather(*(change_in_turn() for _ in range(AT_ONCE)))


async def _values(arena: Arena) -> dict[str, float]:
    """What became of the values that viewers were to be told, over all processes."""
    name = "holdfast_stock_values_total"
    return {
        outcome: sum([await one.number(name, outcome=outcome) for one in arena.gateways])
        for outcome in OUTCOMES
    }


async def _sum(arena: Arena, before: dict[str, float]) -> float:
    return sum((await _values(arena)).values()) - sum(before.values())
