"""What is measured, one function for each question.

Each makes rows: a way at a place, and for each measure one value a round. Ways take turns, in
another order each round, so that whatever else the machine does meets all.
"""

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct, field

from gateway.sandbox.valkey import EmbeddedValkey
from loadtest.crowd import names
from loadtest.fanout import stage
from loadtest.fanout.readers import Order
from loadtest.fanout.stage import Changes, Readers, Server
from loadtest.fanout.ticker import Held
from loadtest.fanout.towers import SKUS, UNITS
from loadtest.figures import Spread, spread

CHANGES = 10
"""A turn: so many times everybody is told."""
STRAYS_S = 0.1
"""How long the readers wait for a frame that nobody was meant to send."""
MOST_LONG_ROUNDS = 3
"""Of the sections in which ten thousand connect."""
ANSWER_S = 30.0
OURS = "holdfast"
TITLES = {
    OURS: "Holdfast",
    "unsliced": "Holdfast, without slices",
    "floor": "bare `os.write`",
    "broadcast": "`websockets.broadcast()`",
    "one_by_one": "`await send_text()`, one after the other",
    "queues": "a queue and a task for each socket",
    "gather": "`asyncio.gather` of `send_text()`",
    "deflate": "Starlette as it comes, with permessage-deflate",
    "plain": "Starlette, permessage-deflate off",
}


class Row(Struct):
    """One way at one place: for each measure, a value for each round."""

    way: str
    title: str
    x: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **measured: float) -> None:
        """What one round said."""
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)

    def spread(self, name: str) -> Spread:
        """Of a measure, over the rounds."""
        return spread(self.values[name])


class Section(Struct):
    """The answer to one question."""

    name: str
    rows: list[Row]
    wrong: list[str] = []
    """What did not add up."""

    def row(self, way: str, x: str = "") -> Row | None:
        """The row of a way, if it was measured."""
        found = [one for one in self.rows if one.way == way and x in ("", one.x)]
        return found[0] if found else None


def ratio(one: Row, other: Row, name: str) -> Spread:
    """How many times as much the one is as the other, paired by round."""
    pairs = zip(one.values[name], other.values[name], strict=True)
    return spread([mine / theirs for mine, theirs in pairs])


@dataclass(slots=True)
class Bench:
    """The servers, and how large and how often."""

    group: int
    """Of the ``Warden``."""
    valkey: EmbeddedValkey
    rounds: int
    viewers: int
    """Told at once."""
    crowd: tuple[int, ...]
    """Idle viewers of which the memory is measured, rising; the last is the crowd of a sale."""
    attempts: int
    """To connect, in a turn."""
    sale_s: float
    rate: int
    """Reservations a second of the sale."""
    say: Callable[[str], None]
    rng: random.Random
    folder: Path
    """For what is too large for a pipe."""
    settle_s: float = 2.5
    """After it, newcomers have been told how many watch, and nothing more happens by itself."""
    ways: tuple[str, ...] = ()
    """If not all."""

    def of(self, *ways: str) -> list[str]:
        """Those of the ways that are to be measured."""
        return [way for way in ways if not self.ways or way in self.ways]


def fill(redis_url: str) -> None:
    """Open the shop anew."""
    asyncio.run(stage.fill(redis_url, dict.fromkeys(names(SKUS), UNITS)))


@dataclass(slots=True)
class Audience:
    """A server, and everybody it tells."""

    row: Row
    server: Server
    readers: Readers
    viewers: int
    tell: Callable[[], None]
    told: int = 0

    def begin(self) -> None:
        """Count from here: who comes while stock moves is told of it, once or again."""
        self.told = self.readers.order(Order(do="read")).frames

    def hear(self) -> None:
        """Have everybody told once.

        Raises:
            RuntimeError: fewer frames were read than were to be written.
        """
        self.told += self.viewers
        self.tell()
        self.agree(Order(do="read", count=self.told, seconds=ANSWER_S))

    def no_strays(self) -> None:
        """See that nobody was told more than once.

        Raises:
            RuntimeError: more frames were read than were to be written.
        """
        self.agree(Order(do="read", count=self.told + 1, seconds=STRAYS_S))

    def agree(self, order: Order) -> None:
        """Read, and compare."""
        count = self.readers.order(order)
        if count.frames != self.told or count.closed:
            raise RuntimeError(f"{self.row.title}: {self.told} frames were due, and read: {count}")


@contextlib.contextmanager
def audiences(bench: Bench, ways: list[str], *, ticks: bool = False) -> Iterator[list[Audience]]:
    """Start servers of so many ways, and let their viewers in."""
    with contextlib.ExitStack() as stack:
        every = []
        for way in ways:
            make = _ours if way in (OURS, "unsliced") else _other
            audience = make(bench, stack, way, ticks=ticks)
            audience.readers.connect(bench.viewers)
            every.append(audience)
        time.sleep(bench.settle_s)
        for audience in every:
            audience.begin()
        yield every


def _ours(bench: Bench, stack: contextlib.ExitStack, way: str, *, ticks: bool) -> Audience:
    """A gateway, which is told by the news of a Valkey of its own."""
    valkey = stack.enter_context(EmbeddedValkey(bench.group, port=0))
    fill(valkey.url)
    program = ["gateway", "serve"]
    if ticks:
        program = ["loadtest.fanout.timed", *(["--unsliced"] * (way == "unsliced"))]
    server = stack.enter_context(
        stage.gateway(
            bench.group,
            valkey.url,
            program,
            stock_tick_ms=1,
            ping_s=3_600,
            sockets=bench.viewers,
        )
    )
    crowd = stack.enter_context(stage.readers(bench.group, server.port, joins=True))
    changes = Changes(valkey.url)
    stack.callback(changes.close)
    return Audience(Row(way, TITLES[way]), server, crowd, bench.viewers, changes.make)


def _other(bench: Bench, stack: contextlib.ExitStack, way: str, *, ticks: bool) -> Audience:
    """Another way, which is told by a line."""
    server = stack.enter_context(stage.tower(bench.group, way, ticks=ticks))
    crowd = stack.enter_context(stage.readers(bench.group, server.port, joins=False))
    tell = partial(server.child.tell, "tell")
    return Audience(Row(way, TITLES[way]), server, crowd, bench.viewers, tell)


def writes(bench: Bench) -> Section:
    """One message to everybody: the CPU of the server for each write."""
    ways = (OURS, "floor", "broadcast", "one_by_one", "queues", "gather")
    with audiences(bench, bench.of(*ways)) as every:
        for audience in every:
            audience.hear()
        for number in range(bench.rounds):
            for audience in bench.rng.sample(every, len(every)):
                before = audience.server.cpu_s()
                for _ in range(CHANGES):
                    audience.hear()
                spent = audience.server.cpu_s() - before
                audience.no_strays()
                us = spent / (CHANGES * bench.viewers) * 1e6
                audience.row.add(us=us)
                bench.say(f"writes      {number + 1}  {audience.row.title:<42} {us:6.1f} µs CPU")
        return Section("writes", [audience.row for audience in every])


def held(bench: Bench) -> Section:
    """One message to everybody: the longest time the server's loop was held meanwhile."""
    ways = ("holdfast", "unsliced", "broadcast", "one_by_one", "gather")
    with audiences(bench, bench.of(*ways), ticks=True) as every:
        for number in range(bench.rounds):
            for audience in bench.rng.sample(every, len(every)):
                for _ in range(CHANGES):
                    _held(audience.server)
                    audience.hear()
                    one = _held(audience.server)
                    audience.row.add(ms=one.ms, cpu_ms=one.cpu_ms)
                median = statistics.median(audience.row.values["cpu_ms"][-CHANGES:])
                bench.say(
                    f"held        {number + 1}  {audience.row.title:<42} {median:6.1f} ms CPU"
                )
        return Section("held", [audience.row for audience in every])


def _held(server: Server) -> Held:
    server.child.tell("held")
    return msgspec.json.decode(server.child.hear(), type=Held)


def memory(bench: Bench) -> Section:
    """What an idle viewer weighs in the server."""
    rows: dict[tuple[str, int], Row] = {}
    ways = bench.of(OURS, "plain", "deflate", "broadcast")
    for number in range(min(bench.rounds, MOST_LONG_ROUNDS)):
        for way in bench.rng.sample(ways, len(ways)):
            for viewers, kib in _weigh(bench, way):
                row = rows.setdefault((way, viewers), Row(way, TITLES[way], f"{viewers:,}"))
                row.add(kib=kib)
                bench.say(f"memory      {number + 1}  {row.title:<47} {row.x:>7} {kib:5.1f} KiB")
    return Section("memory", [rows[way, viewers] for way in ways for viewers in bench.crowd])


def _weigh(bench: Bench, way: str) -> Iterator[tuple[int, float]]:
    """Viewers, and what each weighs; what the first one costs for all is not counted."""
    ours = way == OURS
    if ours:
        fill(bench.valkey.url)
        opened = stage.gateway(bench.group, bench.valkey.url, sockets=bench.crowd[-1] + 1)
    else:
        opened = stage.tower(bench.group, "one_by_one" if way == "plain" else way)
    with (
        opened as server,
        stage.readers(bench.group, server.port, joins=ours, deflate=way == "deflate") as crowd,
    ):
        crowd.connect(1)
        empty, there = server.kib(), 1
        for viewers in bench.crowd:
            crowd.connect(viewers + 1 - there)
            there = viewers + 1
            yield viewers, (server.kib() - empty) / viewers


DOORS = {
    "welcome": "let in, and welcomed to the show",
    "upgrade": "upgraded, nothing said",
    "plain": "the same by Starlette under uvicorn",
    "broadcast": "the same by websockets",
    "application": "refused by the application (another subprotocol)",
    "cap": "refused by the cap",
}


def door(bench: Bench) -> Section:
    """What it costs to let somebody in, and to refuse."""
    fill(bench.valkey.url)
    others = ("plain", "broadcast")
    rows = {
        name: Row(name, title)
        for name, title in DOORS.items()
        if name not in others or name in bench.of(*others)
    }
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        opened = {
            "open": stage.gateway(bench.group, bench.valkey.url),
            "full": stage.gateway(bench.group, bench.valkey.url, sockets=1),
        }
        if "plain" in rows:
            opened["plain"] = stage.tower(bench.group, "one_by_one")
        if "broadcast" in rows:
            opened["broadcast"] = stage.tower(bench.group, "broadcast")
        servers = {name: stack.enter_context(one) for name, one in opened.items()}
        crowds = {
            name: stack.enter_context(
                stage.readers(bench.group, server.port, joins=name in ("open", "full"))
            )
            for name, server in servers.items()
        }
        crowds["full"].connect(1)
        for number in range(bench.rounds + 1):
            for name in bench.rng.sample(list(rows), len(rows)):
                where = {"cap": "full", "plain": "plain", "broadcast": "broadcast"}.get(
                    name, "open"
                )
                us, odd = _knock(bench, name, servers[where], crowds[where])
                wrong += odd
                if number:  # The first warms up.
                    rows[name].add(us=us)
                    bench.say(f"door        {number}  {DOORS[name]:<50} {us:7.1f} µs CPU")
    return Section("door", list(rows.values()), wrong)


def _knock(bench: Bench, name: str, server: Server, crowd: Readers) -> tuple[float, list[str]]:
    """CPU of the server for one attempt, µs, and what was answered otherwise than it should be.

    Who is refused is gone when it is measured; who is let in is still there.
    """
    expected = {"cap": "503", "application": "422"}.get(name, "101")
    order = Order(do="connect", count=bench.attempts, joins=name == "welcome")
    if name == "application":
        order.subprotocol = "another.v1"
    before = server.cpu_s()
    count = crowd.order(order)
    us = (server.cpu_s() - before) / bench.attempts * 1e6
    if expected == "101":
        crowd.order(Order(do="hang_up"))
        time.sleep(bench.settle_s / 5)  # It notices that they are gone.
    if count.answers != {expected: bench.attempts}:
        return us, [f"{DOORS[name]}: {bench.attempts} × {expected} expected, came {count.answers}"]
    return us, []
