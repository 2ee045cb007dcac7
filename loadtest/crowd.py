"""Drives a way with shoppers, inside this process.

* ``flood``: a closed loop. So many shoppers each ask again as soon as they have their answer; it
  finds the highest rate.
* ``pace``: an open loop. Requests arrive at random at a given rate, whatever becomes of those
  before, and latency counts from the moment a request was meant to arrive. A server that stalls
  cannot slow down who measures it.
* ``race``: a given number of requests for fewer units, each sent twice.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from loadtest.ways import Undecided, Way, Wish

WARM_UP_S = 0.4
LAST_ANSWERS_S = 20.0
"""How long the end waits for requests still under way."""
MOST_UNDER_WAY = 20_000
"""Of an open loop; who comes above it is turned away and counted."""

STRIDE = 7_919
"""A prime, so that neighbours in time want different skus."""

TIMER_S = 0.002
"""How much later than asked a timer may wake one."""
MOST_AT_FULL_RATE = 256
"""Under way at once where the highest rate is looked for."""

Notice = Callable[[str], None]
"""Told ``measuring`` and ``measured``."""


class Tally(Struct):
    """What became of the requests; ``decided``, ``cpu_s`` and ``wall_s`` are of the measured window
    alone.
    """

    decided: int = 0
    """Reserved or sold out."""
    cpu_s: float = 0
    """User and system, of this process."""
    wall_s: float = 0
    held: int = 0
    """Distinct holds that shoppers were told of."""
    given_up: int = 0
    """Requests without an answer."""
    latencies_ms: list[float] = []
    """In order; of an open loop only, within the window."""


def names(skus: int) -> list[str]:
    """What is on sale."""
    return [f"sku{n:04d}" for n in range(skus)]


def wishes(crowd: int, skus: int, lines: int) -> Iterator[Wish]:
    """Requests of shoppers who come once each, for so many of the skus, spread evenly."""
    sold = names(skus)
    # Made beforehand, and the wish a struct: what making a request costs is in every figure.
    sets = [
        tuple(sold[(number * STRIDE + line) % skus] for line in range(lines))
        for number in range(skus)
    ]
    for number, chosen in enumerate(itertools.cycle(sets)):
        yield Wish(f"s{crowd}x{number}", "k1", chosen)


async def flood(
    way: Way, asked: Iterator[Wish], shoppers: int, seconds: float, notice: Notice
) -> Tally:
    """Ask as fast as answers come, for so many seconds."""
    tally, stop = Tally(), False
    decided = 0

    async def shopper() -> None:
        nonlocal decided
        while not stop:
            try:
                hold = await way.reserve(next(asked))
            except Undecided:
                tally.given_up += 1
            else:
                tally.held += hold is not None
                decided += 1

    async with asyncio.timeout(WARM_UP_S + seconds + LAST_ANSWERS_S), asyncio.TaskGroup() as group:
        for _ in range(shoppers):
            group.create_task(shopper())
        await asyncio.sleep(WARM_UP_S)
        notice("measuring")
        before, cpu, wall = decided, time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        tally.decided = decided - before
        tally.cpu_s = time.process_time() - cpu
        tally.wall_s = time.perf_counter() - wall
        notice("measured")
        stop = True
    return tally


async def pace(
    way: Way, asked: Iterator[Wish], rate: float, seconds: float, seed: int, notice: Notice
) -> Tally:
    """Ask at a rate, for so many seconds; at rate 0 as fast as answers come.

    Shortly before an arrival the pacer does not sleep but yields to the loop and looks again, for
    a timer's millisecond would be in every figure. Hence its CPU says nothing.
    """
    tally, rng = Tally(), random.Random(seed)  # noqa: S311 (nothing secret)
    tasks: set[asyncio.Task[None]] = set()
    room = asyncio.Semaphore(MOST_AT_FULL_RATE)
    start = time.perf_counter()
    counts_from, end = start + WARM_UP_S, start + WARM_UP_S + seconds

    async def shopper(wish: Wish, meant: float) -> None:
        try:
            hold = await way.reserve(wish)
        except Undecided:
            tally.given_up += 1
            return
        tally.held += hold is not None
        if meant >= counts_from:
            tally.decided += 1
            tally.latencies_ms.append((time.perf_counter() - meant) * 1000)

    def ask(meant: float) -> None:
        task = asyncio.create_task(shopper(next(asked), meant))
        tasks.add(task)
        task.add_done_callback(leave)

    def leave(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        room.release()

    notice("measuring")
    for meant in arrivals(start, rate, rng):
        if meant >= end:
            break
        if not rate:
            await room.acquire()
        while (early := meant - time.perf_counter()) > 0:  # noqa: ASYNC110 (see above)
            await asyncio.sleep(max(0, early - TIMER_S))
        if len(tasks) < MOST_UNDER_WAY:
            ask(meant)
        else:
            tally.given_up += 1
    notice("measured")
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=LAST_ANSWERS_S)
        tally.given_up += len(late)
        for task in late:
            task.cancel()
    tally.wall_s = seconds
    tally.latencies_ms.sort()
    return tally


def arrivals(start: float, rate: float, rng: random.Random) -> Iterator[float]:
    """When requests are meant to come: at random at a rate, or at once."""
    at = start
    while True:
        yield at if rate else time.perf_counter()
        at += rng.expovariate(rate) if rate else 0


async def race(way: Way, asked: Iterator[Wish], count: int, shoppers: int) -> Tally:
    """Ask so many times, each request twice at the same time, as a client that lost a reply."""
    tally, told = Tally(), set[str]()
    queue = itertools.islice(asked, count)

    async def ask(wish: Wish) -> None:
        try:
            hold = await way.reserve(wish)
        except Undecided:
            tally.given_up += 1
            return
        tally.decided += 1
        if hold is not None:
            told.add(hold)

    async def shopper() -> None:
        for wish in queue:
            await asyncio.gather(ask(wish), ask(wish))

    started, cpu = time.perf_counter(), time.process_time()
    async with asyncio.timeout(LAST_ANSWERS_S * 3), asyncio.TaskGroup() as group:
        for _ in range(shoppers):
            group.create_task(shopper())
    tally.held = len(told)
    tally.wall_s = time.perf_counter() - started
    tally.cpu_s = time.process_time() - cpu
    return tally
