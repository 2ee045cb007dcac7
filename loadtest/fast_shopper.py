"""A shopper for benchmarks: one socket, in as little Python as will do.

It asks for a unit, and when it has the answer, for the next: a client that the server never waits
for, so that what is measured is the server.
"""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from websockets.speedups import apply_mask

from gateway.messages import SUBPROTOCOL

_MASK = b"\x37\xfa\x21\x3d"


@dataclass(slots=True)
class Score:
    """What the shoppers of one server have got so far."""

    holds: int = 0
    pushes: int = 0
    errors: int = 0
    going: bool = False


@dataclass(slots=True, eq=False)
class Shopper(asyncio.Protocol):
    """One socket, written for speed: the client must not be what limits the servers."""

    name: str
    score: Score
    connected: asyncio.Future[None]
    ticket: bytes
    _transport: Any = None
    _upgraded: bool = False
    _read: bytes = b""
    asked: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = transport
        self._transport.write(
            b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: %b\r\n\r\n" % SUBPROTOCOL.encode()
        )

    def data_received(self, data: bytes) -> None:
        """Read what has come, frame by frame; none that we are sent is in pieces."""
        data = self._read + data
        if not self._upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            self._upgraded = bool(end)
            if not end:
                self._read = head
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._send(b'{"type":"connect","id":0,"token":"%b","show":"tonight"}' % self.ticket)
        at = 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : start])
            if len(data) < start + size:
                break
            self._hear(data[start : start + size])
            at = start + size
        self._read = data[at:]

    def _hear(self, frame: bytes) -> None:
        if frame.startswith(b'{"type":"hold","id":'):
            self.score.holds += 1
            if self.score.going:
                self.reserve()
        elif not self.connected.done():
            self.connected.set_result(None)
        elif frame.startswith(b'{"type":"error"'):
            self.score.errors += 1
        else:
            self.score.pushes += 1

    def reserve(self) -> None:
        """Ask for one unit, under a key of its own."""
        self.asked += 1
        self._send(
            b'{"type":"reserve","id":%d,"key":"%b","lines":[{"sku":"tee","quantity":1}]}'
            % (self.asked, str(uuid.uuid4()).encode())
        )

    def _send(self, text: bytes) -> None:
        size = len(text)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
        self._transport.write(head + _MASK + apply_mask(text, _MASK))
