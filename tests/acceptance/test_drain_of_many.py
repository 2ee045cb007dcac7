"""A gateway that stops, or is asked to drain, sends its shoppers elsewhere one after the other.

By default a hundred and fifty viewers within a second. At full size, with the figures printed:

    HOLDFAST_TEST_DRAIN=5000 pytest -n 0 -rP tests/acceptance/test_drain_of_many.py
"""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.warden import Warden
from tests.acceptance.arena import Arena, Gateway, open_arena, report
from tests.acceptance.place import hears_the_end
from tests.bank import CREATE, Bank
from tests.depth import many
from tests.sales import eventually
from tests.shopper import Message, Shopper

VIEWERS = many("DRAIN", 150, 150)
DRAIN_S = 20 if VIEWERS >= 5_000 else 2
PAYMENT_S = 0.75 * DRAIN_S
LEAST_SPREAD = 0.8
PATIENCE_S = 60
HOLDER = "holder"
PAYER = {"SIGTERM": "payer1", "/drainz": "payer2"}
ENDED = {0, -signal.SIGTERM}
"""Uvicorn passes the signal on when it has stopped."""


@pytest.fixture
async def arena(redis_url: str, warden: Warden) -> AsyncIterator[Arena]:
    async with (
        stripe_server.serving(StripeSettings(per_endpoint=0, per_account=0)) as stripe_url,
        open_arena(redis_url, warden, 2, stripe_url, drain_s=DRAIN_S) as arena,
    ):
        await Bank(stripe_url).fails(latency_ms=int(PAYMENT_S * 1_000), endpoint=CREATE)
        yield arena


async def test_everybody_is_sent_elsewhere_in_time(arena: Arena) -> None:
    first, second = arena.gateways
    came = await arena.enter(VIEWERS, [first], within_s=PATIENCE_S)
    assert came["in"] == VIEWERS, came
    hold = await _is_drained(arena, first, "SIGTERM")
    await _all_go_on(arena, second, hold)
    await _is_drained(arena, second, "/drainz")


async def _is_drained(arena: Arena, gateway: Gateway, how: str) -> str:
    """Drain a gateway that serves all viewers, one who holds something, and one who pays.

    Returns the hold.
    """
    async with (
        arena.shopper(HOLDER, gateway) as holder,
        arena.shopper(PAYER[how], gateway) as payer,
    ):
        held = await _reserves(holder)
        paying = asyncio.create_task(_pays_to_the_end(payer))
        await eventually(lambda: _pays(gateway))
        watching = asyncio.create_task(_first_unready(gateway))
        began = time.time()
        await _drain(gateway, how)
        ends = await _all_ended(arena)
        assert (await paying)["state"] == "confirmed"
        assert {await _closed(holder), await _closed(payer)} == {1012}
        paid_s = time.time() - began
    if how == "SIGTERM":
        assert await gateway.process.ended(max(0.1, DRAIN_S + 2 - (time.time() - began))) in ENDED
    unready_at = await watching
    closes = sorted(end for _, _, end, _ in ends)
    report(
        f"{how}: not ready after {unready_at - began:.2f} s, first close after "
        f"{closes[0] - began:.2f} s, last after {closes[-1] - began:.2f} s, of who paid "
        f"{paid_s:.2f} s, of {DRAIN_S} s"
    )
    assert Counter(code for _, code, _, _ in ends) == {1012: VIEWERS}
    assert all(began <= told <= end for _, _, end, told in ends), "some were not told of the drain"
    assert unready_at < closes[0]
    assert closes[-1] - closes[0] >= LEAST_SPREAD * DRAIN_S
    assert closes[-1] - began <= DRAIN_S + 1
    return str(held["hold"]["id"])


async def _drain(gateway: Gateway, how: str) -> None:
    if how == "SIGTERM":
        gateway.process.child.terminate()
        return
    stranger = await gateway.client.post(f"http://{gateway.address}/drainz")
    assert stranger.status_code == 401
    assert (await gateway.ask("POST", "/drainz")).is_success


async def _first_unready(gateway: Gateway) -> float:
    """When readiness first failed with a 503; the answer, not a door that is closed."""
    each_by_itself = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, limits=each_by_itself) as probe:
        while True:
            answer = await probe.get(f"http://{gateway.address}/readyz")
            if answer.status_code == 503:
                assert "draining" in answer.json()["failing"]
                return time.time()
            await asyncio.sleep(0.01)


async def _reserves(shopper: Shopper) -> Message:
    return await shopper.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])


async def _pays_to_the_end(payer: Shopper) -> Message:
    payer.patience_s = PATIENCE_S
    held = await _reserves(payer)
    return await hears_the_end(payer, await payer.pays(held["hold"]))


async def _closed(shopper: Shopper) -> int:
    """The code; what came before it has to be read, or nothing more would be."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await shopper.socket.recv()
    return await shopper.closed()


async def _pays(gateway: Gateway) -> bool:
    return await gateway.number("holdfast_payments_running") == 1


async def _all_ended(arena: Arena) -> list[Any]:
    ends: list[Any] = []

    async def have_all() -> bool:
        nonlocal ends
        ends = (await arena.crowd("ends"))["ends"]
        return len(ends) == VIEWERS

    try:
        await eventually(have_all, DRAIN_S + 5, every_s=0.1)
    except TimeoutError:
        raise AssertionError(f"{VIEWERS - len(ends)} were not closed") from None
    return ends


async def _all_go_on(arena: Arena, elsewhere: Gateway, hold: str) -> None:
    """They come to another gateway, which sends stock to nobody who is up to date."""
    await arena.crowd("forget")
    again = await arena.enter(VIEWERS, [elsewhere], resume=True, within_s=PATIENCE_S)
    assert again["in"] == VIEWERS, again
    await arena.all_show_the_truth(PATIENCE_S)
    report(f"back after {again['took_s']:.2f} s: {await arena.crowd('tell')}")
    async with arena.shopper(HOLDER, elsewhere) as holder:
        assert [one["id"] for one in holder.welcome["holds"]] == [hold]
        resume = {key: holder.welcome["stock"][key] for key in ("epoch", "version")}
    async with arena.shopper(HOLDER, elsewhere, resume=resume) as holder:
        assert [one["id"] for one in holder.welcome["holds"]] == [hold]
    async with arena.shopper(PAYER["SIGTERM"], elsewhere) as payer:
        assert [one["state"] for one in payer.welcome["orders"]] == ["confirmed"]
