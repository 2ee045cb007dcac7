"""The connection that brings the news says nothing any more, and nothing breaks: what then?

By default it is silent until the gateway has noticed, and four seconds at least. Half a minute,
with the figures printed:

    HOLDFAST_TEST_DEAF_S=30 HOLDFAST_TEST_DEAF_VIEWERS=1000 \\
        pytest -n 0 -rP tests/acceptance/test_deaf.py
"""

import asyncio
import time
from urllib.parse import urlsplit

from gateway.sandbox.warden import Warden
from tests.acceptance.arena import Arena, open_arena, report
from tests.depth import many
from tests.proxy import open_proxy
from tests.sales import eventually

DEAF_S = many("DEAF_S", 4, 4)
VIEWERS = many("DEAF_VIEWERS", 100, 100)
NOTICED_WITHIN_S = 10
TRUE_WITHIN_S = 5
"""Of healing; also of noticing, for the way to Redis that commands take is open all the time."""
CHANGES_PER_S = 20


async def test_a_silent_subscription_is_noticed_and_everybody_is_right_again(
    redis_url: str, warden: Warden
) -> None:
    port = urlsplit(redis_url).port
    assert port
    async with (
        open_proxy(port) as proxy,
        open_arena(redis_url, warden, gateway_redis_url=proxy.url) as arena,
    ):
        await arena.sells("last", units=3)
        assert (await arena.enter(VIEWERS))["in"] == VIEWERS
        await arena.all_show_the_truth(TRUE_WITHIN_S)
        changing = asyncio.create_task(_keeps_changing(arena))
        proxy.deafen()
        began = time.time()
        await arena.changes("last", units=-3)
        await eventually(lambda: _is_unready(arena), NOTICED_WITHIN_S, every_s=0.02)
        noticed_s = time.time() - began
        await asyncio.sleep(max(0.0, began + DEAF_S - time.time()))
        before_healing = (await arena.crowd("zeros", sku="last"))["zeros"]
        proxy.heal()
        healed = time.time()
        await eventually(arena.gateway.ready, TRUE_WITHIN_S, every_s=0.02)
        ready_s = time.time() - healed
        changing.cancel()
        await arena.all_show_the_truth(healed + TRUE_WITHIN_S - time.time())
        right_s = time.time() - healed
        zeros = (await arena.crowd("zeros", sku="last"))["zeros"]
        met = await arena.crowd("tell")
        assert len(zeros) == VIEWERS, "somebody was sent away"
        assert None not in zeros, "somebody was never told that it is sold out"
        report(
            f"noticed after {noticed_s:.1f} s; healed after {healed - began:.1f} s; ready "
            f"{ready_s:.1f} s and all right {right_s:.1f} s after that; all told that it is sold "
            f"out {max(zeros) - began:.1f} s after it was, "
            f"{VIEWERS - before_healing.count(None)} of {VIEWERS} before healing; the crowd {met}"
        )
    assert max(zeros) - began - noticed_s <= TRUE_WITHIN_S
    assert met["backwards"] == 0


async def _is_unready(arena: Arena) -> bool:
    return not await arena.gateway.ready()


async def _keeps_changing(arena: Arena) -> None:
    """Until cancelled, so that Redis is ahead all the time."""
    while True:
        await arena.changes("tee")
        await asyncio.sleep(1 / CHANGES_PER_S)
