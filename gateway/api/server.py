"""Uvicorn's HTTP class with the bounds it lacks: how long a request may take to arrive, how large
its head may be, how many may wait behind one another, how long an answer may lie unread, and how
many connections there may be.

The base class is not public API: uvicorn is pinned, and a test fails when what we rely on moves.
"""

import asyncio
import math
from asyncio import BaseTransport
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.api.hall import Hall
from gateway.api.refusals import BadRequest, HeadTooLarge, TooSlow
from gateway.errors import HoldfastError, Overloaded
from gateway.problems import as_bytes

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MOST_HEAD_BYTES = 32_768
MOST_HEADERS = 100
MOST_PIPELINED = 4
"""Requests that may wait for the answer to an earlier one of the same connection."""
LINGER_S = 1.0
"""How long is listened to somebody who was refused: cut at once, it might not read why."""


class _Unwanted(Exception):
    """Stops the parser; the reason is kept beside it."""


class HttpProtocol(HttpToolsProtocol):
    """One connection until its end, or until it becomes a socket."""

    __slots__ = (
        *("_hall", "_due_s", "_raw", "_head", "_in_head", "_in_body", "_over", "_served", "_wrong"),
        *("_unread", "_unread_since_s"),
    )

    def __init__(
        self, config: Config, state: ServerState, app_state: dict[str, Any], hall: Hall
    ) -> None:
        super().__init__(config, state, app_state)
        self._hall = hall
        self._due_s = math.inf
        """When what is to come must have come."""
        self._raw = 0
        """Bytes of this request that the parser has taken and not given back as a body."""
        self._head = 0
        """Bytes of its head that were given back."""
        self._in_head = self._in_body = False
        self._over = False
        """It was refused; nothing is read any more."""
        self._served: RequestResponseCycle | None = None
        """The request that is being answered, or was answered last."""
        self._wrong: HoldfastError | None = None
        self._unread = 0
        """Bytes that waited for the peer when they began to wait, at ``_unread_since_s``."""
        self._unread_since_s = 0.0

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody is there."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._hall.enter(self)
        self._awaits_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. The base class would tell it only to the last request."""
        self._hall.leave(self)
        if self._served and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _awaits_head(self) -> None:
        now_s = self.loop.time()
        self._due_s = now_s + self._hall.head_s
        self._hall.awaits(self, now_s)

    def data_received(self, data: bytes) -> None:
        """The peer has sent something.

        The base class would log each wrong request, so that anybody could fill the log.
        """
        if self._over:
            return
        self._unset_keepalive_if_required()
        self._raw += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade() and self._is_answering():
                # The answer would be written into the socket.
                self._refuse(BadRequest("Wait for answers before asking more."))
                return
            if self._should_upgrade():
                self._hall.leave(self)
                self.handle_websocket_upgrade()
                self.parser = cast("Any", None)  # It knows us: one would keep the other.
                return
        except httptools.HttpParserError:
            self._refuse(self._wrong or BadRequest("This is not an HTTP request."))
            return
        if self._raw > MOST_HEAD_BYTES:
            self._refuse(_too_large())

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = 0
        self._in_head = True
        if self.cycle is not None:  # For the first, its time runs from the connection on.
            self._awaits_head()
            if self._is_answering():
                self._hall.serves(self)

    def on_url(self, url: bytes) -> None:
        """A piece of its address."""
        self._grows(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers, or of what follows its body."""
        if len(self.headers) == MOST_HEADERS:
            self._stop(_too_large())
        self._grows(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head has come."""
        if len(self.pipeline) == MOST_PIPELINED:
            self._stop(BadRequest("Wait for answers before asking more."))
        super().on_headers_complete()  # It raises when the address is none.
        now_s = self.loop.time()
        if not self.pipeline:
            self._hall.awaits(self, now_s)
        self._in_head, self._in_body = False, True
        self._due_s = now_s + self._hall.body_s

    def on_chunk_header(self) -> None:
        """A piece of its body is announced."""
        self._raw = 0

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._raw -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it has come."""
        self._hall.serves(self)
        self._raw = 0
        self._in_body = False
        self._due_s = math.inf
        super().on_message_complete()
        if not self._is_answering():  # It had its answer before all of it had come.
            self._awaits_head()

    def on_response_complete(self) -> None:
        """It was answered. What comes of a body that nobody wanted is not waited for long."""
        super().on_response_complete()
        if self._in_body:
            self._due_s = min(self._due_s, self.loop.time() + LINGER_S)
        elif not self._is_answering():
            self._awaits_head()

    def resume_writing(self) -> None:
        """Little waits for the peer again."""
        super().resume_writing()
        self._unread = 0

    def looked_at(self, now_s: float) -> None:
        """Time has passed."""
        waits = self.transport.get_write_buffer_size()
        if not waits or not self._unread or waits < self._unread:
            self._unread, self._unread_since_s = waits, now_s
        elif now_s - self._unread_since_s >= self._hall.slow_s:
            self._hall.ends(self)
            return
        if now_s >= self._due_s and not self.transport.is_closing():
            self._is_late(now_s)

    def _is_late(self, now_s: float) -> None:
        if self._over:
            self.cut()
        elif not (self._in_head or self._in_body):
            self._hall.ends(self)
        elif self.flow.read_paused:
            self._due_s = now_s + self._hall.body_s  # It is we who do not read.
        else:
            self._refuse(TooSlow("The request did not arrive in time."))

    def cut(self) -> None:
        """The connection ends now."""
        self.transport.abort()

    def give_way(self) -> None:
        """It ends for a newcomer. Who has asked for nothing yet is told why: the request may be on
        its way, or here and unread. Who asked before knows that an idle connection may end.
        """
        if self.cycle is not None or self.transport.is_closing():
            self.cut()
            return
        self._over = True
        self.transport.write(FULL)
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _grows(self, size: int) -> None:
        self._head += size
        if self._head > MOST_HEAD_BYTES:
            self._stop(_too_large())

    def _stop(self, error: HoldfastError) -> None:
        self._wrong = error
        raise _Unwanted

    def _refuse(self, error: HoldfastError) -> None:
        """Answer with an error, if nothing else is being answered, and end the connection."""
        own_answer = self._in_body and not self.pipeline and not self.cycle.response_started
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if not own_answer:
                self._hall.ends(self)
                return
        elif self._in_body:  # It has its answer.
            self._hall.ends(self)
            return
        self._over = True
        self._hall.cut += 1
        now_s = self.loop.time()
        self._due_s = now_s + LINGER_S
        self._hall.awaits(self, now_s)
        self.transport.write(as_bytes(error))
        self.transport.write_eof()


def _too_large() -> HeadTooLarge:
    limit = f"{MOST_HEAD_BYTES} bytes and {MOST_HEADERS} headers"
    return HeadTooLarge(f"The head of a request has at most {limit}.")


class _TurnedAway(asyncio.Protocol):
    """One who finds no room: it is told so, and nothing it sends is read as a request."""

    def __init__(self, hall: Hall, answer: bytes) -> None:
        self._hall = hall
        self._answer = answer

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody is there."""
        wire = cast("asyncio.Transport", transport)
        peaceful = self._hall.may_tell()
        self._hall.turned_away += 1
        wire.write(self._answer)
        if peaceful:
            wire.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, wire.abort)
        else:
            wire.close()  # An abort would take the answer along, with some loops.

    def connection_lost(self, _: Exception | None) -> None:
        """It is gone."""
        self._hall.turned_away -= 1


_COME_BACK_S = 1
FULL = as_bytes(
    Overloaded("Too many are connected here; try again.", retry_after_ms=_COME_BACK_S * 1000)
)


def listening(hall: Hall) -> type[asyncio.Protocol]:
    """What ``uvicorn.Config(http=…)`` takes: uvicorn calls it for each connection, like a class."""

    def newcomer(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        if hall.has_room(asyncio.get_running_loop().time()):
            return HttpProtocol(config, server_state, app_state, hall)
        return _TurnedAway(hall, FULL)

    return cast("type[asyncio.Protocol]", newcomer)
