"""One connection to Redis that everybody shares: a lane.

Whatever is asked for while a round trip is in flight goes together in the next one, in order; when
the lane is idle a request goes at once. So thousands of callers need one connection, nobody waits
for a pool, and a caller that is cancelled cannot spoil a connection: only the lane's own task
touches it.

A round trip that fails or takes too long is sent again, whole, on a new connection. That is safe
because every script is idempotent by an id inside. ``redis-py``'s own retries and socket timeouts
are off: they would repeat up to ten times, and swallow cancellation on Python 3.11.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from gateway.errors import Overloaded, Unavailable
from gateway.scripts import Script
from gateway.settings import Settings

log = logging.getLogger(__name__)

Word = str | bytes | int | float
Reply = Any
"""What Redis answers: bytes, an int, None, or a list of these. Rooms decode it at once."""

_PIPELINE = 256
"""Most requests of one round trip, so that the first does not wait for a thousand others."""
_RETRY_AFTER_MS = 200
_SILENT = "The stock does not answer; try again."
_GOING_AWAY = "This gateway is going away; connect again."


def connect(settings: Settings) -> Redis:
    """Make a client whose retries and timeouts are ours; nothing is sent yet."""
    return Redis.from_url(
        settings.redis_url,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
    )


@dataclass(slots=True)
class _Request:
    words: tuple[Word, ...]
    answer: asyncio.Future[Reply]
    script: Script | None = None
    durable: bool = False


@dataclass(slots=True)
class Durable:
    """A reply with the number of replicas that had it when the reply was given."""

    reply: Reply
    replicas: int


@dataclass(slots=True)
class Lane:
    """Sends requests to one Redis over one connection, many to a round trip."""

    client: Redis
    settings: Settings
    _waiting: deque[_Request] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False
    round_trips: int = 0

    def __post_init__(self) -> None:
        # Replies stay as Redis sends them; each room decodes its own.
        self.client.response_callbacks.clear()

    @property
    def waiting(self) -> int:
        """Requests that wait for the next round trip."""
        return len(self._waiting)

    def call(
        self, script: Script, keys: Sequence[str], args: Sequence[Word]
    ) -> asyncio.Future[Reply]:
        """Run a script; the future holds its reply.

        Raises:
            Overloaded: too many requests wait already.
            Unavailable: the lane is not served any more.
        """
        return self._submit((script.sha, len(keys), *keys, *args), script=script)

    def call_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Word]
    ) -> asyncio.Future[Durable]:
        """Run a script, then ``WAIT`` on the same connection for the replicas the settings ask for.

        ``WAIT`` counts only on the connection that wrote.
        """
        return self._submit((script.sha, len(keys), *keys, *args), script=script, durable=True)

    def command(self, *words: Word) -> asyncio.Future[Reply]:
        """Send one command that may safely be sent twice."""
        return self._submit(words)

    def _submit(
        self, words: tuple[Word, ...], *, script: Script | None = None, durable: bool = False
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise Unavailable(_GOING_AWAY)
        if len(self._waiting) >= self.settings.redis_queue:
            raise Overloaded("Too much is going on; try again.", retry_after_ms=_RETRY_AFTER_MS)
        request = _Request(words, asyncio.get_running_loop().create_future(), script, durable)
        self._waiting.append(request)
        self._wake.set()
        return request.answer

    async def run(self) -> None:
        """Serve until cancelled; whatever still waits then fails with ``Unavailable``."""
        try:
            while True:
                await self._wake.wait()
                while self._waiting:
                    batch = [
                        self._waiting.popleft() for _ in range(min(_PIPELINE, len(self._waiting)))
                    ]
                    try:
                        answers = await self._deliver(batch)
                    finally:
                        _fail(batch, Unavailable(_SILENT))
                    if not answers:
                        # Who came during the silence has waited as long as anybody should.
                        _fail(self._waiting, Unavailable(_SILENT))
                        self._waiting.clear()
                self._wake.clear()
        finally:
            self._closed = True
            _fail(self._waiting, Unavailable(_GOING_AWAY))
            self._waiting.clear()
            with contextlib.suppress(RedisError, OSError):
                await self.client.aclose()

    async def _deliver(self, batch: list[_Request]) -> bool:
        """Send a batch until it has its answers; ``False`` when the attempts are used up."""
        for attempt in range(self.settings.redis_attempts):
            pending = [request for request in batch if not request.answer.done()]
            try:
                async with asyncio.timeout(self._patience_s(pending)):
                    forgotten = await self._round_trip(pending) if pending else []
                    if forgotten:
                        await self._round_trip(forgotten)
                return True
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("redis: attempt %d failed: %s", attempt + 1, type(error).__name__)
                await self._hang_up()
            except Exception:
                log.exception("redis: a round trip broke")
                await self._hang_up()
                return True
        return False

    async def _round_trip(self, requests: list[_Request]) -> list[_Request]:
        """Send requests in one write; return those whose script the server had forgotten."""
        pipe = self.client.pipeline(transaction=False)
        for request in requests:
            head = ("EVALSHA",) if request.script else ()
            pipe.execute_command(*head, *request.words)
        durable = any(request.durable for request in requests)
        if durable:
            settings = self.settings
            replicas = settings.wait_replicas
            pipe.execute_command("WAIT", replicas, settings.wait_timeout_ms if replicas else 1)
        replies = await pipe.execute(raise_on_error=False)
        self.round_trips += 1
        confirmed = replies.pop() if durable else 0
        if isinstance(confirmed, Exception):
            raise confirmed
        forgotten = []
        for request, reply in zip(requests, replies, strict=True):
            if isinstance(reply, NoScriptError) and request.script:
                forgotten.append(request)
            elif not request.answer.done():
                _answer(request, reply, int(confirmed))
        for text in {request.script.text for request in forgotten if request.script}:
            await cast("Awaitable[Any]", self.client.script_load(text))
        return forgotten

    def _patience_s(self, requests: list[_Request]) -> float:
        """How long a round trip may take; ``WAIT`` comes on top."""
        settings = self.settings
        waits = settings.wait_replicas and any(request.durable for request in requests)
        return (settings.redis_timeout_ms + (settings.wait_timeout_ms if waits else 0)) / 1000

    async def _hang_up(self) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self.client.connection_pool.disconnect(inuse_connections=True)


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Lane]:
    """A lane of its own, served while the block runs."""
    lane = Lane(connect(settings), settings)
    serving = asyncio.create_task(lane.run())
    try:
        yield lane
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def pairs(reply: Reply) -> dict[str, bytes]:
    """Read the flat list of a hash: names and values in turn."""
    names = (name.decode() for name in reply[::2])
    return dict(zip(names, reply[1::2], strict=True))


def _answer(request: _Request, reply: Reply, replicas: int) -> None:
    if isinstance(reply, OutOfMemoryError):
        error: Exception = Overloaded("The stock is out of memory; try again.", retry_after_ms=1000)
        request.answer.set_exception(error)
    elif isinstance(reply, ResponseError):
        log.error("redis refused %s: %s", request.script and request.script.name, reply)
        request.answer.set_exception(Unavailable("The stock cannot do this now; try again."))
    elif isinstance(reply, Exception):
        raise reply
    else:
        request.answer.set_result(Durable(reply, replicas) if request.durable else reply)


def _fail(requests: Sequence[_Request] | deque[_Request], error: Exception) -> None:
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(error)
            request.answer.exception()
