"""What a server under measurement does besides: obey standard input, and time its own loop."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

TICK_S = 0.001

Tell = Callable[[], Awaitable[None]]


class Held(Struct):
    """How long an event loop was held at most."""

    ms: float = 0.0
    """So late was a timer."""
    cpu_ms: float = 0.0
    """So much CPU was spent between two wakings of the timer: on a machine that others use as
    well, what the server itself is to blame for."""


@dataclass(slots=True)
class Ticker:
    """A timer of 1 ms that notes how late it is."""

    worst: Held = field(default_factory=Held)
    _due_s: float = 0.0
    _spent_s: float = 0.0

    def start(self) -> None:
        """Wake again in a millisecond, and so on."""
        self._due_s, self._spent_s = time.perf_counter() + TICK_S, time.thread_time()
        asyncio.get_running_loop().call_later(TICK_S, self._wake)

    def _wake(self) -> None:
        worst = self.worst
        worst.ms = max(worst.ms, (time.perf_counter() - self._due_s) * 1000)
        worst.cpu_ms = max(worst.cpu_ms, (time.thread_time() - self._spent_s) * 1000)
        self.start()

    def held(self) -> Held:
        """The longest since the last time."""
        worst, self.worst = self.worst, Held()
        return worst


async def control(tell: Tell | None, ticker: Ticker | None) -> None:
    """Do what standard input says, until it ends."""
    if ticker:
        ticker.start()
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line == b"tell\n" and tell:
            await tell()
        elif line == b"held\n" and ticker:
            sys.stdout.write(msgspec.json.encode(ticker.held()).decode() + "\n")
            sys.stdout.flush()
