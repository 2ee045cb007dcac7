"""The lane on a real server, with a network that loses, delays and cuts in between."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable

import pytest
from redis.asyncio import Redis

from gateway.errors import HoldfastError, Overloaded, Unavailable
from gateway.lane import Lane, served
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.scripts import Script
from tests.insist import insist
from tests.late import Late
from tests.proxy import Proxy, open_proxy
from tests.stall import Stall, moved, settings_for

PATIENCE_S = 10

ANSWER_WITHIN_S = 1.0
"""A reservation into a black hole has an answer within a second."""


@pytest.fixture
async def proxy(valkey: EmbeddedValkey) -> AsyncIterator[Proxy]:
    async with open_proxy(valkey.port) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def stall_behind(proxy: Proxy, shop: str, **changes: int) -> AsyncIterator[Stall]:
    """A stall whose gateway reaches Redis through a proxy."""
    settings = settings_for(proxy.url, shop, **changes)
    async with served(settings) as lane:
        yield Stall(lane, settings)


async def timed(work: Awaitable[object]) -> tuple[type[BaseException] | None, float]:
    """How a call ended, and how long it took."""
    began = time.monotonic()
    error = None
    try:
        await work
    except HoldfastError as refusal:
        error = type(refusal)
    return error, time.monotonic() - began


def script(text: str) -> Script:
    """A script of the test's own."""
    return Script("test", text, hashlib.sha1(text.encode()).hexdigest())


# Round trips.


async def test_what_gathers_during_a_round_trip_goes_together_in_order(
    lane: Lane, shop: str
) -> None:
    key = f"{{{shop}}}:order"
    lengths = await asyncio.gather(*(lane.command("RPUSH", key, n) for n in range(1000)))
    assert lengths == list(range(1, 1001))
    assert await lane.command("LRANGE", key, 0, -1) == [b"%d" % n for n in range(1000)]
    assert lane.round_trips <= 6


async def test_a_refused_request_does_its_neighbours_no_harm(lane: Lane, shop: str) -> None:
    key = f"{{{shop}}}:text"
    first, wrong, last = (
        lane.command("SET", key, "word"),
        lane.command("INCR", key),
        lane.command("GET", key),
    )
    with pytest.raises(Unavailable):
        await wrong
    assert (await first, await last) == (b"OK", b"word")


async def test_a_full_queue_refuses_at_once(proxy: Proxy, shop: str) -> None:
    async with stall_behind(proxy, shop, redis_queue=3, redis_attempts=1) as stall:
        await stall.lane.command("PING")
        proxy.stall()
        in_flight = stall.lane.command("PING")
        await asyncio.sleep(0)
        waiting = [stall.lane.command("PING") for _ in range(3)]
        with pytest.raises(Overloaded) as refused:
            stall.lane.command("PING")
        assert refused.value.facts == {"retry_after_ms": 200}
        proxy.heal()
        assert await asyncio.gather(in_flight, *waiting) == [b"PONG"] * 4


async def test_a_cancelled_caller_harms_nobody(proxy: Proxy, shop: str) -> None:
    async with stall_behind(proxy, shop, redis_timeout_ms=5000) as stall:
        await stall.sells("tee", 40)
        proxy.stall()
        tasks = [
            asyncio.create_task(stall.reserves(f"shopper{n}", "k1", ("tee", 1))) for n in range(40)
        ]
        echoes = [asyncio.create_task(_echo(stall.lane, n)) for n in range(40)]
        await asyncio.sleep(0.01)
        for task in (*tasks[::2], *echoes[::2]):
            task.cancel()
        proxy.heal()
        others = await asyncio.gather(*tasks[1::2])
        assert [held.hold.id for held in others] == [
            stall.hold_of(f"shopper{n}", "k1") for n in range(1, 40, 2)
        ]
        assert await asyncio.gather(*echoes[1::2]) == [b"%d" % n for n in range(1, 40, 2)]
        # Who hung up in the middle finds the hold when coming back.
        await stall.reserves("shopper0", "k1", ("tee", 1))
        assert (await stall.books()).drifts() == []


async def _echo(lane: Lane, number: int) -> bytes:
    reply: bytes = await lane.command("ECHO", number)
    return reply


async def test_shutdown_fails_what_waits_and_what_comes_later(proxy: Proxy, shop: str) -> None:
    settings = settings_for(proxy.url, shop)
    lane = Lane(settings)
    serving_task = asyncio.create_task(lane.run())
    assert await lane.command("PING") == b"PONG"
    proxy.stall()
    in_flight = lane.command("PING")
    await asyncio.sleep(0.01)
    waiting = lane.command("PING")
    serving_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving_task
    for request in (in_flight, waiting):
        with pytest.raises(Unavailable):
            await request
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unavailable):
            await lane.command("PING")


# Lost replies and black holes.


async def test_a_reply_lost_three_times_moves_one_unit(proxy: Proxy, shop: str) -> None:
    async with stall_behind(proxy, shop, redis_attempts=4) as stall:
        await stall.sells("tee", 5)
        proxy.lose_replies(3)
        held = await stall.reserves("ann", "k1", ("tee", 1))
        assert await stall.reserves("ann", "k1", ("tee", 1)) == held
        assert await stall.available() == {"tee": 4}
        assert [entry.kind for entry in (await stall.books()).ledger] == ["received", "held"]


@pytest.mark.parametrize("kind", ["release", "extend", "begin", "commit", "fail", "movement"])
async def test_no_script_moves_anything_twice(proxy: Proxy, shop: str, kind: str) -> None:
    async with stall_behind(proxy, shop) as stall:
        await stall.sells("tee", 5)
        held = await stall.reserves("ann", "k1", ("tee", 1))
        record = await stall.pays("ann", held) if kind in {"commit", "fail"} else None
        if kind == "fail" and record:
            await stall.commits(record)
        before = (await stall.books()).version
        proxy.lose_replies(1)
        match kind, record:
            case "release", _:
                await stall.holds.release(shop, "ann", held.hold.id)
            case "extend", _:
                await stall.holds.extend(shop, "ann", held.hold.id)
            case "begin", _:
                await stall.begins("ann", held)
            case "commit", record if record:
                await stall.commits(record)
            case "fail", record if record:
                assert await stall.records.fail(shop, record, "test")
            case _:
                await stall.movements.apply(shop, (moved("in-cap", "cap", 1),))
        books = await stall.books()
        assert books.drifts() == []
        assert books.version == before + (kind not in {"extend", "begin"})


@pytest.mark.parametrize("fault", ["swallow", "stall"])
async def test_a_black_hole_is_answered_within_a_second(
    proxy: Proxy, shop: str, fault: str, late: Late
) -> None:
    async with stall_behind(proxy, shop) as stall:
        await stall.sells("tee", 5)
        getattr(proxy, fault)()
        calls = []
        # They come one after the other, while others hang already, and by way of both queues.
        for n in range(10):
            reserving = stall.reserves(f"shopper{n}", "k1", ("tee", 1))
            calls.append(asyncio.create_task(timed(reserving)))
            calls.append(asyncio.create_task(timed(stall.lane.command("PING"))))
            await asyncio.sleep(0.09)
        outcomes = await asyncio.gather(*calls)
        assert {error for error, _ in outcomes} == {Unavailable}
        each_late_s = stall.settings.redis_attempts * late.worst_s
        assert max(seconds for _, seconds in outcomes) < ANSWER_WITHIN_S + each_late_s
        proxy.heal()
        held = await insist(lambda: stall.reserves("ann", "k1", ("tee", 1)))
        assert held.hold.state == "active"
        assert (await stall.books()).drifts() == []


async def test_a_peer_that_reads_nothing_more_cannot_hold_the_lane(
    proxy: Proxy, shop: str, late: Late
) -> None:
    """More than all buffers take is under way, so that the connection cannot even be closed."""
    async with stall_behind(proxy, shop) as stall:
        await stall.lane.command("PING")
        proxy.stall()
        error, seconds = await timed(stall.lane.command("ECHO", b"x" * 30_000_000))
        assert error is Unavailable
        assert seconds < ANSWER_WITHIN_S + stall.settings.redis_attempts * late.worst_s
        proxy.heal()
        async with asyncio.timeout(PATIENCE_S):
            assert await stall.lane.command("ECHO", b"word") == b"word"


async def test_a_cut_connection_is_made_anew_in_silence(proxy: Proxy, shop: str) -> None:
    async with stall_behind(proxy, shop) as stall:
        await stall.sells("tee", 5)
        for n in range(3):
            proxy.cut()
            await stall.reserves("ann", f"k{n}", ("tee", 1))
        assert await stall.available() == {"tee": 2}


# Scripts the server has forgotten.


async def test_forgotten_scripts_are_loaded_and_only_they_are_sent_again(
    warden: Warden, shop: str, valkey: EmbeddedValkey
) -> None:
    with EmbeddedValkey(warden.group, port=0) as server:
        async with served(settings_for(server.url, shop)) as lane:
            count = script("#!lua\nreturn redis.call('INCR', KEYS[1])")
            assert await lane.call(count, ("counted",), ()) == 1
            await lane.command("SCRIPT", "FLUSH")
            replies = await asyncio.gather(
                lane.command("INCR", "plain"),
                lane.call(count, ("counted",), ()),
                lane.call_durably(count, ("counted",), ()),
                lane.command("INCR", "plain"),
            )
            assert [replies[0], replies[1], replies[2].reply, replies[3]] == [1, 2, 3, 2]


async def test_the_purchase_survives_a_script_flush_at_every_step(
    warden: Warden, shop: str, valkey: EmbeddedValkey
) -> None:
    with EmbeddedValkey(warden.group, port=0) as server:
        settings = settings_for(server.url, shop)
        async with served(settings) as lane:
            stall = Stall(lane, settings)

            async def forget() -> None:
                await lane.command("SCRIPT", "FLUSH")

            await forget()
            await stall.sells("tee", 2)
            await forget()
            held = await stall.reserves("ann", "k1", ("tee", 1))
            await forget()
            record = await stall.pays("ann", held)
            await forget()
            await stall.commits(record)
            assert (await stall.books()).drifts() == []


# Memory.


async def test_out_of_memory_refuses_to_reserve_but_not_to_release_or_commit(
    warden: Warden, shop: str, valkey: EmbeddedValkey
) -> None:
    with EmbeddedValkey(warden.group, port=0) as server:
        settings = settings_for(server.url, shop)
        async with served(settings) as lane, Redis.from_url(server.url) as admin:
            stall = Stall(lane, settings)
            await stall.sells("tee", 5)
            kept, given_back = [await stall.reserves("ann", f"k{n}", ("tee", 1)) for n in (1, 2)]
            record = await stall.pays("ann", kept)
            await admin.config_set("maxmemory", 1)
            with pytest.raises(Overloaded):
                await stall.reserves("ann", "k3", ("tee", 1))
            await stall.holds.release(shop, "ann", given_back.hold.id)
            await stall.commits(record)
            await admin.config_set("maxmemory", 0)
            assert (await stall.books()).drifts() == []
            assert await stall.available() == {"tee": 4}
