"""One connection to one Redis server, shared by everybody: a track of the lane.

Whatever is asked for while a round trip is in flight goes together in the next one, in order; when
the track is idle a request goes at once. So thousands of callers need one connection, nobody waits
for a pool, and a caller that is cancelled cannot spoil a connection: only the track's own task
touches it.

A round trip that fails or takes too long is sent again, whole, on a new connection. That is safe
because every script is idempotent by an id inside. ``redis-py``'s own retries and socket timeouts
are off: they would repeat up to ten times, and swallow cancellation on Python 3.11.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from gateway.clock import Clock, SystemClock
from gateway.errors import Overloaded, Unavailable
from gateway.histogram import QUICK_BOUNDS_S, Histogram
from gateway.scripts import Script
from gateway.settings import Settings

log = logging.getLogger(__name__)

Word = str | bytes | int | float
Reply = Any
"""What Redis answers: bytes, an int, None, or a list of these. Rooms decode it at once."""

_PIPELINE = 256
"""Most requests of one round trip, so that the first does not wait for a thousand others."""
_SILENT = ("The stock does not answer; try again.", "Redis does not answer.")
"""For shoppers, and for operators."""
GOING_AWAY = "This gateway is going away; connect again."

ELSEWHERE = (MovedError, AskError, TryAgainError, ClusterDownError)
"""Replies of a cluster that say: not here, or not now. Nothing was done."""


@dataclass(slots=True)
class Request:
    """One request and its answer to be."""

    words: tuple[Word, ...]
    answer: "asyncio.Future[Reply]"
    script: Script | None = None
    key: Word | None = None
    """A key it is about; all its keys are in one slot."""
    durable: bool = False
    """Its answer is ``Durable``."""
    wait: tuple[int, int] | None = None
    """Replicas that must have it, and for how many ms to wait for them."""
    asking: bool = False
    """Its slot is on the move, and this server was named for it."""
    sent: int = 0
    """Times it was sent somewhere else."""


@dataclass(slots=True)
class Durable:
    """A reply with the number of replicas that had it when the reply was given."""

    reply: Reply
    replicas: int


@dataclass(slots=True)
class Times:
    """How long round trips took, over all tracks: a track that is left takes none of it along."""

    clock: Clock = field(default_factory=SystemClock)
    plain: Histogram = field(default_factory=lambda: Histogram(QUICK_BOUNDS_S))
    """Of those in which nothing waited for replicas or for a disk."""
    waited: Histogram = field(default_factory=lambda: Histogram(QUICK_BOUNDS_S))
    """Of those in which something did (``WAIT``, ``WAITAOF``)."""
    failed: int = 0
    """Attempts that brought no answer."""

    def took(self, took_s: float, *, waited: bool) -> None:
        """A round trip has its answer."""
        (self.waited if waited else self.plain).observe(took_s)


@dataclass(slots=True)
class Track:
    """Sends requests to one server over one connection, many to a round trip."""

    client: Redis
    settings: Settings
    redirect: Callable[[Request, RedisError], None]
    """Told what a cluster wants elsewhere; whoever is told sees that it is answered."""
    lost: Callable[[], None]
    """Told when the server has not answered as often as it was asked."""
    times: Times
    _waiting: deque[Request] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def __post_init__(self) -> None:
        # Replies stay as Redis sends them; each room decodes its own.
        self.client.response_callbacks.clear()

    @property
    def waiting(self) -> int:
        """Requests that wait for the next round trip."""
        return len(self._waiting)

    def put(self, request: Request) -> None:
        """Have a request sent with the next round trip."""
        if self._closed:
            fail([request], Unavailable(GOING_AWAY))
            return
        self._waiting.append(request)
        self._wake.set()

    async def run(self) -> None:
        """Serve until cancelled; whatever still waits then fails with ``Unavailable``."""
        try:
            while True:
                await self._wake.wait()
                while self._waiting:
                    await self._serve()
                self._wake.clear()
        finally:
            self._closed = True
            fail(self._waiting, Unavailable(GOING_AWAY))
            self._waiting.clear()
            with contextlib.suppress(RedisError, OSError):
                await self.client.aclose()

    async def _serve(self) -> None:
        """Have the next batch answered."""
        batch = [self._waiting.popleft() for _ in range(min(_PIPELINE, len(self._waiting)))]
        elsewhere: list[tuple[Request, RedisError]] = []
        try:
            answered = await self._deliver(batch, elsewhere)
        finally:
            sent_on = {id(request) for request, _ in elsewhere}
            fail(
                (request for request in batch if id(request) not in sent_on), Unavailable(*_SILENT)
            )
            for request, error in elsewhere:
                self.redirect(request, error)
        if not answered:
            # Who came during the silence has waited as long as anybody should.
            fail(self._waiting, Unavailable(*_SILENT))
            self._waiting.clear()
            self.lost()

    async def _deliver(
        self, batch: list[Request], elsewhere: list[tuple[Request, RedisError]]
    ) -> bool:
        """Send a batch until it has its answers; ``False`` when the attempts are used up."""
        for attempt in range(self.settings.redis_attempts):
            sent_on = {id(request) for request, _ in elsewhere}
            pending = [
                request
                for request in batch
                if not request.answer.done() and id(request) not in sent_on
            ]
            try:
                async with asyncio.timeout(self._patience_s(pending)):
                    forgotten = await self._round_trip(pending, elsewhere) if pending else []
                    if forgotten:
                        await self._round_trip(forgotten, elsewhere)
                return True
            except (RedisError, OSError, TimeoutError) as error:
                self.times.failed += 1
                log.warning("redis: attempt %d failed: %s", attempt + 1, type(error).__name__)
                await self._hang_up()
            except Exception:
                log.exception("redis: a round trip broke")
                await self._hang_up()
                return True
        return False

    async def _round_trip(
        self, requests: list[Request], elsewhere: list[tuple[Request, RedisError]]
    ) -> list[Request]:
        """Send requests in one write; return those whose script the server had forgotten."""
        pipe = self.client.pipeline(transaction=False)
        for request in requests:
            if request.asking:
                pipe.execute_command("ASKING")
            head = ("EVALSHA",) if request.script else ()
            pipe.execute_command(*head, *request.words)
        waits = [request.wait for request in requests if request.wait]
        if waits:
            pipe.execute_command(*self._wait(*max(waits)))
        began_s = self.times.clock.monotonic_s()
        replies = iter(await pipe.execute(raise_on_error=False))
        self.times.took(self.times.clock.monotonic_s() - began_s, waited=bool(waits))
        paired = []
        for request in requests:
            if request.asking:
                next(replies)
            paired.append((request, next(replies)))
        confirmed = _confirmed(next(replies)) if waits else 0
        forgotten = []
        for request, reply in paired:
            if isinstance(reply, NoScriptError) and request.script:
                forgotten.append(request)
            elif isinstance(reply, ELSEWHERE):
                elsewhere.append((request, reply))
            elif not request.answer.done():
                _answer(request, reply, confirmed)
        for text in {request.script.text for request in forgotten if request.script}:
            await cast("Any", self.client.script_load(text))
        return forgotten

    def _wait(self, replicas: int, for_ms: int) -> tuple[Word, ...]:
        """The command that waits for replicas to have what this connection wrote: in their memory,
        or on their disks and our server's.
        """
        if self.settings.wait_fsync:
            return ("WAITAOF", 1, replicas, for_ms)
        return ("WAIT", replicas, for_ms)

    def _patience_s(self, requests: list[Request]) -> float:
        """How long a round trip may take; ``WAIT`` comes on top."""
        waits_ms = max((one.wait[1] for one in requests if one.wait), default=0)
        return (self.settings.redis_timeout_ms + waits_ms) / 1000

    async def _hang_up(self) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self.client.connection_pool.disconnect(inuse_connections=True)


def _answer(request: Request, reply: Reply, replicas: int) -> None:
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


def _confirmed(reply: Reply) -> int:
    """How many replicas have it, by ``WAIT``, or by ``WAITAOF``; -1 if our own disk has it not."""
    if isinstance(reply, Exception):
        raise reply
    if isinstance(reply, list):
        ours, replicas = reply
        return int(replicas) if ours else -1
    return int(reply)


def fail(requests: Iterable[Request], error: Exception) -> None:
    """Answer requests that have no answer yet with an error."""
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(error)
            request.answer.exception()
