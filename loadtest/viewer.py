"""One viewer of a crowd, in as little Python as will do, and what a crowd knows of all of them.

All viewers of a show are sent the same bytes. So what is read is parsed once for whoever gets the
same next, and a viewer costs its system call and little more.
"""

import asyncio
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct
from websockets.speedups import apply_mask

from gateway.messages import SUBPROTOCOL

_MASK = b"\x37\xfa\x21\x3d"
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
_UPGRADE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: %b\r\n\r\n"
) % SUBPROTOCOL.encode()
_SHARED_BYTES = 4_096
"""What is longer than this is no push, and so nobody else's too."""
CUT = 1006
"""The code of a connection that ended without a close frame."""


class _Stock(Struct, frozen=True):
    epoch: int
    version: int
    items: dict[str, int]


class _Said(Struct, frozen=True):
    """The fields of any frame that a viewer looks at."""

    type: str
    epoch: int = 0
    version: int = 0
    items: Any = None
    stock: _Stock | None = None
    catalog_tag: str = ""
    count: int = 0
    code: str = ""


_SAID = msgspec.json.Decoder(_Said)

Event = tuple[int, bytes, _Said | None]
"""Opcode with its first bit, payload, and what a text says, if a viewer looks at that."""


@dataclass(slots=True)
class Counts:
    """What the viewers of one process have met so far."""

    frames: int = 0
    bytes: int = 0
    stocks: int = 0
    """Stock frames; the stock in a welcome is none."""
    pings: int = 0
    open: int = 0
    """Upgraded, and neither side has closed yet."""
    most_open: int = 0
    backwards: int = 0
    """Stock frames older than what the viewer had, which must never be."""
    snapshots: int = 0
    """Welcomes that carried stock; whoever came back up to date needs none."""
    refused: Counter[str] = field(default_factory=Counter)
    """Upgrades refused, by the HTTP status."""
    unhelpful: int = 0
    """Refusals without Retry-After."""
    errors: Counter[str] = field(default_factory=Counter)
    """Error frames, by code."""


@dataclass(slots=True)
class Ledger:
    """Shared by the viewers of one process."""

    counts: Counts = field(default_factory=Counts)
    known: "array[int]" = field(default_factory=lambda: array("q"))
    """For every stock frame of those who are sampled: the version the viewer had before…"""
    told: "array[int]" = field(default_factory=lambda: array("q"))
    """…the one it was told…"""
    when: "array[float]" = field(default_factory=lambda: array("d"))
    """…and when, s since the epoch."""
    chunk: bytes = b""
    events: tuple[Event, ...] = ()
    """What the last chunk that others get, too, says."""

    def read(self, data: bytes) -> tuple[tuple[Event, ...], bytes]:
        """The frames of a chunk, and what is left of one that is not there whole."""
        if data == self.chunk:
            return self.events, b""
        events, rest = _parse(data)
        if not rest and len(data) < _SHARED_BYTES:
            self.chunk, self.events = data, events
        return events, rest


def _parse(data: bytes) -> tuple[tuple[Event, ...], bytes]:
    events: list[Event] = []
    at = 0
    while len(data) - at >= 2:
        size, start = data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(data) < start:
                break
            size = int.from_bytes(data[at + 2 : start])
        if len(data) < start + size:
            break
        payload = data[start : start + size]
        events.append((data[at], payload, _SAID.decode(payload) if data[at] == _TEXT else None))
        at = start + size
    return tuple(events), data[at:]


@dataclass(slots=True, eq=False)
class Viewer(asyncio.Protocol):
    """One socket: lets itself in, answers pings, and keeps the stock it was last told."""

    ledger: Ledger
    ticket: bytes
    show: bytes
    settled: asyncio.Future[None]
    """Done once it was let in, refused or lost, whichever comes first."""
    deaf: bool = False
    """Stop reading as soon as the upgrade stands."""
    sampled: bool = False
    """Have its stock frames written down, with when they came."""
    resumes: bool = False
    """Say the stock, and the catalogue, that are known already."""
    epoch: int = 0
    version: int = 0
    items: dict[str, int] = field(default_factory=dict)
    zeros: dict[str, float] = field(default_factory=dict)
    """Sku → when it was last told that it is sold out, after it was not, s since the epoch."""
    catalog_tag: str = ""
    watching: int = 0
    """How many are watching, as it was last told."""
    welcomed: bool = False
    drain_at: float = 0.0
    """When it was told that its process goes away."""
    code: int = 0
    """Why it was closed: the code it was sent, or ``CUT``; 0 while it is open."""
    ended_at: float = 0.0
    upgraded: bool = False
    port: int = 0
    transport: Any = None
    _unread: bytes = b""
    _counted: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]
        self.transport.write(_UPGRADE)

    def data_received(self, data: bytes) -> None:
        """Read what has come, frame by frame; none that the gateway sends is in pieces."""
        counts = self.ledger.counts
        counts.bytes += len(data)
        if self._unread:
            data = self._unread + data
        if not self.upgraded:
            data = self._read_head(data)
            if not self.upgraded:
                self._unread = data
                return
        events, self._unread = self.ledger.read(data)
        counts.frames += len(events)
        for opcode, payload, said in events:
            if said is not None:
                self._hear(said)
            elif opcode == _PING:
                counts.pings += 1
                self._send(_PONG, payload)
            elif opcode == _CLOSE:
                self._closed(payload)

    def _read_head(self, data: bytes) -> bytes:
        """Read the answer to the upgrade; returns what is left to read."""
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        counts = self.ledger.counts
        status = head[9:12].decode(errors="replace")
        if status != "101":
            counts.refused[status] += 1
            counts.unhelpful += b"\r\nretry-after:" not in head.lower()
            self.transport.abort()
            return b""
        self.upgraded = self._counted = True
        counts.open += 1
        counts.most_open = max(counts.most_open, counts.open)
        resume = b',"resume":%b' % self._known() if self.resumes else b""
        connect = b'{"type":"connect","id":0,"token":"%b","show":"%b"%b}'
        self.say(connect % (self.ticket, self.show, resume))
        if self.deaf:
            self.transport.pause_reading()
            self._settle()
        return rest

    def _hear(self, said: _Said) -> None:
        match said.type:
            case "stock":
                self._take(said.epoch, said.version, said.items)
            case "welcome":
                self._welcome(said)
            case "drain":
                self.drain_at = time.time()
            case "viewers":
                self.watching = said.count
            case "error":
                self.ledger.counts.errors[said.code] += 1

    def _known(self) -> bytes:
        tag = {"catalog_tag": self.catalog_tag} if self.catalog_tag else {}
        return msgspec.json.encode({"epoch": self.epoch, "version": self.version, **tag})

    def _welcome(self, said: _Said) -> None:
        self.welcomed, self.catalog_tag = True, said.catalog_tag
        if stock := said.stock:
            known = self.resumes and (stock.epoch, stock.version) == (self.epoch, self.version)
            if stock.items or not known:
                self.ledger.counts.snapshots += 1
                self.epoch, self.version, self.items = stock.epoch, stock.version, stock.items
        self._settle()

    def _take(self, epoch: int, version: int, items: dict[str, int]) -> None:
        ledger = self.ledger
        ledger.counts.stocks += 1
        if epoch != self.epoch or version < self.version:
            ledger.counts.backwards += 1
            return
        now = time.time()
        if self.sampled:
            ledger.known.append(self.version)
            ledger.told.append(version)
            ledger.when.append(now)
        if 0 in items.values():
            for sku, available in items.items():
                if not available and self.items.get(sku):
                    self.zeros[sku] = now
        self.version = version
        self.items |= items

    def say(self, text: bytes) -> None:
        """Send a text frame."""
        self._send(_TEXT, text)

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes((opcode, 0x80 | size)) if size < 126 else b"%c\xfe" % opcode + size.to_bytes(2)
        self.transport.write(head + _MASK + apply_mask(payload, _MASK))

    def _closed(self, payload: bytes) -> None:
        if not self.code:
            self.code = int.from_bytes(payload[:2]) if payload else 1005
            self.ended_at = time.time()
            self._send(_CLOSE, payload[:2])
        self._uncount()

    def leave(self, code: int | None) -> None:
        """Close with a code, as a browser does, or with none, as a phone that lost its network."""
        self._uncount()
        if self.transport is None or self.transport.is_closing():
            return
        if code is None or not self.upgraded:
            self.transport.abort()
        else:
            self._send(_CLOSE, code.to_bytes(2))
            self.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        """It is over, however it ended."""
        if not self.code:
            self.code, self.ended_at = CUT, time.time()
        self._uncount()
        self._settle()

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.ledger.counts.open -= 1

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)
