"""What Redis can do to a shop besides dying, and what must come of it: a row, a test.

    paused                              latency; nothing is captured that the replica does not have
    all replicas down                   paused: no new holds, nothing captured
    a hold is lost in a failover        the session brings it back
    an old primary wakes                whoever still writes to it captures nothing
    its disk forgets, is put back,      frozen, rebuilt, a new epoch; nothing is sold again
    or is emptied
    a socket closes in mid-reserve      the hold is there on resume

A pause is of one second by default; ``HOLDFAST_TEST_PAUSE_S=10`` makes it longer. ``test_failover``
kills primaries; ``test_lane`` loses replies, swallows them, flushes scripts and fills the memory.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from gateway.errors import CloseCode, HoldfastError, Unavailable
from gateway.keys import ShopKeys
from gateway.reconcile.findings import Mend
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import Rooms
from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.sweep import Sweep
from tests.acceptance.place import UNITS, hears_the_end, holds, opened
from tests.acceptance.throng import Ending, Throng, ending, open_gateways, opens_shop, quick
from tests.bank import CREATE, Bank
from tests.failover import (
    Pair,
    ask,
    keeps_snapshot,
    loses_power,
    open_pair,
    paused,
    restores,
)
from tests.integration.conftest import SHOW, UNLIMITED, settings_of
from tests.proxy import open_proxy
from tests.sales import eventually
from tests.shopper import connected

PAUSE_S = float(os.environ.get("HOLDFAST_TEST_PAUSE_S", "1"))
STOCK = 2
PATIENCE_S = 20.0


@dataclass
class Counter:
    """A shop that sells two tees through one gateway, and its Stripe."""

    throng: Throng
    bank: Bank
    since_s: int
    sweep: Sweep
    server: EmbeddedValkey = field(init=False)
    """Of a counter that has one with a disk."""

    @property
    def rooms(self) -> Rooms:
        return self.throng.gateways[0]

    @property
    def shop(self) -> str:
        return self.throng.shop

    async def tries(self, name: str) -> str:
        """A shopper tries until there is a word; returns it."""
        async with asyncio.timeout(PATIENCE_S):
            await self.throng._shops(self.rooms, name, 0)
        return self.throng.heard[name]

    async def epoch(self) -> int:
        return int(await ask(self.server, "HGET", ShopKeys(self.shop).meta, "epoch") or 0)

    async def statuses(self) -> dict[str, int]:
        """How many payments of the shop are in which state at Stripe."""
        return dict(await self.bank.statuses(self.shop))

    async def ending(self) -> Ending:
        return await ending(self.throng, self.bank, STOCK, self.since_s)

    async def adds_up(self) -> None:
        end = await self.ending()
        assert (end.faults, end.untold) == ([], [])


@contextlib.asynccontextmanager
async def open_counter(
    url: str, shop: str, replicas: int, *, swept: bool = True
) -> AsyncIterator[Counter]:
    """A counter over a Redis; ``replicas`` must have a sale before its money is taken."""
    async with stripe_server.serving(UNLIMITED) as stripe_url:
        settings = quick(settings_of(url, shop), stripe_url, replicas)
        async with open_gateways([settings], random.Random(1)) as gateways:
            await opens_shop(gateways[0], shop, tee=STOCK)
            throng = Throng(gateways, shop, random.Random(1))
            sweep = Sweep(gateways[0])
            counter = Counter(throng, Bank(stripe_url), int(time.time()), sweep)
            async with throng.swept(sweep) if swept else contextlib.nullcontext():
                yield counter


@pytest.fixture
async def pair(warden: Warden) -> AsyncIterator[Pair]:
    async with open_pair(warden) as pair:
        yield pair


# Paused, cut off, woken


async def test_a_paused_primary_costs_time_and_nothing_else(pair: Pair, shop: str) -> None:
    async with open_counter(pair.url, shop, 1) as counter:
        await counter.bank.fails(reply_delay_ms=500, endpoint=CREATE)
        buying = [asyncio.create_task(counter.tries(name)) for name in ("ann", "bob")]

        async def authorized() -> bool:
            return await counter.statuses() == {"requires_capture": 2}

        await eventually(authorized, PATIENCE_S)
        with paused(pair.primary):
            await asyncio.sleep(PAUSE_S)
            assert await authorized()
        assert await asyncio.gather(*buying) == ["confirmed", "confirmed"]
        await counter.adds_up()


async def test_a_paused_replica_delays_the_capture(pair: Pair, shop: str) -> None:
    async with open_counter(pair.url, shop, 1) as counter:
        assert pair.replica
        with paused(pair.replica):
            buying = asyncio.create_task(counter.tries("ann"))

            async def authorized() -> bool:
                return await counter.statuses() == {"requires_capture": 1}

            await eventually(authorized, PATIENCE_S)
            await asyncio.sleep(min(PAUSE_S, 0.3))
            assert await counter.statuses() == {"requires_capture": 1}
        assert await buying == "confirmed"
        await counter.adds_up()


async def test_a_client_of_a_woken_old_primary_captures_nothing(pair: Pair, shop: str) -> None:
    """It has slept through its replacement, and takes the writes of those it still knows."""
    old = pair.primary
    async with open_counter(old.url, shop, 1) as stale, contextlib.AsyncExitStack() as stack:
        rooms = stale.rooms
        assert await stale.tries("ann") == "confirmed"
        bobs = await stale.throng.begins(rooms, "bob", await stale.throng.reserves(rooms, "bob"))
        await pair.is_followed()
        with paused(old):
            await pair.promotes()
            await pair.attaches()
            fresh = msgspec.structs.replace(rooms.settings, redis_url=pair.url)
            gateways = await stack.enter_async_context(open_gateways([fresh], random.Random(2)))
            now = Throng(gateways, shop, random.Random(2))
            now.heard, now.orders = stale.throng.heard, stale.throng.orders
            new = Counter(now, stale.bank, stale.since_s, Sweep(gateways[0]))
            # The new primary has bob's hold; carl cannot have it.
            assert await new.tries("carl") == "sold_out"
        for _ in range(3):
            assert (await rooms.settler.settle(shop, bobs)).state == "processing"
        assert await ask(old, "HGET", ShopKeys(shop).order(bobs), "phase") == b"committed"
        assert await stale.statuses() == {"succeeded": 1, "requires_capture": 1}
        # He comes back by way of the Service, and gets what he holds.
        assert await new.tries("bob") == "confirmed"
        await new.adds_up()


async def test_a_hold_that_is_lost_in_a_failover_comes_back(settings: Settings, pair: Pair) -> None:
    """Her gateway remembers what she holds, and says so before anybody else can take it."""
    changes = {"redis_url": pair.url, "wait_replicas": 1}
    async with opened(msgspec.structs.replace(settings, **changes)) as place:
        async with place.site.shopper("ann") as ann:
            kept = await holds(ann, "kept")
            await pair.is_followed()
            await pair.cuts_link(silently=True)
            lost = await holds(ann, "lost")
            await pair.kills_primary()
            await pair.promotes()
            await pair.attaches()
            assert await ann.closed() == CloseCode.EPOCH_CHANGED
        async with place.site.shopper("ann") as ann:
            for hold in (lost, kept):
                reply = await hears_the_end(ann, await ann.pays(hold))
                assert reply.get("state") == "confirmed", reply
        assert await place.left() == UNITS - 2
        await place.adds_up()


# Replicas


async def test_without_a_replica_checkout_is_paused(pair: Pair, shop: str) -> None:
    async with open_counter(pair.url, shop, 1) as counter:
        await counter.throng.reserves(counter.rooms, "ann")
        await pair.loses_replica()

        async def is_paused() -> bool:
            number = len(await ask(pair.primary, "KEYS", ShopKeys(shop).hold("*")))
            try:
                await counter.throng.reserves(counter.rooms, f"bob{number}")
            except Unavailable as refusal:
                return "paused" in refusal.message
            return number > STOCK

        await eventually(is_paused, PATIENCE_S)
        holds = len(await ask(pair.primary, "KEYS", ShopKeys(shop).hold("*")))
        with pytest.raises(Unavailable, match="paused"):
            await counter.throng.reserves(counter.rooms, "carl")
        assert len(await ask(pair.primary, "KEYS", ShopKeys(shop).hold("*"))) == holds
        await pair.attaches()
        assert await counter.tries("ann") == "confirmed"
        await counter.adds_up()


# The disk

Harm = Callable[[EmbeddedValkey, Path, Path], None]


def _forgets(server: EmbeddedValkey, data: Path, _: Path) -> None:
    """Everything since the snapshot was not brought to the disk."""
    (then,) = (data.parent / "then" / "appendonlydir").glob("*.incr.aof")
    (log,) = (data / "appendonlydir").glob("*.incr.aof")
    loses_power(server, data, log.stat().st_size - then.stat().st_size)


def _is_put_back(server: EmbeddedValkey, data: Path, snapshot: Path) -> None:
    restores(server, data, snapshot)


@contextlib.asynccontextmanager
async def open_disk(warden: Warden, data: Path, shop: str, **how: bool) -> AsyncIterator[Counter]:
    """A counter over one server with a disk and no replica."""
    with EmbeddedValkey(warden.group, port=0, data_dir=data, appendfsync="always") as server:
        async with open_counter(server.url, shop, 0, **how) as counter:
            counter.server = server
            yield counter


async def _loses_anns_sale(counter: Counter, tmp_path: Path, harm: Harm) -> None:
    """Ann buys a tee; the server comes back and knows nothing of it."""
    data, snapshot = tmp_path / "now", tmp_path / "then"
    keeps_snapshot(data, snapshot)
    assert await counter.tries("ann") == "confirmed"
    await asyncio.to_thread(harm, counter.server, data, snapshot)


@pytest.mark.parametrize("harm", [_forgets, _is_put_back])
async def test_a_disk_that_forgets_a_sale_sells_nothing_again(
    warden: Warden, shop: str, tmp_path: Path, harm: Harm
) -> None:
    async with open_disk(warden, tmp_path / "now", shop) as counter:
        before = await counter.epoch()
        await _loses_anns_sale(counter, tmp_path, harm)
        words = [await counter.tries(name) for name in ("bob", "carl")]
        assert words == ["confirmed", "sold_out"]
        assert await counter.epoch() > before
        assert (await counter.ending()).faults == []


async def test_the_till_is_told_of_a_sale_whose_event_is_lost(
    warden: Warden, shop: str, tmp_path: Path
) -> None:
    """By what Stripe knows of it, which is not who bought it."""
    async with open_disk(warden, tmp_path / "now", shop) as counter:
        await _loses_anns_sale(counter, tmp_path, _is_put_back)
        assert await counter.tries("bob") == "confirmed"
        found = await Reconciler(counter.rooms.settler).look(shop, 0, Mend.SAFE)
        assert (found.differences, found.left) == ({"event_missing": 1}, 0)


async def test_a_flushed_server_sells_nothing_again(
    warden: Warden, shop: str, tmp_path: Path
) -> None:
    async with open_disk(warden, tmp_path / "now", shop) as counter:
        assert await counter.tries("ann") == "confirmed"
        before = await counter.epoch()
        await ask(counter.server, "FLUSHALL")
        with pytest.raises(HoldfastError):
            await counter.throng.reserves(counter.rooms, "bob")

        async def is_rebuilt() -> bool:
            return await counter.epoch() > before

        await eventually(is_rebuilt, PATIENCE_S)
        # The shop tells its catalogue and its stock again: two tees, one of them ann's.
        await opens_shop(counter.rooms, shop, tee=STOCK)
        words = [await counter.tries(name) for name in ("carl", "dora")]
        assert words == ["confirmed", "sold_out"]
        assert (await counter.ending()).faults == []


async def test_a_flushed_server_that_is_filled_again_at_once_sells_nothing_again(
    warden: Warden, shop: str, tmp_path: Path
) -> None:
    """The shop's own program is faster than the sweep."""
    async with open_disk(warden, tmp_path / "now", shop, swept=False) as counter:
        assert await counter.tries("ann") == "confirmed"
        await counter.sweep.round(shop)
        await ask(counter.server, "FLUSHALL")
        await opens_shop(counter.rooms, shop, tee=STOCK)
        words = [await counter.tries("bob")]
        await counter.sweep.round(shop)
        words.append(await counter.tries("carl"))
        assert words == ["confirmed", "sold_out"]


# The socket


async def test_a_socket_that_closes_in_mid_reserve_finds_its_hold_on_resume(
    settings: Settings, valkey: EmbeddedValkey
) -> None:
    async with open_proxy(valkey.port) as proxy:
        behind = msgspec.structs.replace(settings, redis_url=proxy.url, redis_attempts=10)
        async with opened(behind) as place:
            async with connected(place.site.socket_url) as ann:
                await ann.ask("connect", token=place.site.ticket("ann"), show=SHOW)
                proxy.lose_replies(10)
                line = {"sku": "tee", "quantity": 1}
                asking = asyncio.create_task(ann.ask("reserve", key="k", lines=[line]))

                async def executed() -> bool:
                    return proxy.lost > 0

                await eventually(executed, PATIENCE_S)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            proxy.heal()
            async with connected(place.site.socket_url) as again:
                welcome = await again.ask("connect", token=place.site.ticket("ann"), show=SHOW)
                assert welcome["holds"] == [await holds(again)]
            assert await place.left() == UNITS - 1
            await place.adds_up()
