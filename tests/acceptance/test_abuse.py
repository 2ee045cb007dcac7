"""Who abuses a gateway is closed or limited; it takes little memory, and honest shoppers go on.

By default few do it, for a moment. In full, with what was met, the memory, and an honest shopper's
p99 before and meanwhile:

    HOLDFAST_TEST_ABUSE_S=10 pytest -n 0 -rP tests/acceptance/test_abuse.py
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.sandbox.warden import Warden
from tests.acceptance.abuse import attacked
from tests.acceptance.arena import Arena, looks_into_processes, open_arena, report
from tests.depth import many

SECONDS = many("ABUSE_S", 0, 10)
FULL = SECONDS > 0
pytestmark = [pytest.mark.asyncio(loop_scope="module"), looks_into_processes]

ROWS = {
    "bombs": (20, {"1002", "415"}),
    "messages": (10_000, {"4029"}),
    "half_heads": (1_000, {"408"}),
    "nothing": (1_000, {"cut"}),
    "large_heads": (20, {"431"}),
    "pipelined": (20, {"cut", "sent away"}),
    "slow_bodies": (500, {"408"}),
    "deaf_readers": (100, {"cut"}),
    "idle_sockets": (500, {"4502"}),
    "fragmented_control": (50, {"1002"}),
    "pings": (5, {"4029", "cut"}),
    "empty_fragments": (5, {"4029", "cut"}),
    "huge_frames": (50, {"1009"}),
    "half_frames": (500, {"4502"}),
}
MOST_MORE_KIB = 50 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arena(redis_url: str, warden: Warden) -> AsyncIterator[Arena]:
    pace = {} if FULL else {"header_timeout_s": 1, "body_timeout_s": 1, "connect_timeout_s": 1}
    async with open_arena(redis_url, warden, **pace) as arena:
        yield arena


@pytest.mark.parametrize("kind", ROWS)
async def test_abuse_is_met_and_costs_others_little(
    arena: Arena, warden: Warden, kind: str
) -> None:
    count, expected = ROWS[kind]
    few = count if kind == "messages" else min(count, 20)
    seconds, rounds = (SECONDS, 2) if FULL else (2.5, 1)
    seen = await attacked(arena, warden, kind, count if FULL else few, seconds, rounds)
    report(str(seen))
    assert expected & seen.met.keys(), seen.met
