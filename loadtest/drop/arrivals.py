"""When shoppers arrive, whether or not the shop keeps up: from a rate, or from a recorded show.

A recorded show is JSON lines, ``{"at_ms": 12, "lines": [{"sku": "a", "quantity": 1}],
"shopper": "s1"}``: when somebody asked for what, since the first. Pure.
"""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.drop.whims import Lines

_SPREAD_S = 0.25
"""Copies of one arrival come this far apart at most: people do not move in step."""

Rate = tuple[float, float]
"""At this second, so many a second; between two of them the rate changes evenly."""


class BadArrivals(Exception):
    """The file is not what is described above; the message says where."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody comes."""

    at_s: float
    """Since the run began."""
    lines: Lines | None = None
    """What they ask for; anything there is, if nothing is said."""
    shopper: str | None = None


def from_rates(rates: Sequence[Rate], after_s: float = 0.0) -> list[Arrival]:
    """So many arrivals a second, evenly; a number of them in all that depends on nothing else."""
    arrivals: list[Arrival] = []
    due = 0.0
    for (from_s, low), (to_s, high) in itertools.pairwise(rates):
        steps = max(1, round((to_s - from_s) * 1_000))
        for step in range(steps):
            share = step / steps
            due += (low + (high - low) * share) * (to_s - from_s) / steps
            if due >= 1:
                due -= 1
                arrivals.append(Arrival(after_s + from_s + share * (to_s - from_s)))
    return arrivals


def recorded(
    text: Iterable[str], times: int = 1, speed: float = 1.0, after_s: float = 0.0, seed: int = 1
) -> list[Arrival]:
    """The arrivals of a recorded show, each ``times`` over, ``speed`` times as fast.

    Raises:
        BadArrivals: a line is not one.
    """
    rng = random.Random(seed)  # noqa: S311  no secret comes of it
    arrivals = []
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        arrival = _read(number, line)
        for copy in range(times):
            late_s = rng.uniform(0, _SPREAD_S) if copy else 0.0
            name = f"{arrival.shopper}-{copy}" if copy and arrival.shopper else arrival.shopper
            at_s = after_s + arrival.at_s / speed + late_s
            arrivals.append(Arrival(at_s, arrival.lines, name))
    if not arrivals:
        raise BadArrivals("There are no arrivals in it.")
    return sorted(arrivals, key=lambda one: one.at_s)


def asked_for(arrivals: Iterable[Arrival]) -> dict[str, int]:
    """Units by sku that all of these ask for."""
    units: Counter[str] = Counter()
    for arrival in arrivals:
        for sku, quantity in arrival.lines or ():
            units[sku] += quantity
    return dict(units)


def share(arrivals: Sequence[Arrival], index: int, of: int) -> list[Arrival]:
    """What one of so many processes plays."""
    return list(arrivals[index::of])


def _read(number: int, line: str) -> Arrival:
    try:
        said = json.loads(line)
        lines = tuple((str(one["sku"]), int(one["quantity"])) for one in said["lines"])
        at_s = float(said["at_ms"]) / 1000
        shopper = str(said["shopper"]) if said.get("shopper") else None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadArrivals(f"Line {number} is not an arrival.") from None
    if at_s < 0 or not lines or any(quantity < 1 for _, quantity in lines):
        raise BadArrivals(f"Line {number} is not an arrival.")
    return Arrival(at_s, lines, shopper)
