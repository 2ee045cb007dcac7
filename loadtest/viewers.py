"""A crowd of thin viewers in a process of its own: thousands of sockets, told what to do by lines.

    python -m loadtest.viewers

reads one command as a line of JSON from standard input, does it, answers with one line of JSON on
standard output, and reads the next; it ends with its input. The commands are ``viewer_commands``:
``{"do": "open", "urls": ["127.0.0.1:8080"], "count": 1000, …}`` and so on. ``started`` is the way
for programs. Viewers are numbered from 0; ``first`` and ``count`` name some, by default all.
"""

import argparse
import asyncio
import contextlib
import gc
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import msgspec
import uvloop

from gateway.clock import SystemClock
from gateway.keys import ShopKeys
from gateway.lane import connect
from gateway.news import decode
from gateway.settings import Settings
from gateway.tickets import Tokens
from loadtest.viewer import CUT, Counts, Ledger, Viewer
from loadtest.viewer_commands import (
    Command,
    Ends,
    Forget,
    Leave,
    Listen,
    OfSome,
    Open,
    Pause,
    Ports,
    Resume,
    Say,
    Staleness,
    Stocks,
    Tell,
    Watching,
    Zeros,
)

FILES = 65_536
"""Open files a crowd asks the system for; it gets as many as it may have."""
_LAG_PROBE_S = 0.02
_TICKET_TTL_S = 86_400
_READ_BYTES = 1_048_576
_COUNTS = [one.name for one in fields(Counts)]

Answer = dict[str, Any]


@dataclass
class Crowd:
    """The viewers of this process."""

    ledger: Ledger = field(default_factory=Ledger)
    viewers: dict[int, Viewer] = field(default_factory=dict)
    decided: dict[int, int] = field(default_factory=dict)
    """Version → when, ms."""
    lag_s: float = 0.0
    _listening: set[asyncio.Task[None]] = field(default_factory=set)

    async def obey(self, command: Command) -> Answer:
        """Do what is asked, and say what came of it."""
        match command:
            case Open():
                return await self._open(command)
            case Leave(code=code, within_s=within_s):
                return await self._leave(self._some(command), code, within_s)
            case Listen(redis_url=url, shop=shop):
                await self._listen(url, shop)
            case Tell():
                lag_ms, self.lag_s = self.lag_s * 1000, 0.0
                facts = {"cpu_s": time.process_time(), "lag_ms": lag_ms}
                # ``asdict`` would count the pairs of a Counter.
                return {name: getattr(self.ledger.counts, name) for name in _COUNTS} | facts
            case Staleness():
                return self._staleness()
            case Forget():
                open_now = self.ledger.counts.open
                for name in ("known", "told", "when"):
                    del getattr(self.ledger, name)[:]
                self.ledger.counts = Counts(open=open_now, most_open=open_now)
            case _:
                return self._of_some(command)
        return {}

    def _of_some(self, command: Command) -> Answer:
        some = self._some(command)
        match command:
            case Pause():
                for one in some.values():
                    one.transport.pause_reading()
            case Resume():
                for one in some.values():
                    one.transport.resume_reading()
            case Say(text=text):
                for one in some.values():
                    one.say(text.encode())
            case Ends():
                return {
                    "ends": [[n, one.code, one.ended_at, one.drain_at] for n, one in _ended(some)]
                }
            case Stocks():
                return {"stocks": _stocks(some)}
            case Ports():
                return {"ports": [one.port for one in some.values()]}
            case Watching():
                return {"watching": Counter(one.watching for one in some.values() if not one.code)}
            case Zeros(sku=sku):
                return {"zeros": [one.zeros.get(sku) for one in some.values() if not one.code]}
        return {}

    def _some(self, command: OfSome) -> dict[int, Viewer]:
        if command.count is None and not command.first:
            return self.viewers
        last = command.first + (command.count if command.count is not None else len(self.viewers))
        return {n: one for n, one in self.viewers.items() if command.first <= n < last}

    async def _open(self, order: Open) -> Answer:
        began = time.monotonic()
        tokens = Tokens(Settings(secret=order.secret, ticket_ttl_s=_TICKET_TTL_S), SystemClock())
        first, count = order.first, order.count or 0
        numbers = iter(range(first, first + count))
        refused = self.ledger.counts.refused.total()

        async def connect_in_turn() -> None:
            for number in numbers:
                name = order.shopper or f"viewer{number}"
                ticket, _ = tokens.sign_ticket(order.shop, order.show, name)
                await self._connect(number, order, ticket.encode())

        await asyncio.gather(*(connect_in_turn() for _ in range(min(order.in_flight, count))))
        gc.freeze()
        here = [self.viewers[n] for n in range(first, first + count) if n in self.viewers]
        let_in = sum(one.welcomed or (one.deaf and one.upgraded) for one in here)
        refused = self.ledger.counts.refused.total() - refused
        failed = count - let_in - refused
        took_s = time.monotonic() - began
        errors = self.ledger.counts.errors
        return {
            "in": let_in,
            "refused": refused,
            "failed": failed,
            "took_s": took_s,
            "errors": errors,
        }

    async def _connect(self, number: int, order: Open, ticket: bytes) -> None:
        loop = asyncio.get_running_loop()
        before = self.viewers.get(number)
        viewer = Viewer(self.ledger, ticket, order.show.encode(), loop.create_future(), order.deaf)
        viewer.sampled = bool(order.sample) and number % order.sample == 0
        if before and order.resume:
            viewer.resumes, viewer.catalog_tag = True, before.catalog_tag
            viewer.epoch, viewer.version, viewer.items = before.epoch, before.version, before.items
        self.viewers[number] = viewer
        host, _, port = order.urls[number % len(order.urls)].rpartition(":")
        link = socket.socket()
        link.setblocking(False)  # noqa: FBT003 - the system's own
        if order.receive_buffer:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, order.receive_buffer)
        try:
            async with asyncio.timeout(order.within_s):
                await loop.sock_connect(link, (host, int(port)))
                await loop.create_connection(lambda: viewer, sock=link)
                await viewer.settled
        except (OSError, TimeoutError):
            if viewer.transport:
                viewer.transport.abort()
            else:
                link.close()
                viewer.code, viewer.ended_at = CUT, time.time()

    async def _leave(self, some: dict[int, Viewer], code: int | None, within_s: float) -> Answer:
        for one in some.values():
            one.leave(code)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(not one.code for one in some.values()):  # noqa: ASYNC110 - of thousands
                    await asyncio.sleep(_LAG_PROBE_S)
        left = [one for one in some.values() if not one.code]
        for one in left:
            one.leave(None)
        return {"cut": len(left)}

    async def _listen(self, url: str, shop: str) -> None:
        client = connect(Settings(redis_url=url))
        connection: Any = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()
        await connection.send_command("SSUBSCRIBE", ShopKeys(shop).news)
        await connection.read_response()

        async def hear() -> None:
            while True:
                news = decode((await connection.read_response())[2])
                if news.version:
                    self.decided[news.version] = news.at

        self._listening.add(asyncio.create_task(hear()))

    def _staleness(self) -> Answer:
        ages: list[float] = []
        unknown = 0
        ledger, decided = self.ledger, self.decided
        for known, told, when in zip(ledger.known, ledger.told, ledger.when, strict=True):
            for version in range(known + 1, told + 1):
                at = decided.get(version)
                if at is None:
                    unknown += 1
                else:
                    ages.append(when * 1000 - at)
        ages.sort()
        cuts = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
        facts = {
            name: round(ages[min(len(ages) - 1, int(len(ages) * cut))], 1) if ages else None
            for name, cut in cuts.items()
        }
        return {"count": len(ages), "unknown": unknown, **facts}

    async def probe(self) -> None:
        """Watch how late this process' own loop is."""
        while True:
            due = time.monotonic() + _LAG_PROBE_S
            await asyncio.sleep(_LAG_PROBE_S)
            self.lag_s = max(self.lag_s, time.monotonic() - due)


def _ended(some: dict[int, Viewer]) -> list[tuple[int, Viewer]]:
    return [(number, one) for number, one in some.items() if one.code]


def _stocks(some: dict[int, Viewer]) -> list[list[Any]]:
    shown: Counter[tuple[int, int, tuple[tuple[str, int], ...]]] = Counter(
        (one.epoch, one.version, tuple(sorted(one.items.items())))
        for one in some.values()
        if not one.code
    )
    return [[epoch, version, dict(items), n] for (epoch, version, items), n in shown.most_common()]


class CrowdFailed(RuntimeError):
    """The crowd's process ended before it had answered."""


@dataclass
class CrowdProcess:
    """The handle of a crowd in a process of its own; threads may share it."""

    child: subprocess.Popen[bytes]
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, do: str, **words: object) -> Answer:
        """Have a command done and return its answer; blocks until then.

        Raises:
            CrowdFailed: it broke; the reason is on standard error.
        """
        assert self.child.stdin
        assert self.child.stdout
        with self._turn:
            self.child.stdin.write(msgspec.json.encode({"do": do, **words}) + b"\n")
            self.child.stdin.flush()
            line = self.child.stdout.readline()
        if not line:
            raise CrowdFailed(f"the crowd ended with {self.child.wait()}")
        answer: Answer = msgspec.json.decode(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()


def started(group: int) -> CrowdProcess:
    """Start a crowd in the group of a ``Warden``; leave it as a context manager."""
    child = subprocess.Popen(
        [sys.executable, "-m", "loadtest.viewers"],
        cwd=Path(__file__).parent.parent,
        process_group=group,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    return CrowdProcess(child)


def raise_limit() -> int:
    """Let this process open as many files as it may; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


async def perform() -> None:
    """Obey until the input ends."""
    loop, crowd = asyncio.get_running_loop(), Crowd()
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    probing = asyncio.create_task(crowd.probe())
    read: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
    while line := await reader.readline():
        answer = await crowd.obey(read.decode(line))
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()
    probing.cancel()


def _commands() -> Iterator[str]:
    for command in OfSome.__subclasses__():
        fields = [name for name in command.__struct_fields__ if name not in {"first", "count"}]
        yield f"{command.__name__.lower()} {fields or ''}\n    {command.__doc__}"


def main() -> None:
    """Be a crowd."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(_commands()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    raise_limit()
    gc.set_threshold(100_000)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(perform())


if __name__ == "__main__":
    main()
