"""Who abuses a gateway is closed or limited; it takes little memory, and honest shoppers go on.

By default few do everything at once. In full, one attack after the other, with what was met, the
memory, and an honest shopper's p99 before and meanwhile, interleaved:

    HOLDFAST_TEST_DEEP=yes pytest -n 0 -rP -p no:logging tests/acceptance/test_abuse.py

``HOLDFAST_TEST_ABUSE_S=6 HOLDFAST_TEST_ABUSE_ROUNDS=10`` before it gives times that mean something.
They are reported and not judged: the attacker takes only what processor time nobody else wants, but
caches and the memory bus it does share. What the gateway's own work grows by is steadier.

Who may not do what he asks is refused elsewhere: a foreign page, a ticket that has expired or is in
the address (``integration/test_endpoint.py``), another's hold (``integration/test_session.py``), a
card number in any field (``integration/test_card_numbers.py``).
"""

import os
from typing import Any

import pytest

from gateway.sandbox.warden import Warden
from tests.acceptance.abuse import attacked
from tests.acceptance.arena import looks_into_processes, open_arena, report
from tests.depth import many, only_deep

SECONDS, ROUNDS = many("ABUSE_S", 8, 4), many("ABUSE_ROUNDS", 2, 1)
pytestmark = looks_into_processes

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
    "half_frames": (500, {"4502", "1013"}),
}
LONG = {"deaf_readers"}
"""What takes longer than a moment to be noticed."""
MOST_MORE_KIB = 50 * 1024
LONGEST_S = 20
ALONE = "PYTEST_XDIST_WORKER" not in os.environ
"""Beside other tests an attacker who gives way would hardly attack."""


def _patience(seconds: int) -> dict[str, Any]:
    """Settings of a gateway that waits for nobody longer; nor can we."""
    names = ("header_timeout_s", "body_timeout_s", "connect_timeout_s", "slow_grace_s")
    return dict.fromkeys(names, seconds)


async def test_few_do_everything_at_once(redis_url: str, warden: Warden) -> None:
    """Everybody is closed or limited, each for what he does."""
    async with open_arena(redis_url, warden, **_patience(2)) as arena:
        kinds = dict.fromkeys(ROWS.keys() - LONG, 2) | {"messages": 10_000}
        ends = {kind: expected for kind, (_, expected) in ROWS.items()}
        seen = await attacked(arena, warden, kinds, LONGEST_S, 1, quiet_s=0.5, until=ends)
    report(str(seen))
    assert seen.under_attack_ms
    for kind, met in seen.met.items():
        assert ROWS[kind][1] & met.keys(), (kind, met)
    assert seen.more_kib < MOST_MORE_KIB


@only_deep
@pytest.mark.parametrize("kind", ROWS)
async def test_abuse_costs_others_little(redis_url: str, warden: Warden, kind: str) -> None:
    count, expected = ROWS[kind]
    async with open_arena(redis_url, warden, **_patience(2)) as arena:
        seconds = max(SECONDS, 8) if kind in LONG else SECONDS
        seen = await attacked(
            *(arena, warden, {kind: count}, seconds, ROUNDS, SECONDS), gives_way=ALONE
        )
    report(str(seen))
    assert expected & seen.met[kind].keys(), seen.met
    assert seen.more_kib < MOST_MORE_KIB
