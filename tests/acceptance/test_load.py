"""The load test itself, in small: Locust in a process of its own against a whole shop.

    HOLDFAST_TEST_DEEP=yes pytest -n 0 tests/acceptance/test_load.py

By hand, and larger, against a deployment it starts: ``python -m loadtest.flash``. By default only
what needs no shop is played: the parts of a load test have tests of their own (``test_load_*.py``).
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.sandbox.warden import Warden
from gateway.tickets import Tokens
from loadtest.drop.measured import Measured
from loadtest.drop.options import ADMIN_KEY, POS_KEY
from tests.acceptance.market import Market, open_market
from tests.depth import only_deep
from tests.processes import ROOT

UNITS = 12
WITHIN_S = 60


@pytest.fixture
async def market(redis_url: str, warden: Warden) -> AsyncIterator[Market]:
    pace: dict[str, Any] = {"hold_ttl_s": 5, "payment_budget_s": 30, "settle_interval_s": 1}
    async with open_market(redis_url, warden, 100, **pace) as market:
        yield market


def told(market: Market, out: Path) -> tuple[str, ...]:
    urls = (url.replace("ws://", "http://").removesuffix("/v1/live") for url in market.sockets)
    return "--host", ",".join(urls), "--till-url", market.till_url, "--out", str(out)


def keys(market: Market) -> dict[str, str]:
    tokens = Tokens(market.settings, SystemClock())
    return {
        ADMIN_KEY: tokens.sign_key(market.shop, ("admin",)),
        POS_KEY: tokens.sign_key(market.shop, ("pos",)),
    }


async def locust(env: dict[str, str], *words: str) -> tuple[int | None, str, str]:
    """Play a load test; its exit code, and what it wrote to either output."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", *words),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            output, progress = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode, output.decode(), progress.decode()


@only_deep
async def test_shoppers_buy_all_there_is_and_the_verdict_is_good(
    market: Market, tmp_path: Path
) -> None:
    words = ("--scenario", "smoke", "--units", str(UNITS), "--seed", "4")
    code, output, progress = await locust(keys(market), *told(market, tmp_path), *words)
    assert code == 0, output + progress
    assert "smoke: good" in output
    assert "holds/s" in progress

    measured = Measured.from_json((tmp_path / "measured.json").read_text())
    assert measured.shoppers >= 30
    steps = {name: step for name, step in measured.steps.items() if step.count}
    assert {"ticket", "connect", "reserve", "checkout", "push stock", "push sold_out"} <= set(steps)
    assert sum(step.errors for step in measured.steps.values()) == 0
    assert measured.said["reserve", "ok"] >= UNITS / 2
    assert measured.said["checkout", "confirmed"] == await market.till_orders()
    assert (await market.audit()).drift == ()
    # Nobody's clock is the other's here, and no news is from before it was decided.
    assert 0 < measured.steps["push stock"].p50_ms < 5_000


@only_deep
async def test_a_show_that_was_recorded_is_played_again(market: Market, tmp_path: Path) -> None:
    """Nobody waits for the server: more ask at once than there is, and it ends as it must."""
    night = tmp_path / "night.jsonl"
    line = '{"at_ms": %d, "lines": [{"sku": "tee", "quantity": 1}], "shopper": "s%d"}\n'
    night.write_text("".join(line % (number * 20, number) for number in range(10)))
    words = ("--scenario", "replay", "--arrivals", str(night), "--times", "2")
    code, output, progress = await locust(keys(market), *told(market, tmp_path), *words)
    assert code in {0, 3}, output + progress
    measured = Measured.from_json((tmp_path / "measured.json").read_text())
    reserved = {code: count for (step, code), count in measured.said.items() if step == "reserve"}
    assert sum(reserved.values()) == 20
    assert reserved["ok"] >= 10
    assert sum(step.errors for step in measured.steps.values()) == 0


async def test_a_host_nobody_named_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--host", "http://shop.example", "--out", str(out))
    key = {ADMIN_KEY: "head.eyJzaG9wIjoiY29ybmVyIn0.signature"}
    code, output, complaint = await locust(key, *words)
    assert code == 2, output + complaint
    assert complaint.count("\n") == 1
    assert "--allow-remote-host shop.example" in complaint
    assert not out.exists()
