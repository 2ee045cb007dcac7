"""What shoppers report, counted: in each process what is new, on the master all of it. Pure.

A process keeps what happened since its last report (``Recorder``) and hands it over in one piece,
``take``. The master, or the only process, puts the pieces together (``Whole``). Of a second only
counts and a percentile are kept once it is long past, so that a long run needs little memory.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest.drop.histogram import Histogram, bucket_of
from loadtest.drop.measured import Measured, Second, Step

LATE_MS = 500.0
"""A load host whose p99 is later than this cannot be believed: it measures itself."""
STALL_MS = 5_000.0
"""Nor can one that stood still for so long once, which no percentile shows."""
_OPEN_SECONDS = 30
"""How long ago something may have happened that is reported only now."""
_FEWEST = 20
"""Of less than so many moments nobody says how late a host is."""

Report = dict[str, Any]
"""What a process hands over, of types that msgpack knows."""
Listener = Callable[[str, str, float, bool], None]
"""Told of each answer: step, code, ms, whether it is an error."""


@dataclass(slots=True)
class Times:
    """The answers of one step: how long they took, and how many should not have been."""

    histogram: Histogram = field(default_factory=Histogram)
    errors: int = 0


@dataclass(slots=True)
class Recorder:
    """What happened in one process since its last report."""

    listener: Listener | None = None
    clock: Callable[[], float] = time.time
    began_at: float = 0.0
    """When the run began, s since the epoch; seconds count from here."""
    shoppers: int = 0
    """Now here."""
    busy: int = 0
    """Of them, how many are in the middle of something."""
    offset_ms: float = 0.0
    """How far the server's clock is ahead, as the quickest answer showed it."""
    offset_error_ms: float = float("inf")
    _steps: dict[str, Times] = field(default_factory=dict)
    _said: Counter[tuple[str, str]] = field(default_factory=Counter)
    _closes: Counter[int] = field(default_factory=Counter)
    _seconds: dict[tuple[int, str], Histogram] = field(default_factory=dict)
    _late: Histogram = field(default_factory=Histogram)
    _problems: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """The run begins: forget what was before."""
        self.began_at = self.clock()
        self.take()

    def answered(self, step: str, code: str, took_ms: float, *, wrong: bool = False) -> None:
        """A step has its answer; ``wrong`` if there should have been another, or none came."""
        self._said[step, code] += 1
        times = self._time(step, took_ms)
        times.errors += wrong
        if self.listener:
            self.listener(step, code, took_ms, wrong)

    def pushed(self, what: str, age_ms: float) -> None:
        """News was read so long after it was decided."""
        self._time(what, max(0.0, age_ms))

    def closed(self, code: int) -> None:
        """The other side closed a socket."""
        self._closes[code] += 1

    def was_late(self, by_ms: float) -> None:
        """This process did something so much later than it was to be done."""
        self._late.add(max(0.0, by_ms))

    def problem(self, sentence: str) -> None:
        """Something is wrong with the load itself; the same is said once."""
        if sentence not in self._problems:
            self._problems.append(sentence)

    def saw_clock(self, server_ms: float, asked_ms: float, heard_ms: float) -> None:
        """The server told its time, between these two moments of ours."""
        error_ms = (heard_ms - asked_ms) / 2
        if error_ms < self.offset_error_ms:
            offset_ms = server_ms - (asked_ms + heard_ms) / 2
            # What could be none is none: on one host there is no difference but noise.
            self.offset_ms = offset_ms if abs(offset_ms) > error_ms + 1 else 0.0
            self.offset_error_ms = error_ms

    def take(self) -> Report:
        """All since the last time, which is then forgotten."""
        steps, said, closes = self._steps, self._said, self._closes
        seconds, late, problems = self._seconds, self._late, self._problems
        self._steps, self._said, self._closes = {}, Counter(), Counter()
        self._seconds, self._late, self._problems = {}, Histogram(), []
        return {
            "steps": {
                name: [times.histogram.to_wire(), times.errors] for name, times in steps.items()
            },
            "said": [[step, code, count] for (step, code), count in said.items()],
            "closes": list(closes.items()),
            "seconds": [[at_s, step, one.to_wire()] for (at_s, step), one in seconds.items()],
            "late": late.to_wire(),
            "problems": problems,
            "shoppers": self.shoppers,
            "busy": self.busy,
            "clock": [self.offset_ms, min(self.offset_error_ms, 1e9)],
        }

    def _time(self, step: str, took_ms: float) -> Times:
        times = self._steps.get(step)
        if times is None:
            times = self._steps[step] = Times()
        bucket = bucket_of(took_ms)
        times.histogram.put(bucket, took_ms)
        key = (int(self.clock() - self.began_at), step)
        second = self._seconds.get(key)
        if second is None:
            second = self._seconds[key] = Histogram()
        second.put(bucket, took_ms)
        return times


@dataclass(slots=True)
class Whole:
    """What all processes reported."""

    steps: dict[str, Times] = field(default_factory=dict)
    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    late: Histogram = field(default_factory=Histogram)
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    most: int = 0
    _seconds: dict[int, Second] = field(default_factory=dict)
    _open: dict[int, dict[str, Histogram]] = field(default_factory=dict)
    _now: dict[str, tuple[int, int, float, float]] = field(default_factory=dict)
    """By process: shoppers, how many are busy, and its clock."""

    @property
    def shoppers(self) -> int:
        """How many are here."""
        return sum(one[0] for one in self._now.values())

    @property
    def busy(self) -> int:
        """How many of them are in the middle of something."""
        return sum(one[1] for one in self._now.values())

    @property
    def errors(self) -> int:
        """Answers that should not have been."""
        return sum(times.errors for times in self.steps.values())

    def merge(self, process: str, report: Report) -> None:
        """Take in what a process reported."""
        for name, (wire, errors) in report["steps"].items():
            times = self.steps.setdefault(name, Times())
            times.histogram.merge(Histogram.from_wire(wire))
            times.errors += errors
        for step, code, count in report["said"]:
            self.said[step, code] += count
        for code, count in report["closes"]:
            self.closes[code] += count
        self.late.merge(Histogram.from_wire(report["late"]))
        self.problems += [one for one in report["problems"] if one not in self.problems]
        self._now[process] = (report["shoppers"], report["busy"], *report["clock"])
        self.most = max(self.most, self.shoppers)
        newest = -1
        for at_s, step, wire in report["seconds"]:
            steps = self._open.setdefault(at_s, {})
            steps.setdefault(step, Histogram()).merge(Histogram.from_wire(wire))
            newest = max(newest, at_s)
        self._seconds_of(newest)
        self._fold(newest - _OPEN_SECONDS)

    def measured(self, scenario: str, began_at: float, took_s: float) -> Measured:
        """All of it, as the verdict and the report want it."""
        self._fold(max(self._open, default=0))
        return Measured(
            scenario=scenario,
            began_at=began_at,
            took_s=took_s,
            shoppers=self.most,
            steps={name: _step(name, times) for name, times in sorted(self.steps.items())},
            said=dict(self.said),
            closes=dict(self.closes),
            seconds=[self._seconds[at_s] for at_s in sorted(self._seconds)],
            problems=[*self.problems, *self._too_late()],
            notes=[*self.notes, *self._about_clocks()],
            figures=dict(self.figures),
        )

    def _seconds_of(self, newest: int) -> None:
        """Note how many shoppers there are in the second that is now."""
        if newest >= 0 and newest not in self._seconds:
            self._seconds[newest] = Second(newest, self.shoppers)

    def _fold(self, until_s: int) -> None:
        """Of seconds up to this one keep only what is shown."""
        for at_s in sorted(at_s for at_s in self._open if at_s <= until_s):
            steps = self._open.pop(at_s)
            known = self._seconds.get(at_s)
            shoppers = known.shoppers if known else self._before(at_s)
            # What comes even later is counted in the whole, and missing only in the plot.
            self._seconds[at_s] = Second(
                at_s,
                shoppers,
                {name: one.count for name, one in steps.items()},
                {name: round(one.percentile(0.99), 1) for name, one in steps.items()},
            )

    def _before(self, at_s: int) -> int:
        earlier = [known for known in self._seconds if known < at_s]
        return self._seconds[max(earlier)].shoppers if earlier else 0

    def _too_late(self) -> list[str]:
        p99_ms, max_ms = self.late.percentile(0.99), self.late.max_ms
        if self.late.count < _FEWEST or (p99_ms <= LATE_MS and max_ms <= STALL_MS):
            return []
        late = (
            f"The load host was late itself: {p99_ms:.0f} ms at p99 and once {max_ms:.0f} ms, of "
            f"which {LATE_MS:.0f} and {STALL_MS:.0f} are believed. Use more processes or hosts, or "
            "fewer shoppers."
        )
        return [late]

    def _about_clocks(self) -> list[str]:
        p50_ms, p99_ms = self.late.percentile(0.5), self.late.percentile(0.99)
        late = (
            f"The load host did what was due {p50_ms:.0f} ms late in the median and "
            f"{p99_ms:.0f} ms late at p99; that is in every figure here."
        )
        notes = [late] if self.late.count else []
        known = [one for one in self._now.values() if one[3] < 1e9]
        if offsets := [one[2] for one in known if one[2]]:
            worst, error = max(offsets, key=abs), max(one[3] for one in known)
            notes.append(
                f"The server's clock is up to {worst:+.0f} ms from the load hosts' (±{error:.0f} "
                "ms); the age of pushes is corrected for it."
            )
        return notes


def _step(name: str, times: Times) -> Step:
    histogram = times.histogram
    p50, p90, p99 = (round(histogram.percentile(share), 2) for share in (0.5, 0.9, 0.99))
    return Step(name, histogram.count, times.errors, p50, p90, p99, round(histogram.max_ms, 2))


def by_code(said: Mapping[tuple[str, str], int], step: str) -> dict[str, int]:
    """The answers of one step, by code."""
    return {code: count for (one, code), count in said.items() if one == step}
