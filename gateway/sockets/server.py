"""Uvicorn's WebSocket class, mended where a shopper or a stop would suffer, with a short way; and
what meets an upgrade when nobody can be let in.

The base class is not public API: uvicorn is pinned, and a test fails when what we rely on moves.
"""

import asyncio
import random
from asyncio import BaseTransport
from collections.abc import Callable
from socket import SO_SNDBUF, SOL_SOCKET
from typing import TYPE_CHECKING, Any, cast, get_args

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.protocol import State
from websockets.streams import StreamReader

from gateway.errors import CloseCode, Invalid
from gateway.problems import as_bytes
from gateway.sessions.limits import Bucket
from gateway.sockets.direct import EXTENSION, Outlet, small_text
from gateway.sockets.door import MOST_UNFINISHED, Door, Reason, refusals
from gateway.sockets.inbox import Gate, Inbox
from gateway.sockets.porch import Porch

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

GRACE_S = 3.0
"""How long a peer may take to read what is left and say goodbye before its connection is cut."""

_PIECE = 2_048
"""Bytes the library is given at once: it would read thousands of tiny frames before we saw one."""
_LIBRARY_FRAMES_PER_S, _LIBRARY_FRAMES = 50, 300
"""Frames the library may read of one socket, on average and at once. Shoppers send a pong, and now
and then a frame that is not small; each costs what ten small ones do, were it empty or a ping."""
_LAST_WORDS = 16_384
"""Bytes that are read of a peer after we have no ear for it any more, to find its goodbye."""
_LARGE = 16_384
"""Bytes of a frame, or message, that is not there whole, from which on it must fit at the door."""

_NO_UPGRADE = as_bytes(Invalid("A socket is asked for by GET, in HTTP/1.1, without a body."))
"""To a request that the library will not read."""

_NO_TEXT = 1007
"""The close code for a text that is not UTF-8 (RFC 6455, 8.1)."""

_WAITS_FOR_A_FRAME = StreamReader.at_eof.__code__
"""Where the library's parser stands when it has read a frame and nothing of the next."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """One socket of the server.

    Wherever the base class ends a connection with ``transport.close()``, that waits for a buffer
    which a stalled peer never drains, so the connection would stay for good. Here it is cut after
    a grace.

    It is the ``Direct`` of its endpoint: a small whole text frame goes to the listener at once when
    nothing else is under way, and is written at once when little waits: of that the outlet is told.
    Everything else, and what comes before the endpoint listens, is the library's.
    """

    _listener: Callable[[str], None] | None = None
    _turned_away = False
    """The endpoint listens no more; what else is said is not for it."""
    _last_words = 0
    _unfinished = 0
    """Bytes of a message that has not come whole."""
    _outlet: Outlet | None = None
    _between_frames = False
    """Whether the library has read whole messages so far, and nothing of the next."""
    _cut: asyncio.TimerHandle | None = None
    """When the connection is cut, once that is certain."""
    _is_lost = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        door: Door,
        rng: random.Random,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.queue = cast("Any", Inbox())
        self.writable = cast("Any", Gate())
        self._door = door
        self._rng = rng
        now_s = self.loop.time()
        self._frames_left = Bucket.full(_LIBRARY_FRAMES_PER_S, _LIBRARY_FRAMES, now_s)

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody asks for an upgrade.

        The library would log each frame and header at DEBUG: tickets, addresses, and what a shopper
        typed by mistake.
        """
        super().connection_made(transport)
        self.conn.debug = False
        self._door.enter()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, however far it had come."""
        self._door.exit()
        self._door.unfinished -= self._unfinished
        self._unfinished = 0
        self._is_lost = True
        if self._cut:
            self._cut.cancel()  # Until it rings it would keep all there is of this socket.
        super().connection_lost(exc)
        self.detach()

    def start_keepalive(self) -> None:
        """The upgrade is made: begin to ask for signs of life.

        Those who came together, as after a restart they all do, are not to be asked together.
        """
        self._door.accepted += 1
        if self.ping_interval:
            first_s = self.ping_interval * (1.0 - self._rng.random())
            self.ping_timer = self.loop.call_later(first_s, self.send_keepalive_ping)

    async def send(self, message: "ASGISendEvent") -> None:
        """Send what the application says.

        A refusal completes the handshake; without saying so uvicorn logs each one as an error. The
        address of a socket that is closed before it was accepted is none of ours, and uvicorn would
        log it with whatever it holds.
        """
        if message["type"] == "websocket.close" and not self.handshake_complete:
            self.scope["path"], self.scope["query_string"] = "", b""
        if message["type"] == "websocket.close":
            # It need not wait for room. A slow peer that reads again in time learns why.
            self.writable.set()
        await super().send(message)
        self._tell_outlet()
        if message["type"] == "websocket.accept":
            self._forget_handshake()
        elif message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    def _forget_handshake(self) -> None:
        """Nobody reads the headers again, and they are kilobytes; the library would keep them."""
        self.request.headers.clear()
        self.response.headers.clear()
        cast("list[Any]", self.scope["headers"]).clear()

    async def run_asgi(self) -> None:
        """Run the application for this socket, and offer it the short way."""
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[EXTENSION] = self
        try:
            await super().run_asgi()
        finally:
            del extensions[EXTENSION]
        self._cut_after_grace()

    def hear(self, listener: Callable[[str], None] | None) -> None:
        """Have small text frames handed to the listener, or listen no more."""
        self._listener = listener
        self._turned_away = listener is None
        self._between_frames = self._is_between_frames()

    def data_received(self, data: bytes) -> None:
        """The peer has sent something."""
        if self._listener and self._between_frames and self._is_open() and not self._has_unread():
            data = self._hand_over(data, self._listener)
            if not data:
                return
        if not self.handshake_initiated:
            super().data_received(data)
            if not self.handshake_initiated:
                self._turn_away()
                return
        else:
            self._give_to_library(data)
        self._between_frames = self._is_between_frames()
        self._tell_outlet()

    def _give_to_library(self, data: bytes) -> None:
        """In pieces, as long as the peer is worth it."""
        for at in range(0, len(data), _PIECE):
            if self.transport.is_closing():
                return
            if self._turned_away or self.close_sent:
                self._last_words += min(_PIECE, len(data) - at)
                if self._last_words > _LAST_WORDS:
                    self.transport.pause_reading()  # Whatever it still hears, it is cut soon.
                    return
            super().data_received(data[at : at + _PIECE])
            self._weigh()

    def handle_events(self) -> None:
        """Frames have come."""
        count = len(self.conn.events)
        if self._is_open() and count and self._frames_left.take(count, self.loop.time()):
            self.conn.events_received()
            self._end(CloseCode.COMMAND_RATE)
            return
        super().handle_events()

    def send_receive_event_to_app(self) -> None:
        """A message has come whole. One that is no text the base class would log each time, with a
        traceback, so that anybody could fill the log.
        """
        if self.curr_msg_data_type == "text" and self._is_open() and not _is_text(self.frames):
            self._end(_NO_TEXT)
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """The library has an answer ready. Whoever reads nothing gets none: they would pile up."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def _weigh(self) -> None:
        """See to it that unfinished messages of all sockets together stay small."""
        size = len(self.conn.reader.buffer)
        if self.frames:
            size += self.conn.current_size or 0
        self._door.unfinished += size - self._unfinished
        self._unfinished = size
        if size > _LARGE and self._door.unfinished > MOST_UNFINISHED and self._is_open():
            self._end(CloseCode.OVERLOADED)

    def _end(self, code: int) -> None:
        """Close as the library would on a wrong frame."""
        self.conn.data_to_send()  # Answers to pings.
        self.conn.send_close(code)
        self.handle_parser_exception()
        self._cut_after_grace()
        self.conn.reader.buffer.clear()  # It would be kept as long.
        self.frames.clear()
        self._weigh()

    def _turn_away(self) -> None:
        """Uvicorn has read the whole request, and the library cannot: nothing more would come.

        It has bounds of its own, on the number of headers and their length, and says so. Of a body,
        or another method, it says nothing.
        """
        self.transport.write(b"".join(self.conn.data_to_send()) or _NO_UPGRADE)
        self.transport.close()
        self._cut_after_grace()

    def attach(self, outlet: Outlet, system_bytes: int, own_bytes: int) -> None:
        """Tell an outlet when frames may be written, and bound what is kept for the peer.

        The transport asks the system at once while nothing waits. To do so past it gains less than
        a tenth, and the order of what is written would rest on us.
        """
        socket = self.transport.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_SNDBUF, system_bytes)
        self.transport.set_write_buffer_limits(own_bytes)
        self._outlet = outlet
        self._tell_outlet()

    @property
    def ended_with(self) -> int | None:
        """The close code this side was the first to say."""
        said, was_first = self.conn.close_sent, not self.conn.close_rcvd_then_sent
        return said.code if said and was_first else None

    def detach(self) -> None:
        """Tell the outlet that it is over."""
        if self._outlet:
            self._outlet.gone()
            self._outlet = None

    def _tell_outlet(self) -> None:
        """Call it after whatever may have changed what the outlet was told."""
        if self._outlet is None:
            return
        if not self._is_open():
            self.detach()
        elif self.writable.is_set():
            self._outlet.free(self.transport.write)
        else:
            self._outlet.full()

    def pause_writing(self) -> None:
        """Much waits for the peer."""
        super().pause_writing()
        self._tell_outlet()

    def resume_writing(self) -> None:
        """Little waits for the peer again."""
        super().resume_writing()
        self._tell_outlet()

    def _hand_over(self, data: bytes, listener: Callable[[str], None]) -> bytes:
        """Give the listener what it may have; return the rest, from a frame's first byte on."""
        at = 0
        while not self._turned_away and (frame := small_text(data, at)):
            text, at = frame
            listener(text)
        return data[at:]

    def _is_open(self) -> bool:
        """Whether the handshake is over, and neither side has begun to close."""
        return self.conn.state is State.OPEN and not self.transport.is_closing()

    def _has_unread(self) -> bool:
        """Whether the endpoint has yet to take a frame that went the long way."""
        return self.read_paused or not self.queue.empty()

    def _is_between_frames(self) -> bool:
        if self.conn.current_size is not None or self.frames:
            return False  # The next frame goes on with a message.
        step: Any = self.conn.parser
        while step.gi_yieldfrom is not None:
            step = step.gi_yieldfrom
        return step.gi_code is _WAITS_FOR_A_FRAME

    def eof_received(self) -> None:
        """The peer says nothing more. The connection ends once it has read what is left."""
        super().eof_received()
        self._cut_after_grace()

    def keepalive_timeout(self) -> None:
        """The peer did not answer a ping."""
        super().keepalive_timeout()
        self._tell_outlet()
        self._cut_after_grace()

    def shutdown(self) -> None:
        """The process stops."""
        super().shutdown()
        self._tell_outlet()
        self._cut_after_grace()

    def _cut_after_grace(self) -> None:
        if self._cut is None and not self._is_lost:
            self._cut = self.loop.call_later(GRACE_S, self.transport.abort)


def _is_text(pieces: list[bytes]) -> bool:
    try:
        b"".join(pieces).decode()
    except UnicodeDecodeError:
        return False
    return True


class _Refusal(asyncio.Protocol):
    """In place of a socket: the answer to an upgrade that is refused, and the end.

    Nothing is read, no scope or task is made, and the application does not hear of it.
    """

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody asks for an upgrade."""
        wire = cast("asyncio.Transport", transport)
        wire.write(self._answer)
        wire.close()
        if wire.get_write_buffer_size():
            # It has not read the answers to earlier requests either.
            asyncio.get_running_loop().call_later(GRACE_S, wire.abort)


def serving(door: Door, rng: random.Random) -> type[asyncio.Protocol]:
    """What ``uvicorn.Config(ws=…)`` takes: uvicorn calls it for each upgrade, like a class."""
    answers = {reason: refusals(reason) for reason in get_args(Reason)}
    porch = Porch(door)

    def refusal() -> _Refusal | None:
        reason = door.refuses()
        return _Refusal(rng.choice(answers[reason])) if reason else None

    def upgrading(
        config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> asyncio.Protocol:
        def protocol() -> asyncio.Protocol:
            return refusal() or SocketProtocol(config, server_state, app_state, door, rng)

        return refusal() or porch.newcomer(protocol)

    return cast("type[asyncio.Protocol]", upgrading)
