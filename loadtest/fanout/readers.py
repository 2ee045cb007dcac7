"""A process full of sockets that only read and count, so that the server is what is measured.

Raw sockets and one epoll: of each frame only its head and its first bytes are looked at. Reads its
``Crowd`` as a line of JSON from standard input, then an ``Order`` a line, and answers each with a
``Count`` as a line of JSON.
"""

import contextlib
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.clock import SystemClock
from gateway.messages import SUBPROTOCOL
from gateway.settings import Settings
from gateway.tickets import Tokens

TOGETHER = 64
"""Sockets that connect at once."""
PATIENCE_S = 30.0
"""For one answer of the server."""
AGAIN_S = 0.5
"""After this, those who were told to try again do."""
LAZY_S = 0.5
"""How often those that are not looked at closely empty their sockets."""
LAZY_STEPS = 50
STOCK = b'{"type":"stock"'
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, b"\x8a"
NO_MASK = bytes(4)
_READ = 65_536


class Crowd(Struct, kw_only=True):
    """Who reads, and where."""

    host: str
    port: int
    shop: str = ""
    """With a shop, each says ``connect`` with a ticket of its own; without, none says anything."""
    show: str = ""
    secret: str = ""
    name: str = "v"
    """Sets the shoppers of several crowds apart."""
    deflate: bool = False
    """Whether to offer permessage-deflate, as browsers do."""


class Order(Struct, kw_only=True):
    """What to do next."""

    do: Literal["connect", "knock", "read", "watch", "hang_up"]
    count: int = 0
    """Sockets to open; or frames to have read since the process began."""
    subprotocol: str = SUBPROTOCOL
    joins: bool = True
    """Whether to say ``connect`` after the upgrade."""
    seconds: float = 0
    sample: int = 0
    """Of ``watch``: sockets whose frames are kept, with the time they came."""
    file: str = ""
    """Where to keep them."""


class Count(Struct):
    """What there is so far."""

    frames: int
    """Of stock, all sockets together."""
    open: int
    answers: dict[str, int]
    """Of the last order, by HTTP status."""
    closed: dict[str, int]
    """Sockets the server has closed, by code."""


class Sighting(Struct, array_like=True):
    """A frame of stock as it came to one socket."""

    viewer: int
    at_ms: float
    """By the system's clock, which is Redis' too."""
    text: bytes


@dataclass(slots=True)
class Readers:
    """The sockets."""

    crowd: Crowd
    poll: select.epoll = field(default_factory=select.epoll)
    frames: int = 0
    _sockets: dict[int, socket.socket] = field(default_factory=dict)
    _begun: dict[int, bytes] = field(default_factory=dict)
    """Frames of which the rest is to come."""
    _closed: Counter[str] = field(default_factory=Counter)
    _answers: Counter[str] = field(default_factory=Counter)
    _seen: list[Sighting] = field(default_factory=list)
    _watched: set[int] = field(default_factory=set)
    _ever: int = 0

    def count(self) -> Count:
        """What there is so far."""
        answers = {status: count for status, count in self._answers.items() if count}
        return Count(self.frames, len(self._sockets), answers, dict(self._closed))

    def obey(self, order: Order) -> None:
        """Carry out an order."""
        match order.do:
            case "connect" | "knock":
                self._connect(order)
            case "read":
                self._read_until(order.count, order.seconds)
            case "watch":
                self._watch(order)
            case "hang_up":
                for fd in list(self._sockets):
                    self._forget(fd)

    def read(self, seconds: float) -> bool:
        """Read once what there is; whether standard input has something, too."""
        asked = False
        for fd, _ in self.poll.poll(seconds):
            if fd == 0:
                asked = True
            else:
                self._take(fd)
        return asked

    def _connect(self, order: Order) -> None:
        self._answers.clear()
        missing, until = order.count, time.monotonic() + PATIENCE_S
        while missing:
            done = self._open(min(TOGETHER, missing), order)
            missing -= done
            if done:
                until = time.monotonic() + PATIENCE_S
            elif time.monotonic() > until:
                raise SystemExit(f"{missing} of {order.count} were told to try again for too long")
            self.read(0 if done else AGAIN_S)

    def _open(self, count: int, order: Order) -> int:
        """Open so many; how many of them have their answer, and need not try again."""
        address, keys = (self.crowd.host, self.crowd.port), range(count)
        sockets = [socket.create_connection(address, PATIENCE_S) for _ in keys]
        request = self._request(order.subprotocol)
        for one in sockets:
            one.sendall(request)
        opened = []
        for one in sockets:
            head, rest = _head(one)
            status = head.split(b" ", 2)[1].decode()
            self._answers[status] += 1
            if status == "101" and order.do == "connect":
                self._begun[one.fileno()] = rest
                opened.append(one)
            else:
                one.close()
        joined = self._join(opened) if order.joins and self.crowd.shop else opened
        self._answers["101"] -= len(opened) - len(joined)
        for one in joined:
            one.settimeout(0)
            self._sockets[one.fileno()] = one
            self.poll.register(one.fileno(), select.EPOLLIN)
        return count - len(opened) + len(joined)

    def _request(self, subprotocol: str) -> bytes:
        lines = [
            "GET /v1/live HTTP/1.1",
            "Host: localhost",
            "Origin: http://localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {subprotocol}",
        ]
        if self.crowd.deflate:
            lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        return "\r\n".join([*lines, "", ""]).encode()

    def _join(self, opened: Sequence[socket.socket]) -> list[socket.socket]:
        """Say ``connect``; those that were welcomed."""
        settings = Settings(secret=self.crowd.secret, ticket_ttl_s=86_400)
        tokens = Tokens(settings, SystemClock())
        for one in opened:
            self._ever += 1
            name = f"{self.crowd.name}{self._ever}"
            ticket, _ = tokens.sign_ticket(self.crowd.shop, self.crowd.show, name)
            show = self.crowd.show
            text = f'{{"type":"connect","id":1,"token":"{ticket}","show":"{show}"}}'.encode()
            one.sendall(b"\x81\xfe" + len(text).to_bytes(2) + NO_MASK + text)
        return [one for one in opened if self._welcomed(one)]

    def _welcomed(self, one: socket.socket) -> bool:
        """Wait for the reply to ``connect``; a first ping may come before it.

        A gateway on a machine that has too much to do may say that one should try again.
        """
        data = self._begun.pop(one.fileno(), b"")
        while True:
            end = 0
            for kind, text, end in _frames(data):
                if kind == PING:
                    one.sendall(_pong(text))
                elif text.startswith(b'{"type":"welcome"'):
                    self._begun[one.fileno()] = data[end:]
                    return True
                elif b'"code":"unavailable"' in text:
                    one.close()
                    return False
                else:
                    raise SystemExit(f"not let in: {text[:200]!r}")
            more = one.recv(_READ)
            if not more:
                raise SystemExit("the server closed a socket before its welcome")
            data = data[end:] + more

    def _take(self, fd: int) -> None:
        """Read what a socket has."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._closed["none"] += 1
            self._forget(fd)
            return
        begun = self._begun.pop(fd, b"")
        if begun:
            data = begun + data
        end = 0
        for kind, text, end in _frames(data):  # noqa: B007 (the last end is the beginning of the rest)
            if kind == TEXT:
                if text.startswith(STOCK):
                    self.frames += 1
                    if fd in self._watched:
                        self._seen.append(Sighting(fd, time.time() * 1000, text))
            elif kind == PING:
                os.write(fd, _pong(text))
            elif kind == CLOSE:
                self._closed[str(int.from_bytes(text[:2]))] += 1
                self._forget(fd)
                return
        if end < len(data):
            self._begun[fd] = data[end:]

    def _forget(self, fd: int) -> None:
        self._begun.pop(fd, None)
        self.poll.unregister(fd)
        self._sockets.pop(fd).close()

    def _read_until(self, frames: int, seconds: float) -> None:
        """Read until there are so many frames, or the time is up."""
        until = time.monotonic() + (seconds or PATIENCE_S)
        while self.frames < frames and (left := until - time.monotonic()) > 0:
            self.read(left)

    def _watch(self, order: Order) -> None:
        """Read for so long: a sample as the frames come, the others twice a second.

        The server sees no difference, and the readers of ten thousand leave the machine to it.
        """
        every = list(self._sockets)
        step = max(1, len(every) // max(1, order.sample))
        self._watched, self._seen = set(every[::step][: order.sample]), []
        others = [fd for fd in every if fd not in self._watched]
        for fd in others:
            self.poll.modify(fd, 0)
        until, place = time.monotonic() + order.seconds, 0
        next_s = time.monotonic()
        while (now_s := time.monotonic()) < until:
            if now_s >= next_s:
                for fd in others[place::LAZY_STEPS]:
                    if fd in self._sockets:
                        self._take(fd)
                place = (place + 1) % LAZY_STEPS
                next_s += LAZY_S / LAZY_STEPS
            self.read(max(0.0, min(next_s, until) - time.monotonic()))
        for fd in others:
            if fd in self._sockets:
                self.poll.modify(fd, select.EPOLLIN)
        with open(order.file, "wb") as file:  # noqa: PTH123
            file.write(msgspec.msgpack.encode(self._seen))
        self._watched, self._seen = set(), []


def _head(one: socket.socket) -> tuple[bytes, bytes]:
    """The head of the answer to an upgrade, and what has come after it."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while b"\r\n\r\n" not in data:
            more = one.recv(_READ)
            if not more:
                break
            data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head or b"? none", rest


def _pong(text: bytes) -> bytes:
    return PONG + bytes((0x80 | len(text),)) + NO_MASK + text


def _frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """The whole frames: first byte, what is in it, and where it ends."""
    at, there = 0, len(data)
    while there - at >= 2:
        size, start = data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : start])
        end = start + size
        if end > there:
            return
        yield data[at], data[start:end], end
        at = end


def main() -> None:
    """Obey until standard input ends."""
    # Unbuffered, for a line that was read ahead would wake nobody.
    orders = open(0, "rb", buffering=0)  # noqa: SIM115
    readers = Readers(msgspec.json.decode(orders.readline(), type=Crowd))
    readers.poll.register(0, select.EPOLLIN)
    while True:
        if not readers.read(-1):
            continue
        line = orders.readline()
        if not line:
            return
        readers.obey(msgspec.json.decode(line, type=Order))
        sys.stdout.write(msgspec.json.encode(readers.count()).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
