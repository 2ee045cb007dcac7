"""What a run must keep to: one bound on one figure. Scenarios declare them beside their stages."""

from dataclasses import dataclass
from typing import Literal

Statistic = Literal["p50_ms", "p99_ms", "max_ms", "errors_percent", "count"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """One figure must be at most so much."""

    what: str
    """A step (see ``measured.Step.name``), ``errors`` (all steps together), ``refused upgrades``,
    or one of ``Measured.figures``."""
    statistic: Statistic
    """``errors_percent``: of a step's answers, or of all; ``count``: how many, or the figure."""
    at_most: float
