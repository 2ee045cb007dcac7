"""A shopper's socket: commands with their replies, and what is pushed meanwhile.

``websocket-client`` opens it and writes to it; what comes is read here, for its own reader takes
several calls a frame. Written for threads; under Locust they are greenlets, for the library is
patched, and nobody even waits for what comes (``greenlets``).
"""

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import websocket

from loadtest.drop.collect import Recorder
from loadtest.drop.frames import (
    CLOSE,
    LOST,
    PING,
    Message,
    Reading,
    Shelf,
    close_code,
    moment_ms,
)

SUBPROTOCOL = "holdfast.v1.json"
OPEN_WITHIN_S = 15.0
ANSWER_WITHIN_S = 15.0
"""Longer than the gateway lets a checkout wait for its outcome."""
STOP_FROM = 4_500
"""From this close code on a client must not come back."""
READ_BYTES = 65_536
_LAST_WORD_S = 1.0
"""How long a close frame may take after an error."""


class Away(Exception):
    """The socket is closed, cannot be opened, or the answer takes too long."""

    def __init__(self, why: str, code: int = 0, *, final: bool = False) -> None:
        super().__init__(why)
        self.why = why
        """As ``Measured.said`` has it."""
        self.final = final or code >= STOP_FROM
        """Whether it is no use to come back."""


@dataclass(slots=True)
class _Asked:
    """A command that waits for its reply."""

    done: threading.Event = field(default_factory=threading.Event)
    reply: Message | None = None


@dataclass(eq=False, slots=True)
class LiveSocket:
    """One socket, read as its ``Start`` has it: by a thread of its own, or by the loop."""

    socket: websocket.WebSocket
    recorder: Recorder
    reading: Reading
    wanted: frozenset[str]
    """What would have the shopper act."""
    shelf: Shelf = field(default_factory=Shelf)
    stocked: threading.Event = field(default_factory=threading.Event)
    """Set while something wanted can be had, and once the socket is closed."""
    checkouts: dict[str, Message] = field(default_factory=dict)
    """By hold: the last push about its payment."""
    heard_checkout: threading.Event = field(default_factory=threading.Event)
    holds_told: set[str] = field(default_factory=set)
    """Holds that a push was about, on this device."""
    code: int = 0
    """Why the other side closed; 0 while it has not."""
    open: bool = True
    aside: Callable[[Callable[[], Any]], None] = lambda work: work()
    """Does what may have to wait until there is room to write."""
    unwatch: Callable[[], None] = lambda: None
    """Ends the reading, before another connection may get this one's number; again is fine."""
    _rest: bytes = b""
    _leaving: bool = False
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _asked: dict[int, _Asked] = field(default_factory=dict)

    def connect(self, token: str, show: str, known: Shelf | None = None) -> Message:
        """Say who is here, and be welcomed; ``known`` is what a former socket was told.

        Raises:
            Away: not now; or never, if its code says so.
        """
        command: Message = {"type": "connect", "token": token, "show": show}
        if known:
            command["resume"] = known.resume()
            self.shelf = known
        asked_ms = time.time() * 1000
        welcome = self.ask(command)
        heard_ms = time.time() * 1000
        if welcome["type"] != "welcome":
            code = self._last_word()
            raise Away(str(welcome.get("code", "error")), code)
        self.recorder.saw_clock(moment_ms(welcome["now"]), asked_ms, heard_ms)
        return welcome

    def ask(self, command: Message, within_s: float = ANSWER_WITHIN_S) -> Message:
        """Send a command and wait for its reply.

        Raises:
            Away: the socket is closed, or the reply takes too long.
        """
        number = next(self._ids)
        asked = self._asked[number] = _Asked()
        try:
            if not self.open:
                raise Away("disconnected", self.code)
            self._send(json.dumps(command | {"id": number}))
            asked.done.wait(within_s)
        finally:
            del self._asked[number]
        if asked.reply is None:
            raise Away("timeout" if self.open else "disconnected", self.code)
        return asked.reply

    def hear_checkout(self, hold: str, within_s: float) -> Message | None:
        """Wait for a push about a payment; ``None`` when there is none, or the socket closes."""
        until = time.monotonic() + within_s
        while (left_s := until - time.monotonic()) > 0 and self.open:
            if message := self.checkouts.pop(hold, None):
                return message
            self.heard_checkout.clear()
            self.heard_checkout.wait(left_s)
        return self.checkouts.pop(hold, None)

    def learns(self, sku: str, left: int) -> None:
        """An answer said how many there are, before the push does."""
        self.shelf.learns(sku, left)
        self._see_stock()

    def close(self) -> None:
        """Go; again is fine."""
        self._leaving = True
        self._over()
        self._writes(self.socket.send_close)
        self._hang_up()

    def read(self) -> None:
        """Read until the socket closes."""
        with contextlib.suppress(OSError, ValueError, websocket.WebSocketException):
            while (connection := self.socket.sock) and self.feed(connection.recv(READ_BYTES)):
                pass
        self.ended()

    def feed(self, data: bytes) -> bool:
        """Take in what has come; whether more may come."""
        if not data:
            return False
        events, self._rest = self.reading.parse(self._rest + data if self._rest else data)
        for opcode, payload, message in events:
            if message is not None:
                self._hear(message)
            elif opcode == PING:
                self.aside(partial(self._writes, self.socket.pong, payload))
            elif opcode == CLOSE:
                self.code = close_code(payload)
                self.aside(partial(self._writes, self.socket.send_close))
        return not self.code

    def ended(self) -> None:
        """Nothing comes any more."""
        if not self._leaving:
            self.code = self.code or LOST
            self.recorder.closed(self.code)
        self._over()
        self.aside(self._hang_up)

    def _writes(self, write: Callable[..., Any], *words: object) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            write(*words)

    def _hang_up(self) -> None:
        self.unwatch()
        # Whoever waits in recv() hears of a shutdown, but of a close nothing.
        if connection := self.socket.sock:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.socket.shutdown()

    def _hear(self, message: Message) -> None:
        kind = message["type"]
        asked = self._asked.get(message.get("id", -1))
        if kind == "welcome":
            # Before the next push, which may be in the same piece.
            self.shelf.welcome(message, resumed=self.shelf.version >= 0)
            self._see_stock()
        elif kind == "stock":
            self._hear_stock(message)
        elif asked is None and kind == "checkout":
            self.checkouts[message["hold"]] = message
            self.heard_checkout.set()
        elif asked is None and kind == "hold":
            self.holds_told.add(message["hold"]["id"])
        if asked:
            asked.reply = message
            asked.done.set()

    def _hear_stock(self, stock: Message) -> None:
        known = self.shelf.version
        sold_out = self.shelf.take(stock)
        if sold_out is None:
            return
        # Sold out is told at once and has a time of its own; other news is as old as its oldest.
        at_ms = stock.get("at_ms") if sold_out else None
        if at_ms is None:
            at_ms = self.reading.decided_after(stock["epoch"], known)
        if at_ms is not None:
            now_ms = time.time() * 1000 + self.recorder.offset_ms
            self.recorder.pushed("push sold_out" if sold_out else "push stock", now_ms - at_ms)
        self._see_stock()

    def _see_stock(self) -> None:
        there = self.shelf.has(self.wanted)
        if there != self.stocked.is_set():
            if there:
                self.stocked.set()
            elif self.open:
                self.stocked.clear()

    def _send(self, text: str) -> None:
        try:
            self.socket.send(text)
        except (OSError, websocket.WebSocketException):
            self._over()
            raise Away("disconnected", self.code) from None

    def _last_word(self) -> int:
        """The close code that follows an error, if it comes soon."""
        until = time.monotonic() + _LAST_WORD_S
        while self.open and time.monotonic() < until:
            time.sleep(0.02)
        return self.code

    def _over(self) -> None:
        """Nobody need wait any more."""
        self.open = False
        self.stocked.set()
        self.heard_checkout.set()
        for asked in list(self._asked.values()):
            asked.done.set()


Start = Callable[[LiveSocket], None]
"""Has a socket read from now on."""


def in_a_thread(live: LiveSocket) -> None:
    """Have it read by a thread of its own."""
    threading.Thread(target=live.read, daemon=True).start()


def dial(
    url: str, recorder: Recorder, reading: Reading, wanted: frozenset[str], start: Start
) -> LiveSocket:
    """Open a socket and have it read.

    Raises:
        Away: nobody lets us in; a refused upgrade says ``refused`` and the status.
    """
    try:
        opened = websocket.create_connection(url, timeout=OPEN_WITHIN_S, subprotocols=[SUBPROTOCOL])
    except websocket.WebSocketBadStatusException as error:
        raise Away(f"refused {error.status_code}") from None
    except (TimeoutError, websocket.WebSocketTimeoutException):
        raise Away("timeout") from None
    except (OSError, websocket.WebSocketException):
        raise Away("disconnected") from None
    opened.settimeout(None)
    live = LiveSocket(opened, recorder, reading, wanted)
    start(live)
    return live
