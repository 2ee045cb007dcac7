"""The port on which a relay or a sweep answers Prometheus and probes.

They serve nothing else, and their event loop may hang: so the port has a thread with a loop of its
own. ``/livez`` is answered there, from the pulses. Everything else is asked of the main loop, so
that nothing is read while it changes. There are few requests at once, and each has a deadline.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gateway.pulse import Pulse
from gateway.readiness import Readiness
from gateway.settings import Settings, SettingsError, variable

LOOP_STUCK_S = 10.0
"""The event loop counts as stuck when it has not moved for so long."""
TURN_STUCK_S = 60.0
"""The same of the process' main turn, which waits for Redis now and then."""
_FEEL_EVERY_S = 0.5
_WITHIN_S = 5.0
"""For a request as a whole, from the connection to the last byte."""
_HEAD_BYTES = 8_192
_AT_ONCE = 16
"""Above it a connection is closed unanswered."""
_STOP_WITHIN_S = 2.0

_JSON = "application/json"
_Answer = tuple[HTTPStatus, str, bytes]


@dataclass(frozen=True, slots=True)
class Health:
    """What is told of one process."""

    numbers: CollectorRegistry
    turn: Pulse
    """Beats whenever the process gets on with its main turn."""
    readiness: Readiness

    async def answer(self, path: str, *, verbose: bool) -> _Answer:
        """Answer what only the main loop may."""
        match path:
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.numbers)
            case "/readyz":
                return await self._ready(verbose=verbose)
            case _:
                return _say(HTTPStatus.NOT_FOUND, status="not_found")

    async def _ready(self, *, verbose: bool) -> _Answer:
        told = await self.readiness.answer(verbose=verbose, private=True)
        return HTTPStatus(told.status_code), told.headers["content-type"], bytes(told.body)


def listen(settings: Settings) -> socket.socket | None:
    """Take the port for operators, of whichever process; ``None`` when none is set.

    Raises:
        SettingsError: nothing can listen there, for the port is taken, say.
    """
    if not settings.metrics_port:
        return None
    where = (settings.host, settings.metrics_port)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(where, family=family, backlog=_AT_ONCE)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise SettingsError(
            f"{variable('metrics_port')} cannot be used: {where[0]}:{where[1]}: {why}."
        ) from None


@contextlib.asynccontextmanager
async def answering(listener: socket.socket | None, health: Health) -> AsyncIterator[None]:
    """Answer on a listener, and in the end close it, while the block runs."""
    if listener is None:
        yield
        return
    office = _Office(health, asyncio.get_running_loop())
    feeling = asyncio.create_task(office.loop_pulse.of_loop(_FEEL_EVERY_S))
    thread = threading.Thread(
        target=asyncio.run, args=(office.run(listener),), name="metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        office.stop()
        await asyncio.to_thread(thread.join, _STOP_WITHIN_S)
        feeling.cancel()
        await asyncio.gather(feeling, return_exceptions=True)


@dataclass(slots=True)
class _Office:
    """Answers requests in a loop of its own."""

    health: Health
    main: asyncio.AbstractEventLoop
    loop_pulse: Pulse = field(default_factory=Pulse)
    _own: asyncio.AbstractEventLoop | None = None
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: threading.Event = field(default_factory=threading.Event)
    _open: int = 0

    async def run(self, listener: socket.socket) -> None:
        """Serve until stopped."""
        self._own = asyncio.get_running_loop()
        self._begun.set()
        server = await asyncio.start_server(self._serve, sock=listener, limit=_HEAD_BYTES)
        async with server:
            await self._stopped.wait()

    def stop(self) -> None:
        """Stop serving; from any thread."""
        self._begun.wait(_STOP_WITHIN_S)
        if self._own:
            with contextlib.suppress(RuntimeError):  # It has ended by itself.
                self._own.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _AT_ONCE:
                async with asyncio.timeout(_WITHIN_S):
                    writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Who asks so gets no answer, which a probe takes for a bad one.
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or words[0] not in {"GET", "HEAD"}:
            status, kind, body = _say(HTTPStatus.METHOD_NOT_ALLOWED, status="method_not_allowed")
        else:
            status, kind, body = await self._of(words[1])
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        shown = b"" if words[0] == "HEAD" else body
        return "\r\n".join((*lines, "", "")).encode("latin-1") + shown

    async def _of(self, target: str) -> _Answer:
        path, _, query = target.partition("?")
        stuck = self._stuck()
        if path == "/livez":
            if stuck:
                return _say(HTTPStatus.SERVICE_UNAVAILABLE, status="stuck", detail=stuck)
            return _say(HTTPStatus.OK, status="alive")
        if self.loop_pulse.age_s > LOOP_STUCK_S:
            return _say(HTTPStatus.SERVICE_UNAVAILABLE, status="stuck", detail=stuck)
        asked = self.health.answer(path, verbose="verbose" in query)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self.main))

    def _stuck(self) -> str:
        """What has not moved for too long, in a sentence; empty if everything has."""
        if (age_s := self.loop_pulse.age_s) > LOOP_STUCK_S:
            return f"The event loop has not moved for {age_s:.0f} s; restart the process."
        if (age_s := self.health.turn.age_s) > TURN_STUCK_S:
            return f"The main turn has not got on for {age_s:.0f} s; restart the process."
        return ""


def _say(status: HTTPStatus, /, **said: object) -> _Answer:
    return status, _JSON, msgspec.json.encode(said)
