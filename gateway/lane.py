"""The way to Redis that everybody shares: a lane, with a track for each server, and one more for
what waits for its replicas, so that nobody else waits with it.

A Redis alone is one track. A cluster says by itself that it is one: it answers that a key is
elsewhere. Then the lane reads which server has which slots, and from then on every request goes
straight to its own; one that finds its slot on the move is sent after it. A shop is one slot, so
that what is asked for a shop goes down one track, in order. Shops of a server that is dead are
unavailable until its replica has taken over; those of others go on. For that the cluster needs
``cluster-require-full-coverage no``: otherwise all of it stops while one slot has nobody.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool, UnixDomainSocketConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError

from gateway.errors import Overloaded, Unavailable
from gateway.scripts import Script
from gateway.settings import Settings
from gateway.track import GOING_AWAY, Durable, Reply, Request, Times, Track, Word, fail

__all__ = ["Address", "Durable", "Lane", "Reply", "Word", "connect", "pairs", "served", "serving"]

log = logging.getLogger(__name__)

Address = tuple[str, int]
"""Host and port of a server, as the cluster names it."""
_Way = tuple[Address | None, bool]
"""A server, and whether what goes there waits for its replicas."""

_RETRY_AFTER_MS = 200
_MOST_TIMES_SENT_ON = 8
_AGAIN_S = 0.05
"""How soon a request is sent again that a cluster could not take now."""
_LOOK_EVERY_S = 0.2
"""How often the cluster is asked which server has what, while one of them is silent."""
_LOOK_TIMEOUT_S = 0.5
_SILENT = "The stock is moving; try again."


def connect(settings: Settings, address: Address | None = None) -> Redis:
    """Make a client whose retries and timeouts are ours; nothing is sent yet.

    With an address: to that server of the cluster, otherwise as the settings say.
    """
    options: dict[str, Any] = {**parse_url(settings.redis_url)}
    if address:
        options["host"], options["port"] = address
        options.pop("path", None)
        if options.get("connection_class") is UnixDomainSocketConnection:
            del options["connection_class"]
    pool = ConnectionPool(
        **options,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
    )
    return Redis.from_pool(pool)


@dataclass(slots=True)
class Lane:
    """Sends each request down the track of the server that has its key."""

    settings: Settings
    times: Times = field(default_factory=Times)
    """How long round trips to any server took."""
    _tracks: dict[_Way, Track] = field(default_factory=dict)
    _runs: dict[_Way, asyncio.Task[None]] = field(default_factory=dict)
    _slots: dict[int, Address] = field(default_factory=dict)
    _servers: list[Address] = field(default_factory=list)
    """Every server the cluster has named, replicas too."""
    _group: asyncio.TaskGroup | None = None
    _looking: bool = False
    _closed: bool = False

    @property
    def waiting(self) -> int:
        """Requests that wait for the next round trip."""
        return sum(track.waiting for track in self._tracks.values())

    @property
    def round_trips(self) -> int:
        """Round trips made so far."""
        return self.times.plain.total + self.times.waited.total

    def call(
        self, script: Script, keys: Sequence[str], args: Sequence[Word]
    ) -> asyncio.Future[Reply]:
        """Run a script; the future holds its reply.

        Raises:
            Overloaded: too many requests wait already.
            Unavailable: the lane is not served any more.
        """
        return self._submit((script.sha, len(keys), *keys, *args), _first(keys), script)

    def call_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Word]
    ) -> asyncio.Future[Durable]:
        """Run a script, then ``WAIT`` on the same connection for the replicas the settings ask for.

        ``WAIT`` counts only on the connection that wrote.
        """
        return self._submit(
            (script.sha, len(keys), *keys, *args), _first(keys), script, durable=True
        )

    def command(self, *words: Word, at: str | None = None) -> asyncio.Future[Reply]:
        """Send one command that may safely be sent twice.

        ``at`` is a key on the server that is meant, for commands that do not begin with a key.
        """
        return self._submit(words, at or (words[1] if len(words) > 1 else None))

    def _submit(
        self,
        words: tuple[Word, ...],
        key: Word | None,
        script: Script | None = None,
        *,
        durable: bool = False,
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise Unavailable(GOING_AWAY)
        settings = self.settings
        waits = durable and settings.waits
        wait = (settings.wait_replicas, settings.wait_timeout_ms) if waits else None
        track = self._track(self.address_of(key), waits=waits)
        if track.waiting >= self.settings.redis_queue:
            raise Overloaded("Too much is going on; try again.", retry_after_ms=_RETRY_AFTER_MS)
        answer = asyncio.get_running_loop().create_future()
        track.put(Request(words, answer, script, key, durable, wait))
        return answer

    def address_of(self, key: Word | None) -> Address | None:
        """The server that has a key, as far as is known; ``None`` for the one of the settings."""
        if key is None or not self._slots:
            return None
        return self._slots.get(_slot(key))

    @property
    def servers(self) -> tuple[Address, ...]:
        """Every server a cluster has named so far, replicas too; none of a Redis alone."""
        return tuple(self._servers)

    def ping(self) -> dict[Address | None, asyncio.Future[Reply]]:
        """Ask every server that has slots for its time, as a sign of life; a Redis alone is
        ``None``.
        """
        loop = asyncio.get_running_loop()
        asked: dict[Address | None, asyncio.Future[Reply]] = {}
        for server in set(self._slots.values()) or (None,):
            asked[server] = loop.create_future()
            self._track(server).put(Request(("TIME",), asked[server]))
        return asked

    def _track(self, address: Address | None, *, waits: bool = False) -> Track:
        """The track to a server; what waits for replicas has one of its own."""
        way = (address, waits)
        track = self._tracks.get(way)
        if track is None:
            client = connect(self.settings, address)
            track = Track(client, self.settings, self._redirect, self._lost, self.times)
            self._tracks[way] = track
            if self._group:
                self._runs[way] = self._group.create_task(track.run())
        return track

    def _leave(self, servers: Sequence[Address]) -> None:
        """Give up the tracks to servers that are gone."""
        gone = [way for way in self._tracks if way[0] is not None and way[0] not in servers]
        for way in gone:
            del self._tracks[way]
            if way in self._runs:
                self._runs.pop(way).cancel()

    async def run(self) -> None:
        """Serve until cancelled; whatever still waits then fails with ``Unavailable``."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for way, track in tuple(self._tracks.items()):
                    self._runs[way] = self._group.create_task(track.run())
                self._track(None)
                await asyncio.Event().wait()
        finally:
            self._closed = True

    def _redirect(self, request: Request, error: RedisError) -> None:
        """Send a request after its slot; nothing was done where it came from."""
        request.sent += 1
        if self._closed or self._group is None or request.sent > _MOST_TIMES_SENT_ON:
            fail([request], Unavailable(_SILENT))
            return
        match error:
            case MovedError():
                self._slots[error.slot_id] = (error.host, error.port)
                self._look()
                request.asking = False
                self._track((error.host, error.port), waits=bool(request.wait)).put(request)
            case AskError():
                request.asking = True
                self._track((error.host, error.port), waits=bool(request.wait)).put(request)
            case _:
                if isinstance(error, ClusterDownError):
                    # It may have been cut off, and another have its slots.
                    self._look()
                self._group.create_task(self._send_again(request))

    async def _send_again(self, request: Request) -> None:
        """Give the cluster a moment, then ask the server that has the slot by now."""
        await asyncio.sleep(_AGAIN_S * request.sent)
        request.asking = False
        self._track(self.address_of(request.key), waits=bool(request.wait)).put(request)

    def _lost(self) -> None:
        """A server is silent: another may have its slots by now."""
        if self._slots:
            self._look()

    def _look(self) -> None:
        """Read which server has what, unless that is being done."""
        if self._group and not self._looking:
            self._looking = True
            self._group.create_task(self._learn())

    async def _learn(self) -> None:
        """Ask the servers in turn until one knows who has which slots, and all slots are had."""
        try:
            while True:
                for address in (*self._servers, None):
                    if await self._learn_from(address):
                        return
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._looking = False

    async def _learn_from(self, address: Address | None) -> bool:
        client = connect(self.settings, address)
        client.response_callbacks.clear()
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                pipe = client.pipeline(transaction=False)
                pipe.execute_command("CLUSTER", "INFO")
                pipe.execute_command("CLUSTER", "SLOTS")
                info, ranges = await pipe.execute()
        except (RedisError, OSError, TimeoutError):
            return False
        finally:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()
        # One that is cut off from the others says what was true before.
        return b"cluster_state:ok" in info and self._take_in(ranges)

    def _take_in(self, ranges: Reply) -> bool:
        """Keep what ``CLUSTER SLOTS`` says: [first slot, last slot, primary, replica …]."""
        slots: dict[int, Address] = {}
        servers: list[Address] = []
        for first, last, *named in ranges:
            addresses = [(host.decode(), int(port)) for host, port, *_ in named if host]
            servers += [address for address in addresses if address not in servers]
            slots |= dict.fromkeys(range(first, last + 1), addresses[0]) if addresses else {}
        if slots:
            self._slots, self._servers = slots, servers
            self._leave(servers)
        return bool(slots)


def _first(keys: Sequence[str]) -> str | None:
    return keys[0] if keys else None


def _slot(key: Word) -> int:
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Lane]:
    """A lane of its own, served while the block runs."""
    lane = Lane(settings)
    async with serving(lane):
        yield lane


@contextlib.asynccontextmanager
async def serving(lane: Lane) -> AsyncIterator[None]:
    """Serve a lane while the block runs."""
    task = asyncio.create_task(lane.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def pairs(reply: Reply) -> dict[str, bytes]:
    """Read the flat list of a hash: names and values in turn."""
    names = (name.decode() for name in reply[::2])
    return dict(zip(names, reply[1::2], strict=True))


def texts(reply: Reply) -> dict[str, str]:
    """Read the flat list of a hash whose values are text."""
    return {name: value.decode() for name, value in pairs(reply).items()}
