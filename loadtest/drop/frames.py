"""What a gateway writes to a socket, read by thousands in one process. Pure.

All viewers of a show are sent the same bytes, so what was read a moment ago is not read again for
the next viewer, nor is it worked out again what the stock is then. Frames of a gateway are never in
pieces.
"""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Message = dict[str, Any]
Event = tuple[int, bytes, Message | None]
"""Opcode, payload, and what a text says."""

TEXT, CLOSE, PING = 0x1, 0x8, 0x9
NO_CODE = 1005
"""The code of a close frame without one."""
LOST = 1006
"""The code of a connection that ended without a close frame."""
_REMEMBERED = 64
"""Texts that others may be sent, too."""
_SHARED_BYTES = 8_192
"""What is longer is one shopper's own."""
_MOST_VERSIONS = 4_096
"""Far more than are told while the slowest viewer reads one frame."""


def frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Opcodes and payloads of the whole frames in this, and what is left."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while len(data) - at >= 2:
        size, start = data[at + 1] & 0x7F, at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(data) < start:
                break
            size = int.from_bytes(data[at + 2 : start], "big")
        if len(data) < start + size:
            break
        found.append((data[at] & 0x0F, data[start : start + size]))
        at = start + size
    return found, data[at:]


def close_code(payload: bytes) -> int:
    """Why the other side closes."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_CODE


def moment_ms(text: str) -> float:
    """A time in RFC 3339 as ms since the epoch."""
    return datetime.fromisoformat(text).timestamp() * 1000


@dataclass(slots=True)
class Reading:
    """What one gateway writes, read once for whoever gets the same."""

    _chunk: bytes = b""
    _events: tuple[Event, ...] = ()
    _known: OrderedDict[bytes, Message] = field(default_factory=OrderedDict)
    _versions: list[int] = field(default_factory=list)
    """Of the stock frames with a time, rising…"""
    _times: list[float] = field(default_factory=list)
    """…and when Redis decided each, ms."""
    _epoch: int = -1
    _version: int = -1
    _items: dict[str, int] = field(default_factory=dict)
    """The stock as of ``_version``."""

    def parse(self, data: bytes) -> tuple[tuple[Event, ...], bytes]:
        """What is in these bytes, and what is left of a frame that is not there whole."""
        if data == self._chunk:
            return self._events, b""
        found, rest = frames(data)
        events = tuple(
            (opcode, payload, self.read(payload) if opcode == TEXT else None)
            for opcode, payload in found
        )
        if not rest and len(data) < _SHARED_BYTES:
            self._chunk, self._events = data, events
        return events, rest

    def read(self, payload: bytes) -> Message:
        """What a text says. It is shared: nobody may change it."""
        message = self._known.get(payload)
        if message is None:
            message = json.loads(payload)
            if message.get("type") == "stock":
                self._learn(message)
            if len(payload) < _SHARED_BYTES and "id" not in message:
                self._known[payload] = message
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return message

    def decided_after(self, epoch: int, version: int) -> float | None:
        """When the first change was decided that a viewer of this version did not know, ms.

        A viewer that was slow gets everything in one frame, whose own time would flatter.
        """
        if epoch != self._epoch or not self._versions or version >= self._versions[-1]:
            return None
        if len(self._versions) > 1 and version >= self._versions[-2]:
            return self._times[-1]
        return self._times[bisect_right(self._versions, version)]

    def _learn(self, stock: Message) -> None:
        epoch, version = stock["epoch"], stock["version"]
        if epoch != self._epoch:
            self._epoch, self._version, self._items = epoch, -1, {}
            self._versions, self._times = [], []
        if version <= self._version:
            return
        items = stock["items"]
        if self._version >= 0:
            stock["before"] = self._version
            stock["sold_out"] = _sells_out(self._items, items)
        self._items = stock["after"] = {**self._items, **items}
        self._version = version
        if "at" in stock:
            stock["at_ms"] = moment_ms(stock["at"])
            self._versions.append(version)
            self._times.append(stock["at_ms"])
            if len(self._versions) > _MOST_VERSIONS:
                del self._versions[: _MOST_VERSIONS // 2], self._times[: _MOST_VERSIONS // 2]


def _sells_out(before: Mapping[str, int], items: Mapping[str, int]) -> bool:
    return any(not left and before.get(sku, 0) > 0 for sku, left in items.items())


@dataclass(slots=True)
class Shelf:
    """The stock as one socket was told. Others may have the same items: they are not changed."""

    epoch: int = 0
    version: int = -1
    items: Mapping[str, int] = field(default_factory=dict)
    catalog_tag: str = ""

    def welcome(self, welcome: Message, *, resumed: bool) -> None:
        """Take the stock of a welcome, which has no items if they are known."""
        stock = welcome["stock"]
        same = resumed and (stock["epoch"], stock["version"]) == (self.epoch, self.version)
        if not same:
            self.items = stock["items"]
        self.epoch, self.version = stock["epoch"], stock["version"]
        self.catalog_tag = welcome.get("catalog_tag", "")

    def resume(self) -> Message:
        """What a returning client says it knows."""
        tag = {"catalog_tag": self.catalog_tag} if self.catalog_tag else {}
        return {"epoch": self.epoch, "version": self.version, **tag}

    def take(self, stock: Message) -> bool | None:
        """Take a push: whether something has just sold out; ``None`` if it was not to be taken."""
        if stock["epoch"] != self.epoch or stock["version"] <= self.version:
            return None
        if stock.get("before") == self.version:
            sold_out, self.items = stock["sold_out"], stock["after"]
        else:
            sold_out = _sells_out(self.items, stock["items"])
            self.items = {**self.items, **stock["items"]}
        self.version = stock["version"]
        return bool(sold_out)

    def learns(self, sku: str, left: int) -> None:
        """An answer said how many there are, before the push does."""
        self.items = {**self.items, sku: left}

    def has(self, wanted: frozenset[str]) -> bool:
        """Whether any of these can be had."""
        items = self.items
        for sku in wanted:  # noqa: SIM110  a generator takes three times as long
            if items.get(sku, 0) > 0:
                return True
        return False
