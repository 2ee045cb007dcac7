"""Redis that fails: a primary and its replica behind an address of their own, and a server's disk.

A gateway reaches the primary through ``service``, the replica follows it through ``link``; both are
proxies, so that the one can be pointed at the promoted replica, as a cluster's Service is, and the
other be cut. ``late_service`` is the same Service where word of a failover arrives late. Nothing is
promoted by itself: a test says when.

    async with open_pair(warden) as pair:
        settings = settings_for(pair.url, shop, wait_replicas=1)
        await pair.cuts_link()          # the replica hears nothing more
        await pair.kills_primary()      # what it had not heard is lost
        await pair.promotes()           # the replica is the primary; clients are led there
        pair.tells_everybody()          # the late ones, too
        await pair.attaches()           # a new replica, empty, follows it; WAIT 1 can be satisfied

Cutting the link is what loses writes. To pause or kill the replica loses nothing, for the buffers
of the kernel deliver when it wakes; and a killed server loses nothing of its disk, for the kernel
has it already. Power is lost with ``loses_power``, which shortens the append-only file.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from tests.proxy import Proxy, open_proxy

HOST = "127.0.0.1"
PATIENCE_S = 10.0
AOF_FOLDER = "appendonlydir"
AT_ONCE = {"repl-diskless-sync": "no", "repl-diskless-load": "swapdb"}
"""A new replica has everything, and says so, within 0.1 s: by way of the primary's disk, since a
streamed one is only believed when it speaks again a second later, and past its own disk, which it
looks at once a second."""


async def ask(server: EmbeddedValkey, *words: str | int) -> Any:
    """Ask one server itself, past every proxy; the plain reply.

    Raises:
        TimeoutError: it is paused.
    """
    async with asyncio.timeout(PATIENCE_S), Redis.from_url(server.url) as client:
        client.response_callbacks.clear()
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


class Pair:
    """A primary and a replica of it; after ``promotes`` the replica that was, and a new one."""

    def __init__(self, warden: Warden, service: Proxy, late_service: Proxy, link: Proxy) -> None:
        self._warden, self._link = warden, link
        self.service, self.late_service = service, late_service
        self._stack = contextlib.ExitStack()
        self.primary = self._server({})
        self.replica: EmbeddedValkey | None = None

    @property
    def url(self) -> str:
        """Where gateways find whoever is the primary."""
        return self.service.url

    async def opens(self) -> None:
        """Start both."""
        await asyncio.to_thread(self._starts, self.primary)
        self.service.target = self.late_service.target = self.primary.port
        await self.attaches()

    def close(self) -> None:
        """Stop every server there ever was."""
        self._stack.close()

    # The link

    async def cuts_link(self, *, silently: bool = False) -> None:
        """The replica hears nothing more, whatever was on its way too.

        ``silently``: neither side is told, so that the primary goes on believing in its replica.
        """
        self._link.stall()
        if not silently:
            self._link.cut()

    # The servers

    async def kills_primary(self) -> None:
        """The primary dies at once, and everybody connected to it notices."""
        await asyncio.to_thread(self.primary.kill)

    async def promotes(self) -> float:
        """The replica becomes the primary, and clients are led to it; returns when, monotonic.

        The old primary is left as it is: cut off or paused, and who came by way of the late
        service is still with it until ``tells_everybody``.
        """
        assert self.replica
        self._link.cut()
        await ask(self.replica, "REPLICAOF", "NO", "ONE")
        at = time.monotonic()
        self.primary, self.replica = self.replica, None
        self.service.target = self.primary.port
        self.service.cut()
        return at

    def tells_everybody(self) -> None:
        """Word of the failover has arrived everywhere."""
        self.late_service.target = self.primary.port
        self.late_service.cut()

    async def attaches(self) -> None:
        """A replica that is new and empty follows the primary; returns when it has everything."""
        assert self.replica is None
        self._link.target = self.primary.port
        self._link.cut()
        self._link.heal()
        replica = self._server({"replicaof": f"{HOST} {self._link.port}"})
        await asyncio.to_thread(self._starts, replica)
        self.replica = replica
        await self.is_followed()

    async def loses_replica(self) -> None:
        """The only replica is gone for good."""
        assert self.replica
        await asyncio.to_thread(self.replica.kill)
        self.replica = None

    async def is_followed(self) -> None:
        """Wait until what the primary writes now is on the replica."""
        async with asyncio.timeout(PATIENCE_S), Redis.from_url(self.primary.url) as client:
            while True:
                await client.set("hf:is-followed", "1")
                if await client.wait(1, 100):
                    return

    def _server(self, config: dict[str, str]) -> EmbeddedValkey:
        return EmbeddedValkey(self._warden.group, port=0, config=AT_ONCE | config)

    def _starts(self, server: EmbeddedValkey) -> None:
        self._stack.callback(server.close)
        server.start()


@contextlib.asynccontextmanager
async def open_pair(warden: Warden) -> AsyncIterator[Pair]:
    """A primary with a replica that has followed it."""
    async with open_proxy(0) as service, open_proxy(0) as late, open_proxy(0) as link:
        pair = Pair(warden, service, late, link)
        try:
            await pair.opens()
            yield pair
        finally:
            await asyncio.to_thread(pair.close)


@contextlib.contextmanager
def paused(server: EmbeddedValkey) -> Iterator[None]:
    """A server stands still inside the block; its connections stay, and it wakes afterwards."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


# The disk of one server


def loses_power(server: EmbeddedValkey, data: Path, lost_bytes: int) -> None:
    """The power fails before the last bytes were brought to the disk; then it comes back."""
    server.kill()
    (log,) = (data / AOF_FOLDER).glob("*.incr.aof")
    os.truncate(log, max(0, log.stat().st_size - lost_bytes))
    server.start()


def keeps_snapshot(data: Path, at: Path) -> None:
    """Somebody copies the data directory, as a backup does."""
    shutil.copytree(data, at)


def restores(server: EmbeddedValkey, data: Path, snapshot: Path) -> None:
    """The server comes back with the data of then."""
    server.kill()
    shutil.rmtree(data)
    shutil.copytree(snapshot, data)
    server.start()
