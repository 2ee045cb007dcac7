"""The far side of one connection of our protocol class, in memory: what it writes is kept."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from socket import AF_UNIX
from typing import Any

import uvicorn

from gateway.sockets.direct import EXTENSION
from gateway.sockets.door import Door
from gateway.sockets.server import SocketProtocol

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""An upgrade."""
READY = b"\x81\x02{}"
"""A frame of the server."""


class Socket:
    """The socket of one connection, as far as it is asked."""

    family = AF_UNIX

    def __init__(self) -> None:
        self.buffers: list[tuple[int, int, int]] = []

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.buffers.append((level, option, value))

    def getsockname(self) -> str:
        return ""

    def getpeername(self) -> str:
        return ""


class Wire(asyncio.Transport):
    """The transport of one connection, as far as the protocol uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.paused = self.closing = False
        self.aborted = asyncio.Event()
        self.protocol: Any = None
        self.limits: int | None = None
        self.socket = Socket()
        self.waiting = 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, _: int | None = None) -> None:
        self.limits = high

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True
        self.aborted.set()


class Line:
    """A protocol without a socket, and an application that notes what it hears, and by which way.

    That the short way is taken is part of it: without, everything would work, and cost more.
    """

    def __init__(self, rng: random.Random) -> None:
        self.heard: list[tuple[str, str]] = []
        config = uvicorn.Config(self._app, interface="asgi3", ws="none", log_config=None)
        config.load()
        self.wire = Wire()
        self.protocol = SocketProtocol(config, uvicorn.server.ServerState(), {}, Door(1), rng)
        self.protocol.connection_made(self.wire)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][EXTENSION].hear(lambda text: self.heard.append(("short", text)))
        while (message := await receive())["type"] == "websocket.receive":
            self.heard.append(("long", message.get("text", "binary")))

    async def opened(self) -> None:
        await self.brings(REQUEST)
        assert self.wire.written.pop().startswith(b"HTTP/1.1 101")

    async def brings(self, data: bytes) -> None:
        """Bytes come, once the protocol wants any; then the application has its turn."""
        while self.wire.paused:
            await asyncio.sleep(0)
        self.protocol.data_received(data)
        for _ in range(5):
            await asyncio.sleep(0)

    async def ends(self) -> None:
        self.protocol.connection_lost(None)
        await asyncio.gather(*self.protocol.tasks)


@contextlib.asynccontextmanager
async def line(rng: random.Random | None = None) -> AsyncIterator[Line]:
    line = Line(rng or random.Random(1))
    await line.opened()
    yield line
    await line.ends()
