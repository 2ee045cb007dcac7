"""Some of a crowd stop reading: they are closed, and nobody else notices.

By default a hundred watch for three seconds. At full size, with the figures printed:

    HOLDFAST_TEST_SLOW_VIEWERS=1000 pytest -n 0 -rP tests/acceptance/test_slow_viewers.py
"""

from typing import Any

from gateway.sandbox.warden import Warden
from tests.acceptance.arena import FAR_BUFFER, looks_into_processes, open_arena, report
from tests.depth import many
from tests.sales import eventually

VIEWERS = many("SLOW_VIEWERS", 100, 100)
FULL = VIEWERS >= 1_000
STALLED = 10
CHANGES_PER_S = 50
SECONDS = 60.0 if FULL else 2.5
WARM_UP_S = 5.0 if FULL else 0.5
SKUS = [f"tee-organic-cotton-unisex-navy-{size:03}" for size in range(40)]
"""One change is of all of them, as when a till has counted: a frame is near two kilobytes, so that
what the system keeps for a peer is soon full.
"""
MOST_KIB = 2_048
P99_MS = 250
QUICK: dict[str, Any] = {} if FULL else {"slow_grace_s": 1, "send_buffer_bytes": 4_608}
"""At full size the gateway is as it comes."""


@looks_into_processes
async def test_who_stops_reading_is_closed_and_nobody_else_notices(
    redis_url: str, warden: Warden
) -> None:
    async with open_arena(redis_url, warden, **QUICK) as arena:
        gateway, reading = arena.gateway, VIEWERS - STALLED
        await arena.sells(*SKUS)
        await arena.crowd("listen", redis_url=redis_url, shop=arena.settings.shop)
        assert (await arena.enter(reading, sample=1))["in"] == reading
        stalled = await arena.enter(STALLED, first=reading, receive_buffer=FAR_BUFFER)
        assert stalled["in"] == STALLED
        await arena.keeps_changing(SKUS, CHANGES_PER_S, WARM_UP_S)
        await arena.crowd("forget")
        before_kib = gateway.memory_kib()
        await arena.crowd("pause", first=reading)
        await arena.keeps_changing(SKUS, CHANGES_PER_S, SECONDS)
        more_kib = gateway.memory_kib() - before_kib
        met = await arena.crowd("tell")
        ages = await arena.crowd("staleness")
        report(f"{reading} who read: {ages}; memory {more_kib:+} KiB; the crowd {met}")

        async def closed_as_slow() -> bool:
            return await gateway.number("holdfast_closes_total", code="4008") == STALLED

        async def have_ended() -> bool:
            return len((await arena.crowd("ends"))["ends"]) == STALLED

        await eventually(closed_as_slow)
        await arena.crowd("resume", first=reading)
        await eventually(have_ended)
        ends = (await arena.crowd("ends"))["ends"]
        await arena.all_show_the_truth(5)
    assert {number for number, *_ in ends} == set(range(reading, VIEWERS))
    # Whoever left even the goodbye unread was cut off.
    assert {code for _, code, *_ in ends} <= {4008, 1006}
    assert (met["backwards"], ages["unknown"]) == (0, 0)
    # In a few seconds even a buffer without a bound would not grow beyond it.
    assert not FULL or more_kib < MOST_KIB
    assert not FULL or ages["p99_ms"] < P99_MS
