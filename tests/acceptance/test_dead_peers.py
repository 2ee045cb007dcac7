"""Who is still there is known by the answers to pings; whoever is not is freed, and stops nothing.

By default pings go out every second and a payment takes four. With a payment of 45 s, and pings
every ten:

    HOLDFAST_TEST_SLOW_PAYMENT_S=45 pytest -n 0 -rP tests/acceptance/test_dead_peers.py
"""

import asyncio
import signal
import time

from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.warden import Warden
from tests.acceptance.arena import FAR_BUFFER, Arena, looks_into_processes, open_arena, report
from tests.acceptance.place import hears_the_end
from tests.bank import CREATE, Bank
from tests.depth import many
from tests.sales import eventually

PAYMENT_S = many("SLOW_PAYMENT_S", 4, 4)
FULL = PAYMENT_S >= 45
PING_S = 10 if FULL else 1
GRACE_S = 10 if FULL else 1
DEAD, STRAYS, STALLED = 5, 5, 50
SKUS = [f"tee-organic-cotton-unisex-navy-{size:03}" for size in range(20)]
STRAY = '{"type":"stray","id":1,"text":"%s"}' % ("x" * 2_000)
"""Larger than what goes the short way."""
DRAIN_S = 1
ENDED = {0, -signal.SIGTERM}
"""Uvicorn passes the signal on when it has stopped."""


@looks_into_processes
async def test_only_whoever_is_there_keeps_a_socket(redis_url: str, warden: Warden) -> None:
    pace = {"ping_s": PING_S, "slow_grace_s": GRACE_S, "stripe_timeout_ms": 60_000}
    async with (
        stripe_server.serving(StripeSettings(per_endpoint=0, per_account=0)) as stripe_url,
        open_arena(redis_url, warden, stripe_url=stripe_url, **pace) as arena,
    ):
        await arena.sells(*SKUS)
        await Bank(stripe_url).fails(latency_ms=PAYMENT_S * 1_000, endpoint=CREATE)
        assert (await arena.enter(STRAYS))["in"] == STRAYS
        async with asyncio.TaskGroup() as group:
            changing = group.create_task(arena.keeps_changing(SKUS, 50, PAYMENT_S))
            group.create_task(_dead_are_freed(arena))
            group.create_task(_payment_is_answered(arena))
            group.create_task(_strays_stay(arena))
        assert changing.done()


async def _dead_are_freed(arena: Arena) -> None:
    """Freed is whose file is closed; a close that waits for the peer would keep it."""
    began = time.monotonic()
    dead = await arena.enter(DEAD, first=STRAYS, deaf=True, receive_buffer=FAR_BUFFER)
    assert dead["in"] == DEAD
    ports = (await arena.crowd("ports", first=STRAYS))["ports"]
    assert arena.gateway.still_has(ports) == DEAD

    async def are_freed() -> bool:
        return arena.gateway.still_has(ports) == 0

    await eventually(are_freed, 2 * PING_S + GRACE_S + 1, every_s=0.05)
    report(f"{DEAD} dead peers were freed after {time.monotonic() - began:.1f} s")


async def _payment_is_answered(arena: Arena) -> None:
    async with arena.shopper("payer") as payer:
        reply = await payer.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        began, payer.patience_s = time.monotonic(), PAYMENT_S + 10
        reply = await hears_the_end(payer, await payer.pays(reply["hold"]))
        assert reply["state"] == "confirmed", reply
        assert time.monotonic() - began >= PAYMENT_S
        report(f"a payment was answered after {time.monotonic() - began:.1f} s")


async def _strays_stay(arena: Arena) -> None:
    """One frame that nobody expects, and from then on pongs alone."""
    await arena.crowd("say", first=0, count=STRAYS, text=STRAY)
    await asyncio.sleep(3.2 * PING_S)
    met = await arena.crowd("tell")
    assert met["errors"] == {"unknown_type": STRAYS}, met
    assert met["pings"] >= 3 * STRAYS, met
    assert [end for end in (await arena.crowd("ends", count=STRAYS))["ends"] if end[1]] == []


async def test_fifty_stalled_peers_do_not_hold_up_the_end(redis_url: str, warden: Warden) -> None:
    async with open_arena(redis_url, warden, drain_s=DRAIN_S) as arena:
        await arena.sells(*SKUS)
        stalled = await arena.enter(STALLED, deaf=True, receive_buffer=FAR_BUFFER)
        assert stalled["in"] == STALLED
        assert (await arena.enter(STALLED, first=STALLED))["in"] == STALLED
        await arena.keeps_changing(SKUS, 50, 1)
        began = time.monotonic()
        arena.gateway.process.child.terminate()
        code = await arena.gateway.process.ended(DRAIN_S + 2)
        report(f"SIGTERM to the end, with {STALLED} stalled: {time.monotonic() - began:.1f} s")
    assert code in ENDED
