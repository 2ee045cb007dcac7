"""What is measured, one function for each question.

Each makes cells: a way, a task for its workers, and the place on the axis. The cells of a section
are run in turns, in another order each round, so that whatever else the machine does meets all.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from loadtest import crew
from loadtest.child import ChildFailed
from loadtest.crowd import names
from loadtest.figures import Point, Section, Verdict, verdict
from loadtest.servers import Servers
from loadtest.ways import Books, Options, Places
from loadtest.ways.menu import WAYS
from loadtest.worker import Task

REST_ROUNDS = 3
"""Most rounds of a section that is not the chief one."""
UNITS = 1_000_000
"""Of each sku, where it must not run out."""
ROWS = 150_000
"""The same, where each unit is a row: more than can be sold in a run."""
RACE_UNITS = 300
RACE_REQUESTS = 500
"""Of each of two processes, each sent twice."""
RACE_SHOPPERS = 64
SELLERS = 128
"""Shoppers at once where they go on to the sale, which is several round trips each."""
BATCHES = (1, 16, 64, 128)
RIVALS = ("ours", "script_each", "row_call")
"""Those that are compared over skus, bundles, processes and latency: the best of each kind."""


@dataclass(slots=True)
class Cell:
    """One way at one place, to be run in every round."""

    way: str
    task: Task
    x: str = ""
    title: str = ""
    processes: int = 1
    units: int = UNITS
    point: Point = field(init=False)

    def __post_init__(self) -> None:
        title = self.title or WAYS[self.way].title
        self.point = Point(way=self.way, title=title, x=self.x)


@dataclass(slots=True)
class Bench:
    """The servers, and how long and how often."""

    servers: Servers
    places: Places
    rounds: int
    seconds: float
    say: Callable[[str], None]
    rng: random.Random
    quick: bool = False

    def known(self, *ways: str) -> list[str]:
        """Those of the ways whose server is there."""
        return [way for way in ways if self.places.postgres or not WAYS[way].needs_postgres]

    def task(self, way: str, **changes: object) -> Task:
        """A closed loop of this way, for the usual time."""
        task = Task(way=way, places=self.places, seconds=self.seconds)
        return msgspec.structs.replace(task, **changes)

    def run(self, name: str, cells: list[Cell]) -> Section:
        """Run all cells in turns."""
        for number in range(self.rounds if name == "hot" else min(self.rounds, REST_ROUNDS)):
            for cell in self.rng.sample(cells, len(cells)):
                task = msgspec.structs.replace(cell.task, seed=number)
                one, judged = self._run_one(cell, task)
                cell.point.runs.append(one)
                cell.point.verdicts.append(judged)
                self.say(_line(name, number, cell, one, judged))
        return Section(name, [cell.point for cell in cells])

    def _run_one(self, cell: Cell, task: Task) -> tuple[crew.Run, Verdict]:
        pids = self.servers.pids(task.places, postgres=WAYS[task.way].needs_postgres)
        try:
            asyncio.run(_stock(task, cell.units))
            one = crew.run(self.servers.group, task, cell.processes, pids)
        except ChildFailed as failed:
            self.say(f"{cell.point.title} {cell.x}: {failed}; once more")
            asyncio.run(_stock(task, cell.units))
            one = crew.run(self.servers.group, task, cell.processes, pids)
        books = asyncio.run(_books(task))
        return one, verdict(one, books, cell.units * task.skus, task.lines)


async def _stock(task: Task, units: int) -> None:
    async with WAYS[task.way].open(task.places, task.options) as way:
        await way.stock(names(task.skus), units)


async def _books(task: Task) -> Books:
    async with WAYS[task.way].open(task.places, task.options) as way:
        return await way.books()


def _line(name: str, number: int, cell: Cell, one: crew.Run, judged: Verdict) -> str:
    what = f"{one.per_s:9,.0f}/s  {one.cpu_us:7.1f} µs CPU"
    if cell.task.do == "race":
        what = f"{judged.units} there, {judged.handed_out} handed out, {judged.oversold} oversold"
    if not judged.sound and not WAYS[cell.way].oversells:
        what += f"  DOES NOT ADD UP: {judged}"
    label = f"{cell.point.title} {cell.x}".strip()
    return f"{name:<11} {number + 1}  {label:<58} {what}"


def hot(bench: Bench) -> Section:
    """One hot sku, one process: every way."""
    ways = bench.known(*(way for way in WAYS if way not in ("sale", "redlock_paused")))
    cells = [Cell(way, bench.task(way), units=_units(way)) for way in ways]
    return bench.run("hot", cells)


def _units(way: str) -> int:
    return ROWS if way == "skip_locked" else UNITS


def race(bench: Bench) -> Section:
    """Two processes want more than there is, and send everything twice."""
    count = RACE_REQUESTS // 4 if bench.quick else RACE_REQUESTS
    cells = [
        Cell(
            way,
            bench.task(way, do="race", count=count, shoppers=RACE_SHOPPERS),
            processes=2,
            units=RACE_UNITS * count // RACE_REQUESTS,
        )
        for way in bench.known(*(way for way in WAYS if way != "sale"))
    ]
    return bench.run("race", cells)


def skus(bench: Bench) -> Section:
    """The same over more skus."""
    cells = [
        Cell(way, bench.task(way, skus=count), str(count))
        for count in (1, 10, 100, 1_000)
        for way in bench.known(*RIVALS)
    ]
    return bench.run("skus", cells)


def bundles(bench: Bench) -> Section:
    """Three lines in one request, all or none, of ten skus."""
    cells = [
        Cell(way, bench.task(way, skus=10, lines=lines), str(lines))
        for lines in (1, 3)
        for way in bench.known(*RIVALS)
    ]
    return bench.run("bundles", cells)


def processes(bench: Bench) -> Section:
    """One hot sku, several gateway processes."""
    cells = [
        Cell(way, bench.task(way, shoppers=512 // count), str(count), processes=count)
        for count in (1, 4, 8)
        for way in bench.known(*RIVALS)
    ]
    return bench.run("processes", cells)


def latency(bench: Bench) -> Section:
    """How long an answer takes at half and at nine tenths of the highest rate."""
    ways = bench.known(*RIVALS[: 2 if bench.quick else None])
    full = [Cell(way, bench.task(way, do="pace"), "highest") for way in ways]
    highest = bench.run("latency", full)
    cells = [
        Cell(
            way,
            bench.task(way, do="pace", rate=share * point.per_s.median, seconds=bench.seconds * 2),
            f"{share:.0%}",
        )
        for share in (0.5, 0.9)
        for way in ways
        if (point := highest.point(way))
    ]
    paced = bench.run("latency", cells)
    return Section("latency", highest.points + paced.points)


def durability(bench: Bench) -> Section:
    """What it costs to keep what was decided: the append-only file, ``WAIT`` for a replica, and a
    durable table of claims.

    Only a sale waits for a replica or claims: a reservation that is lost costs nobody money.
    """
    servers = bench.servers
    plain = (servers.valkey().url,)
    with servers.replicated() as (primary, _):
        followed = Places((primary.url,))
        kept: list[tuple[str, Places, Options]] = [
            ("nothing kept", Places(plain), {}),
            ("AOF everysec", Places((servers.valkey("everysec", "everysec").url,)), {}),
            ("AOF always", Places((servers.valkey("always", "always").url,)), {}),
            ("a replica, not waited for", followed, {}),
        ]
        sold = [*kept, ("a replica, WAIT 1", followed, {"wait_replicas": 1})]
        sold.append(("strict, claims in SQLite", Places(plain, claims=servers.sqlite()), {}))
        if bench.places.postgres:
            claims = Places(plain, claims=bench.places.postgres)
            sold.append(("strict, claims in Postgres", claims, {}))
        cells = [
            Cell(way, bench.task(way, places=places, options=options, shoppers=SELLERS), x)
            for way, places_of in (("ours", kept), ("sale", sold))
            for x, places, options in places_of
        ]
        return bench.run("durability", cells)


def slot(bench: Bench) -> Section:
    """How far one slot carries: one Valkey at its limit, by reservations in a call."""
    cells = [
        Cell(
            "script_each", bench.task("script_each", do="blast", batch=batch), str(batch), "Valkey"
        )
        for batch in ((1, 64) if bench.quick else BATCHES)
    ]
    return bench.run("slot", cells)


SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "hot": hot,
    "race": race,
    "skus": skus,
    "bundles": bundles,
    "processes": processes,
    "latency": latency,
    "durability": durability,
    "slot": slot,
}


QUICK = ("hot", "race", "latency", "slot")
"""What a short look takes in."""


@contextlib.contextmanager
def timed(say: Callable[[str], None], name: str) -> Iterator[None]:
    """Say how long a section took."""
    started = time.monotonic()
    yield
    say(f"{name:<11} done in {time.monotonic() - started:.0f} s\n")
