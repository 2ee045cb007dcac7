"""What a verdict says: the failures with their causes, and every threshold as it was kept."""

from dataclasses import dataclass
from enum import Enum

GOOD, BAD, VOID = 0, 1, 3


class Cause(Enum):
    """What went wrong, the worst first."""

    OVERSELL = "oversell"
    BOOKS = "books that do not agree"
    SLOW_REDIS = "slow Redis"
    STALENESS = "staleness"
    ERRORS = "errors"
    REFUSALS = "refusals"
    SLOW = "slowness"


_CERTAIN = {Cause.OVERSELL, Cause.BOOKS, Cause.SLOW_REDIS}
"""What is wrong however good the load was."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that is wrong, and a sentence about it."""

    cause: Cause
    sentence: str


@dataclass(frozen=True, slots=True)
class Check:
    """A threshold, and the figure it bounds."""

    what: str
    statistic: str
    at_most: float
    found: float | None
    """``None``: there was nothing to measure."""
    kept: bool | None
    happened: bool = True
    """Whether there must have been something to measure: not every run sells out."""

    @property
    def name(self) -> str:
        """Which figure, in words."""
        word = self.statistic.removesuffix("_ms")
        if self.statistic == "errors_percent":
            return "error rate" if self.what == "errors" else f"error rate of {self.what}"
        return self.what if word == "count" else f"{self.what} {word}"

    def figure(self, value: float | None) -> str:
        """A value of this figure with its unit."""
        if value is None:
            return "nothing"
        if self.statistic.endswith("_ms"):
            return f"{value:,.0f} ms"
        return f"{value:.2f} %" if self.statistic == "errors_percent" else f"{value:,.6g}"

    def sentence(self) -> str:
        """What it is and what it may be."""
        at_most = self.figure(self.at_most)
        return f"{self.name} is {self.figure(self.found)}, at most {at_most}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one run."""

    scenario: str
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    """What was wrong with the load itself, so that the times of this run say nothing."""
    checks: tuple[Check, ...]

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Thresholds there was nothing to hold against: such a run is not good."""
        steps = [one.what for one in self.checks if one.kept is None and one.happened]
        return tuple(
            f"nothing was measured of {what}, so that its threshold says nothing"
            for what in dict.fromkeys(steps)
        )

    @property
    def code(self) -> int:
        """The exit code."""
        if any(failure.cause in _CERTAIN for failure in self.failures):
            return BAD
        if self.problems:
            return VOID
        if self.failures:
            return BAD
        return VOID if self.unmeasured else GOOD

    @property
    def word(self) -> str:
        """``good``, ``bad``, or ``void``."""
        return {GOOD: "good", BAD: "bad", VOID: "void"}[self.code]

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The causes of the failures, the worst first."""
        return tuple(dict.fromkeys(failure.cause for failure in self.failures))

    @property
    def headline(self) -> str:
        """The verdict in a line."""
        if self.code == GOOD:
            return f"{self.scenario}: good"
        if self.code == VOID:
            return f"{self.scenario}: void, the load itself was not good"
        return f"{self.scenario}: bad: {', '.join(cause.value for cause in self.causes)}"
