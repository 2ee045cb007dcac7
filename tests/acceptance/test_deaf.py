"""The connection that brings the news says nothing any more, and nothing breaks: what then?

By default it is silent until the gateway has noticed, and four seconds at least. Half a minute,
with the figures printed:

    HOLDFAST_TEST_DEAF_S=30 HOLDFAST_TEST_DEAF_VIEWERS=1000 \\
        pytest -n 0 -rP tests/acceptance/test_deaf.py
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from gateway.sandbox.warden import Warden
from tests.acceptance.arena import Arena, open_arena, report
from tests.depth import many
from tests.proxy import Proxy, open_proxy
from tests.sales import eventually

DEAF_S = many("DEAF_S", 4, 4)
VIEWERS = many("DEAF_VIEWERS", 100, 100)
NOTICED_WITHIN_S = 10
TRUE_WITHIN_S = 5
BUDGET_S = NOTICED_WITHIN_S + TRUE_WITHIN_S
"""From when something is sold out until everybody was told so, healed or not: the way to Redis that
commands take is open all the time.
"""
CHANGES_PER_S = 20


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    port = urlsplit(redis_url).port
    assert port
    async with open_proxy(port) as proxy:
        yield proxy


@pytest.fixture
async def arena(redis_url: str, warden: Warden, proxy: Proxy) -> AsyncIterator[Arena]:
    """A gateway that reaches Redis by the proxy, and viewers who are told the truth."""
    async with open_arena(redis_url, warden, gateway_redis_url=proxy.url) as arena:
        await arena.sells("last", "least", units=3)
        assert (await arena.enter(VIEWERS))["in"] == VIEWERS
        await arena.all_show_the_truth(TRUE_WITHIN_S)
        yield arena


async def test_whatever_falls_silent_is_noticed_and_everybody_is_right_again(
    arena: Arena, proxy: Proxy
) -> None:
    async with _changing(arena):
        await _one_connection_falls_silent(arena, proxy)
        healed = await _every_subscription_is_silent(arena, proxy)
    await arena.all_show_the_truth(healed + TRUE_WITHIN_S - time.time())
    met = await arena.crowd("tell")
    report(f"all right {time.time() - healed:.1f} s after healing; the crowd {met}")
    assert met["backwards"] == 0
    assert met["open"] == VIEWERS, "somebody was sent away"


async def _one_connection_falls_silent(arena: Arena, proxy: Proxy) -> None:
    """It stays so: the gateway has to make another."""
    proxy.deafen()
    began = time.time()
    await arena.changes("last", units=-3)
    told_at = await _all_are_told(arena, "last", began)

    async def is_made_anew() -> bool:
        return proxy.tells and await arena.gateway.ready()

    await eventually(is_made_anew, BUDGET_S)
    report(f"one connection silent: all told of sold out after {told_at - began:.1f} s")


async def _every_subscription_is_silent(arena: Arena, proxy: Proxy) -> float:
    """New ones, too, for as long as was asked for; returns when that was over."""
    proxy.deafen(new=True)
    began = time.time()
    await arena.changes("least", units=-3)
    await eventually(lambda: _is_unready(arena), NOTICED_WITHIN_S, every_s=0.02)
    noticed_s = time.time() - began
    await asyncio.sleep(max(0.0, began + DEAF_S - time.time()))
    told_by_then = (await arena.crowd("zeros", sku="least"))["zeros"]
    proxy.heal()
    healed = time.time()
    await eventually(arena.gateway.ready, TRUE_WITHIN_S, every_s=0.02)
    ready_s = time.time() - healed
    told_at = await _all_are_told(arena, "least", began)
    report(
        f"all silent: noticed after {noticed_s:.1f} s, healed after {healed - began:.1f} s, ready "
        f"{ready_s:.1f} s later; all told of sold out after {told_at - began:.1f} s, "
        f"{VIEWERS - told_by_then.count(None)} of {VIEWERS} before healing"
    )
    return healed


async def _all_are_told(arena: Arena, sku: str, since: float) -> float:
    """Wait until everybody was told that it is sold out; returns when the last was."""
    zeros: list[float | None] = []

    async def all_are_told() -> bool:
        nonlocal zeros
        zeros = (await arena.crowd("zeros", sku=sku))["zeros"]
        return None not in zeros

    with contextlib.suppress(TimeoutError):
        await eventually(all_are_told, max(0.1, since + BUDGET_S - time.time()), every_s=0.05)
    late = [at for at in zeros if at is None or at - since > BUDGET_S]
    assert not late, f"{len(late)} were shown what is sold out for more than {BUDGET_S} s"
    return max(at for at in zeros if at is not None)


async def _is_unready(arena: Arena) -> bool:
    return not await arena.gateway.ready()


@contextlib.asynccontextmanager
async def _changing(arena: Arena) -> AsyncIterator[None]:
    """Stock changes all the time, so that Redis is ahead all the time."""

    async def change() -> None:
        while True:
            await arena.changes("tee")
            await asyncio.sleep(1 / CHANGES_PER_S)

    changing = asyncio.create_task(change())
    try:
        yield
    finally:
        changing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await changing
