"""What the rounds said: medians, spreads and ratios.

Ratios are taken round by round, of runs that were neighbours in time, and the median is of the
ratios: whatever else the machine did then met both.
"""

import statistics
from collections.abc import Callable, Sequence

from msgspec import Struct

from loadtest.crew import Run
from loadtest.ways import Books


class Spread(Struct, frozen=True):
    """The median of the rounds, with the least and the most."""

    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}}"


class Verdict(Struct):
    """Whether what was handed out agrees with what was there."""

    units: int
    """On the shelf before."""
    moved: int
    """Gone from the shelf afterwards."""
    handed_out: int
    """In distinct holds."""
    told: int
    """Distinct holds that shoppers were told of."""
    given_up: int

    @property
    def oversold(self) -> int:
        """Units handed out that were not there."""
        return max(0, max(self.moved, self.handed_out) - self.units)

    @property
    def sound(self) -> bool:
        """Nothing oversold, no unit gone without a hold, no shopper told of a hold there is not."""
        adds_up = self.moved == self.handed_out
        known = self.told <= self.handed_out if self.given_up else self.told == self.handed_out
        return not self.oversold and adds_up and known


def verdict(run: Run, books: Books, units: int, lines: int) -> Verdict:
    """Compare a run with the store's own books."""
    return Verdict(units, books.moved, books.holds * lines, run.held * lines, run.given_up)


class Point(Struct):
    """One way at one place of a section, over all rounds."""

    way: str
    title: str
    x: str
    runs: list[Run] = []
    verdicts: list[Verdict] = []

    @property
    def per_s(self) -> Spread:
        """Decided a second, by all processes."""
        return spread([run.per_s for run in self.runs])

    @property
    def per_core(self) -> Spread:
        """Decided in a CPU second of the gateway processes."""
        return spread([1e6 / run.cpu_us for run in self.runs])

    @property
    def cpu_us(self) -> Spread:
        """CPU of the gateway processes for each, µs."""
        return spread([run.cpu_us for run in self.runs])

    @property
    def server_us(self) -> Spread | None:
        """CPU of the servers for each, µs."""
        known = [run.server_us for run in self.runs if run.server_us is not None]
        return spread(known) if known else None

    @property
    def sound(self) -> bool:
        """Every run added up."""
        return all(one.sound for one in self.verdicts)

    @property
    def oversold(self) -> int:
        """Units, over all runs."""
        return sum(one.oversold for one in self.verdicts)

    def latency_ms(self, quantile: float) -> float:
        """Of all rounds together."""
        every = sorted(one for run in self.runs for one in run.latencies_ms)
        return every[min(len(every) - 1, int(len(every) * quantile))] if every else 0


class Section(Struct):
    """The answer to one question."""

    name: str
    points: list[Point] = []

    def point(self, way: str, x: str = "") -> Point | None:
        """The point of a way, if it was measured."""
        found = [one for one in self.points if one.way == way and x in ("", one.x)]
        return found[0] if found else None


def spread(values: Sequence[float]) -> Spread:
    """Of the rounds."""
    return Spread(statistics.median(values), min(values), max(values))


def times(point: Point, other: Point, of: Callable[[Run], float]) -> Spread:
    """How many times as much the one is as the other, paired by round."""
    pairs = zip(point.runs, other.runs, strict=True)
    return spread([of(one) / of(two) for one, two in pairs])


def times_a_core(point: Point, other: Point) -> Spread:
    """How many times as many it decides in a CPU second of the gateway."""
    return times(point, other, lambda run: 1 / run.cpu_us)


def times_in_total(point: Point, other: Point) -> Spread:
    """How many times as many it decides in a second."""
    return times(point, other, lambda run: run.per_s)


def times_a_core_of_all(point: Point, other: Point) -> Spread | None:
    """How many times as many it decides in a CPU second of gateway and servers together."""
    if any(run.server_us is None for run in (*point.runs, *other.runs)):
        return None
    return times(point, other, lambda run: 1 / (run.cpu_us + (run.server_us or 0)))
