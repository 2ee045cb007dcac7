"""A shopper's socket: commands with their replies, and what is pushed meanwhile."""

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Origin, Subprotocol

from gateway.messages import SUBPROTOCOL
from gateway.settings import page_origin

Message = dict[str, Any]

_OPEN_TIMEOUT_S = 10
_CLOSE_TIMEOUT_S = 1
_REPLY_TIMEOUT_S = 15
"""Longer than the gateway lets a checkout wait for its outcome."""
STOP_FROM = 4_500
"""From this close code on a client must not come back."""


class Away(Exception):
    """The gateway is not there, or has closed the socket; ``code`` is the close code, if any."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Shelf:
    """The stock as this socket was told; ``changed`` is set whenever it may have changed."""

    epoch: int = 0
    version: int = -1
    items: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def welcome(self, stock: Message) -> None:
        """Take the stock of a welcome."""
        self.epoch, self.version, self.items = stock["epoch"], stock["version"], stock["items"]
        self.changed.set()

    def apply(self, push: Message) -> bool:
        """Apply a push; ``False`` when it is of another epoch: the client must reconnect."""
        if push["epoch"] != self.epoch:
            return False
        if push["version"] > self.version:
            self.version = push["version"]
            self.items.update(push["items"])
            self.changed.set()
        return True


@dataclass(slots=True)
class Visit:
    """One socket, open and read."""

    socket: ClientConnection
    shelf: Shelf
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _replies: dict[int, asyncio.Future[Message]] = field(default_factory=dict)
    _checkouts: defaultdict[str, asyncio.Queue[Message]] = field(
        default_factory=lambda: defaultdict(asyncio.Queue)
    )
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_open(self) -> bool:
        """Whether it is still worth asking something."""
        return not self._gone.is_set()

    async def closed(self) -> None:
        """Wait a moment for the gateway to close the socket; the code says why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._gone.wait()

    async def ask(self, command: Message) -> Message:
        """Send a command and wait for its reply.

        Raises:
            Away: the socket is closed, or the reply takes too long.
        """
        number = next(self._ids)
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            await self.socket.send(msgspec.json.encode(command | {"id": number}).decode())
            async with asyncio.timeout(_REPLY_TIMEOUT_S):
                return await reply
        except (ConnectionClosed, TimeoutError):
            raise Away(self.socket.close_code) from None
        finally:
            self._replies.pop(number, None)

    async def hear_checkout(self, hold: str, within_s: float) -> Message | None:
        """Wait for a push about a payment; ``None`` when there is none, or the socket closes."""
        heard = asyncio.create_task(self._checkouts[hold].get())
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait({heard, gone}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            return heard.result() if heard.done() else None
        finally:
            heard.cancel()
            gone.cancel()

    def forget_checkout(self, hold: str) -> None:
        """Drop pushes about an earlier attempt."""
        self._checkouts.pop(hold, None)

    async def read(self) -> None:
        """Read until the socket closes."""
        try:
            async for text in self.socket:
                if not self._heard(msgspec.json.decode(text)):
                    await self.socket.close()
        except ConnectionClosed:
            pass
        finally:
            self._gone.set()
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(Away(self.socket.close_code))

    def _heard(self, message: Message) -> bool:
        """Take a message in; ``False`` when only a new socket can make sense of it."""
        reply = self._replies.get(message.get("id", -1))
        if reply and not reply.done():
            reply.set_result(message)
        elif message["type"] == "checkout":
            self._checkouts[message["hold"]].put_nowait(message)
        elif message["type"] == "stock":
            return self.shelf.apply(message)
        return True


@contextlib.asynccontextmanager
async def visiting(url: str) -> AsyncIterator[Visit]:
    """Open a socket and read it.

    Raises:
        Away: nobody lets us in.
    """
    try:
        socket = await connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origin=Origin(page_origin(url)),
            compression=None,
            proxy=None,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
        )
    except (OSError, InvalidHandshake, TimeoutError, ConnectionClosed):
        raise Away from None
    visit = Visit(socket, Shelf())
    reading = asyncio.create_task(visit.read())
    try:
        yield visit
    finally:
        await socket.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
