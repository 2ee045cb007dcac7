"""The track to one server: what waits for replicas, and for disks."""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from gateway.checkout.record import Record
from gateway.checkout.records import NotDurable
from gateway.lane import Lane, served
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.scripts import Script
from tests.proxy import Proxy, open_proxy
from tests.sales import eventually
from tests.stall import Stall, settings_for

PATIENCE_S = 10
READ = "#!lua\nreturn 'read'"
READING = Script("read", READ, hashlib.sha1(READ.encode()).hexdigest())


def lenient(stall: Stall) -> Stall:
    """The same shop, through a gateway that waits for nobody to be believed."""
    return Stall(stall.lane, msgspec.structs.replace(stall.settings, wait_replicas=0))


@contextlib.asynccontextmanager
async def replicated(warden: Warden, shop: str) -> AsyncIterator[tuple[Stall, Proxy]]:
    """A stall that waits for one replica, and the proxy on the way to it."""
    at_once = {"repl-diskless-sync-delay": "0"}
    with EmbeddedValkey(warden.group, port=0, config=at_once) as primary:
        async with open_proxy(primary.port) as link:
            lines = {"replicaof": f"127.0.0.1 {link.port}"}
            replica = EmbeddedValkey(warden.group, port=0, config=lines)
            async with contextlib.AsyncExitStack() as stack:
                await asyncio.to_thread(stack.enter_context, replica)
                settings = settings_for(primary.url, shop, wait_replicas=1)
                lane = await stack.enter_async_context(served(settings))
                await eventually(lambda: _replicates(lane))
                yield Stall(lane, settings), link


async def _replicates(lane: Lane) -> bool:
    await lane.command("SET", "probe", uuid.uuid4().hex)
    return bool(await lane.command("WAIT", 1, 100) == 1)


async def test_a_commit_counts_the_replicas_that_have_it(
    warden: Warden, shop: str, valkey: EmbeddedValkey
) -> None:
    async with replicated(warden, shop) as (stall, _):
        await lenient(stall).sells("tee", 1)
        record = await stall.pays("ann", await stall.reserves("ann", "k1", ("tee", 1)))
        async with asyncio.timeout(PATIENCE_S):
            while True:  # a machine under load may need more than one WAIT
                with contextlib.suppress(NotDurable):
                    await stall.commits(record)
                    break
        replies = await stall.lane.call_durably(READING, (), ())
        assert (replies.reply, replies.replicas) == (b"read", 1)


async def test_who_waits_for_replicas_holds_up_nobody_else(
    warden: Warden, shop: str, valkey: EmbeddedValkey
) -> None:
    async with replicated(warden, shop) as (stall, link):
        await lenient(stall).sells("tee", 2)
        record = await stall.pays("ann", await stall.reserves("ann", "k1", ("tee", 1)))
        link.stall()
        patient = msgspec.structs.replace(stall.settings, wait_timeout_ms=60_000)
        async with served(patient) as lane:
            waiting = asyncio.create_task(Stall(lane, patient).commits(record))
            others = Stall(lane, msgspec.structs.replace(patient, wait_replicas=0))
            await eventually(lambda: _is_sold(others, record))
            await others.reserves("bob", "k1", ("tee", 1))
            assert not waiting.done()
            link.heal()
            await waiting


async def _is_sold(stall: Stall, record: Record) -> bool:
    return (await stall.record(record.order)).phase == "committed"


@pytest.mark.parametrize(
    ("appendfsync", "sold"), [("always", True), ("no", False)], ids=["on disk", "not on disk"]
)
async def test_a_sale_may_have_to_be_on_the_disk(
    warden: Warden, shop: str, tmp_path: Path, appendfsync: Literal["always", "no"], *, sold: bool
) -> None:
    server = EmbeddedValkey(warden.group, port=0, data_dir=tmp_path, appendfsync=appendfsync)
    with server:
        settings = settings_for(server.url, shop, wait_fsync=True, wait_timeout_ms=50)
        hasty = msgspec.structs.replace(settings, wait_fsync=False)
        async with served(hasty) as lane:
            await Stall(lane, hasty).sells("tee", 1)
        async with served(settings) as lane:
            stall = Stall(lane, settings)
            record = await stall.pays("ann", await stall.reserves("ann", "k1", ("tee", 1)))
            if sold:
                await stall.commits(record)
                return
            with pytest.raises(NotDurable):
                await stall.commits(record)


async def test_without_a_replica_nothing_is_durable(stall_waiting: Stall) -> None:
    record = await _commits_in_vain(stall_waiting)
    assert (await stall_waiting.record(record.order)).phase == "committed"


async def _commits_in_vain(stall: Stall) -> Record:
    """The payment begins while nobody has noticed yet."""
    before = lenient(stall)
    await before.sells("tee", 1)
    record = await before.pays("ann", await before.reserves("ann", "k1", ("tee", 1)))
    with pytest.raises(NotDurable):
        await stall.commits(record)
    return record


@pytest.fixture
async def stall_waiting(redis_url: str, shop: str) -> AsyncIterator[Stall]:
    settings = settings_for(redis_url, shop, wait_replicas=1, wait_timeout_ms=50)
    async with served(settings) as lane:
        yield Stall(lane, settings)


async def test_a_commit_repeated_on_another_connection_is_not_durable_by_itself(
    warden: Warden, shop: str, valkey: EmbeddedValkey
) -> None:
    """The replica stays connected, but nothing reaches it: it must not count."""
    async with replicated(warden, shop) as (stall, link):
        link.stall()
        record = await _commits_in_vain(stall)
        async with served(stall.settings) as another:
            again = Stall(another, stall.settings)
            with pytest.raises(NotDurable):
                await again.commits(record)
            link.heal()
            await eventually(lambda: _is_durable(again, record))


async def _is_durable(stall: Stall, record: Record) -> bool:
    try:
        await stall.commits(record)
    except NotDurable:
        return False
    return True
