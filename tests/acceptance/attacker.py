"""Attacks on a gateway, from a process of their own: ``python -m tests.acceptance.attacker``.

It is told on standard input what to do (a list of ``Orders``), does all of it for so long, again
and again whenever it is sent away, or until it has met what it was to meet; and prints how often it
met what.
"""

import asyncio
import contextlib
import gzip
import json
import os
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import uvloop

from gateway.messages import SUBPROTOCOL
from gateway.process import allow_files
from tests.shopper import narrow
from tests.stall import SHOW

_BREATH_S = 0.005
_AGAIN_S = 0.25
"""How soon whoever was sent away is back."""
_ARRIVE_S = 1.0
"""So many come one after the other."""
_PIECE_S = 0.02
_DEAF_S = 6.0
_CHUNK = 100


@dataclass
class Orders:
    """What to do to whom."""

    kind: str
    port: int
    count: int
    """How many do it at once; of messages on one socket, how many a second."""
    seconds: float
    tickets: list[str] = field(default_factory=list)
    until: list[str] = field(default_factory=list)
    """Ends of which one is enough; without any, they go on until the time is over."""


class Line:
    """One connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> "Line":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**22))

    def says(self, data: bytes) -> None:
        """Send, were there still somebody to send to."""
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)

    async def upgraded(self, **headers: str) -> bytes:
        """Ask for a socket; the head of the answer."""
        self.says(upgrade(**headers))
        return await self.reader.readuntil(b"\r\n\r\n")

    async def status(self) -> str:
        """The status of an HTTP answer; ``cut`` if there is none."""
        said = await self.reader.read(4096)
        return said[9:12].decode() if said else "cut"

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its opcode, and what it holds."""
        first, second = await self.reader.readexactly(2)
        size = second & 127
        if size == 126:
            [size] = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            [size] = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 15, await self.reader.readexactly(size)

    async def close_code(self) -> str:
        """Read frames until the socket is closed; its code, or ``cut``."""
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == 8:
                    return str(int.from_bytes(payload[:2]))
        except (OSError, asyncio.IncompleteReadError):
            return "cut"

    def close(self) -> None:
        self.writer.transport.abort()


def upgrade(**headers: str) -> bytes:
    fixed = {
        "Host": "x",
        "Origin": "http://x",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
    }
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in (fixed | headers).items()]
    return "\r\n".join(["GET /v1/live HTTP/1.1", *lines, "", ""]).encode()


def frame(data: bytes, opcode: int = 1, *, fin: bool = True, bits: int = 0) -> bytes:
    """A frame with a mask of zeros."""
    first = (128 if fin else 0) | bits | opcode
    if len(data) < 126:
        head = struct.pack("!BB", first, 128 | len(data))
    else:
        head = struct.pack("!BBQ", first, 255, len(data))
    return head + bytes(4) + data


def connect(ticket: str) -> bytes:
    return frame(json.dumps({"type": "connect", "id": 1, "token": ticket, "show": SHOW}).encode())


Attack = Callable[[Orders, Counter[str], Iterator[str]], Awaitable[None]]


async def messages(orders: Orders, met: Counter[str], tickets: Iterator[str]) -> None:
    """So many messages a second on one socket that was let in."""
    line = await Line.to(orders.port)
    await line.upgraded()
    line.says(connect(next(tickets)))
    await line.frame()
    closed = asyncio.ensure_future(line.close_code())
    burst = frame(b'{"type":"ask","id":2,"text":"x"}') * _CHUNK
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    while not closed.done():
        with contextlib.suppress(ConnectionResetError):
            line.says(burst)
        met["sent"] += _CHUNK
        next_s += _CHUNK / orders.count
        await asyncio.sleep(max(0.0, next_s - loop.time()))
    met[await closed] += 1
    line.close()


async def _floods(orders: Orders, met: Counter[str], piece: bytes) -> None:
    """Megabytes a second; whatever is answered is not read until the end."""
    line = await Line.to(orders.port)
    await line.upgraded()
    try:
        while True:
            line.says(piece)
            await line.writer.drain()
            met["bytes"] += len(piece)
            await asyncio.sleep(_PIECE_S)
    except OSError:
        met[await line.close_code()] += 1
    finally:
        line.close()


async def pings(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """Pings without end, and nobody reads the answers."""
    await _floods(orders, met, frame(b"x" * 125, 9) * 500)


async def empty_fragments(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A message of pieces that are empty, without end: no bound of its size is ever met."""
    await _floods(orders, met, frame(b"x", 1, fin=False) + frame(b"", 0, fin=False) * 10_000)


async def half_heads(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """Half a request, and then nothing."""
    line = await Line.to(orders.port)
    line.says(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Half: " + b"y" * 200)
    met[await line.status()] += 1
    line.close()


async def nothing(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A connection, and nothing else."""
    line = await Line.to(orders.port)
    met[await line.status()] += 1
    line.close()


async def slow_bodies(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A body, a byte at a time."""
    line = await Line.to(orders.port)
    line.says(
        b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10000\r\n\r\n{"
    )
    status = asyncio.ensure_future(line.status())
    while not status.done():
        with contextlib.suppress(ConnectionResetError):
            line.says(b" ")
        await asyncio.wait([status], timeout=0.2)
    met[await status] += 1
    line.close()


async def idle_sockets(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A socket that never says who it is."""
    line = await Line.to(orders.port)
    await line.upgraded()
    met[await line.close_code()] += 1
    line.close()


async def fragmented_control(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A ping in pieces, which no ping may be."""
    line = await Line.to(orders.port)
    await line.upgraded()
    line.says(frame(b"a", 9, fin=False) + frame(b"b", 0))
    met[await line.close_code()] += 1
    line.close()


async def huge_frames(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A frame of which the head alone is sent: it announces four exabytes."""
    line = await Line.to(orders.port)
    await line.upgraded()
    line.says(struct.pack("!BBQ", 0x81, 255, 2**62) + bytes(4))
    met[await line.close_code()] += 1
    line.close()


async def half_frames(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A frame as large as may be, but for its last byte."""
    line = await Line.to(orders.port)
    await line.upgraded()
    line.says(frame(b"x" * 524_288)[:-1])
    met[await line.close_code()] += 1
    line.close()


async def bombs(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A thousandfold compressed frame, for whoever would unpack it, and a request like that."""
    line = await Line.to(orders.port)
    head = await line.upgraded(Sec_WebSocket_Extensions="permessage-deflate")
    met["deflate taken"] += b"permessage-deflate" in head
    squeezed = zlib.compressobj(wbits=-15)
    bomb = squeezed.compress(bytes(10_000_000)) + squeezed.flush(zlib.Z_SYNC_FLUSH)
    line.says(frame(bomb, 2, bits=0x40))
    met[await line.close_code()] += 1
    line.close()
    line = await Line.to(orders.port)
    body = gzip.compress(bytes(10_000_000))
    line.says(
        b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    line.says(body)
    met[await line.status()] += 1
    line.close()


async def pipelined(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """Thousands of requests at once, of which no answer is read."""
    line = await Line.to(orders.port)
    try:
        for _nth in range(50):
            line.says(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
            await line.writer.drain()
        met[await line.status()] += 1
    finally:
        line.close()


async def large_heads(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """A header without end."""
    line = await Line.to(orders.port)
    line.says(b"GET /livez HTTP/1.1\r\nX-Long: ")
    status = asyncio.ensure_future(line.status())
    while not status.done():
        with contextlib.suppress(ConnectionResetError):
            line.says(b"y" * 10_000)
        await asyncio.wait([status], timeout=_BREATH_S)
    met[await status] += 1
    line.close()


async def deaf_readers(orders: Orders, met: Counter[str], _: Iterator[str]) -> None:
    """As much of the page as may be asked for at once, and no answer is read for long."""
    client = narrow(f"http://127.0.0.1:{orders.port}")
    try:
        client.send(b"GET /static/state.js HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        await asyncio.sleep(_DEAF_S)
        while await asyncio.get_running_loop().sock_recv(client, 65_536):
            pass
        met["cut"] += 1
    finally:
        client.close()


ATTACKS: dict[str, Attack] = {
    one.__name__: one
    for one in (
        *(messages, pings, empty_fragments, half_heads, nothing, slow_bodies, idle_sockets),
        *(fragmented_control, huge_frames, half_frames, bombs, pipelined, large_heads),
        deaf_readers,
    )
}
GIVES_WAY = "--gives-way"
"""Only use a core that nobody else wants: what others then lack is not what the attack takes."""
ALONE = {"messages"}
"""What one does, whose count means something else."""


async def attack(orders: Orders) -> Counter[str]:
    """Have so many do it until the time is over."""
    met: Counter[str] = Counter()
    tickets = iter(orders.tickets)
    kind = ATTACKS[orders.kind]

    async def again_and_again(after_s: float) -> None:
        await asyncio.sleep(after_s)
        while met.keys().isdisjoint(orders.until):
            try:
                await kind(orders, met, tickets)
            except (OSError, asyncio.IncompleteReadError):
                met["sent away"] += 1
            await asyncio.sleep(_AGAIN_S)

    number = 1 if orders.kind in ALONE else orders.count
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(orders.seconds), asyncio.TaskGroup() as group:
            for nth in range(number):
                group.create_task(again_and_again(_ARRIVE_S * nth / number))
    return met


async def attacks(all_orders: list[Orders]) -> dict[str, Counter[str]]:
    """Do all of it at once; what was met in each."""
    met = await asyncio.gather(*(attack(orders) for orders in all_orders))
    return {orders.kind: one for orders, one in zip(all_orders, met, strict=True)}


def main() -> None:
    allow_files(20_000)
    if GIVES_WAY in sys.argv and sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    met = uvloop.run(attacks([Orders(**words) for words in json.load(sys.stdin)]))
    json.dump(met, sys.stdout)


if __name__ == "__main__":
    main()
