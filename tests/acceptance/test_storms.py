"""All viewers leave and come back, five times: nothing of them stays behind.

By default a thousand. At full size, with the figures printed:

    HOLDFAST_TEST_STORM=5000 pytest -n 0 -rP tests/acceptance/test_storms.py
"""

from gateway.sandbox.warden import Warden
from tests.acceptance.arena import Arena, looks_into_processes, open_arena, report
from tests.depth import many, only_deep
from tests.sales import eventually

VIEWERS = many("STORM", 1_000, 1_000)
CYCLES = 5
WARM_UP = 0 if VIEWERS >= 5_000 else 1
"""Storms before the first that counts: a young process still loads, and fills, what few viewers
weigh little against.
"""
PATIENCE_S = 60
MOST_MORE = 0.1


@only_deep
@looks_into_processes
async def test_memory_after_five_storms_is_that_after_the_first(
    redis_url: str, warden: Warden
) -> None:
    kib = []
    async with open_arena(redis_url, warden) as arena:
        for cycle in range(-WARM_UP, CYCLES):
            storm = await arena.enter(VIEWERS, resume=True, within_s=PATIENCE_S)
            assert storm["in"] == VIEWERS, storm
            await arena.all_show_the_truth(PATIENCE_S)
            await _all_leave(arena)
            kib.append(arena.gateway.memory_kib())
            report(f"cycle {cycle}: all in after {storm['took_s']:.2f} s, then {kib[-1]} KiB")
        met = await arena.crowd("tell")
    report(f"the crowd {met}")
    assert kib[-1] <= kib[WARM_UP] * (1 + MOST_MORE)


async def _all_leave(arena: Arena) -> None:
    """Half say goodbye, half are cut off, and some change of stock is on its way to them."""
    await arena.changes("tee")
    await arena.crowd("leave", first=0, count=VIEWERS // 2, within_s=PATIENCE_S)
    await arena.crowd("leave", first=VIEWERS // 2, code=None)
    await eventually(arena.gateway.is_empty, PATIENCE_S)
