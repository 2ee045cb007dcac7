"""A TCP proxy on loopback that does to a connection what networks do: loses, delays, cuts.

async with open_proxy(port) as proxy:
    proxy.lose_replies(3)     # the next three requests are executed, their replies are lost
    proxy.deafen()            # as stall, but only for connections that have subscribed
    proxy.deafen(new=True)    # and for those that will
    proxy.stall()             # nothing is read any more, buffers fill
    proxy.swallow()           # everything is read, and vanishes
    proxy.mute(b"smessage")   # so do replies with this word in them; the others come through
    proxy.cut()               # all connections break now; new ones are let through
    proxy.heal()              # new connections are as good as new; stalled ones go on
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field

HOST = "127.0.0.1"
_CHUNK = 65_536
_SUBSCRIBES = b"SUBSCRIBE"


@dataclass(eq=False)
class _Link:
    """One client's connection, and ours to the server in its name."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    losing: bool = False
    """The reply to what was sent last is to be lost."""
    subscribes: bool = False
    deaf: bool = False

    def break_off(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass(eq=False)
class Proxy:
    """Passes bytes between clients and a server, or does not."""

    target: int
    port: int = 0
    lost: int = 0
    """Requests so far that were let through, and their reply was not."""
    _to_lose: int = 0
    _loses: bytes = b""
    _swallows: bool = False
    _mutes: bytes = b""
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[_Link] = field(default_factory=set)
    _tells: asyncio.Event = field(default_factory=asyncio.Event)
    _deafens_new: bool = False

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    @property
    def tells(self) -> bool:
        """Whether somebody has subscribed by a connection that is not silent."""
        return any(link.subscribes and not link.deaf for link in self._links)

    def lose_replies(self, times: int, to: bytes = b"EVALSHA") -> None:
        """Let requests with this word in them through, and break off instead of their reply."""
        self._to_lose, self._loses = times, to

    def deafen(self, *, new: bool = False) -> None:
        self._tells.clear()
        for link in self._links:
            link.deaf = link.subscribes
        self._deafens_new = new

    def stall(self) -> None:
        self._flows.clear()

    def swallow(self) -> None:
        self._swallows = True

    def mute(self, word: bytes) -> None:
        self._mutes = word

    def cut(self) -> None:
        for link in self._links:
            link.break_off()

    def heal(self) -> None:
        self._swallows, self._mutes, self._to_lose = False, b"", 0
        self._flows.set()
        self._tells.set()
        self._deafens_new = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until either side closes."""
        try:
            await self._flows.wait()
            server_reader, server = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        link = _Link(writer, server)
        self._links.add(link)
        ways = (self._requests(link, reader), self._replies(link, server_reader))
        try:
            async with asyncio.TaskGroup() as group:
                for way in ways:
                    group.create_task(_until_broken(way))
        finally:
            link.break_off()
            self._links.discard(link)

    async def _requests(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while data := await self._next(reader):
            if _SUBSCRIBES in data:
                link.subscribes, link.deaf = True, link.deaf or self._deafens_new
            if link.deaf:
                await self._tells.wait()
            if self._to_lose and self._loses in data:
                self._to_lose -= 1
                self.lost += 1
                link.losing = True
            link.server.write(data)
            await link.server.drain()
        link.break_off()

    async def _replies(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while data := await self._next(reader):
            if link.deaf:
                await self._tells.wait()
            if link.losing:
                break
            if self._mutes and self._mutes in data:
                continue
            link.client.write(data)
            await link.client.drain()
        link.break_off()

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        """What comes next; empty when the connection has ended."""
        await self._flows.wait()
        while data := await reader.read(_CHUNK):
            await self._flows.wait()
            if not self._swallows:
                return data
        return b""


async def _until_broken(way: Coroutine[None, None, None]) -> None:
    with contextlib.suppress(OSError):
        await way


@contextlib.asynccontextmanager
async def open_proxy(target: int) -> AsyncIterator[Proxy]:
    """Open a proxy to a port of this machine, and close it with all its connections."""
    proxy = Proxy(target)
    proxy.heal()
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
