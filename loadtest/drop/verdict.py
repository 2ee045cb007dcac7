"""The verdict of a run: thresholds, books and the load's own troubles, and which cause it was. Pure
but for ``conclude``, which reads the books, judges, and writes the report.

A run ends with 0 when it is good; with 1 when it is bad, each failure with a sentence; with 3 when
the load itself was not good, so that its times say nothing. What the books say holds however the
load was: an oversell of a bad load is still an oversell.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Protocol

from loadtest.drop import vitals
from loadtest.drop.books import Books, Sales, read_books
from loadtest.drop.measured import Measured
from loadtest.drop.progress import to_terminal
from loadtest.drop.report import publish
from loadtest.drop.ruling import Cause, Check, Failure, Verdict
from loadtest.drop.target import Target
from loadtest.drop.thresholds import Threshold
from loadtest.drop.vitals import Vitals

SLOW_REDIS_MS = 100.0
"""A round trip that long, in the median, is Redis' or its network's fault: a good one takes less
than a millisecond, and behind a busy gateway a few."""
_FEW = 3
"""Of many differences of a kind so many are told."""


class Scenario(Protocol):
    """What of a scenario is judged."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def thresholds(self) -> Sequence[Threshold]:
        """What it must keep to."""


def conclude(
    scenario: Scenario,
    measured: Measured,
    target: Target,
    out: Path,
    *,
    gateways: Sequence[str] = (),
    before: Vitals | None = None,
) -> int:
    """Judge a run that has ended, print the verdict, write the report; the exit code.

    Args:
        gateways: addresses of those whose metrics can be read; otherwise only the target's own.
        before: what they said before the run; otherwise all since they started counts.
    """
    after = vitals.look(gateways or [target.url])
    books = read_books(target, measured.began_at, measured.took_s, to_terminal)
    verdict = judge(scenario, measured, books, after.since(before or Vitals()))
    summary = publish(verdict, measured, books, out)
    kept = asdict(verdict) | {"word": verdict.word, "code": verdict.code}
    (out / "verdict.json").write_text(json.dumps(kept, indent=1, default=_word) + "\n")
    sys.stdout.write(summary)
    sys.stdout.flush()
    return verdict.code


def _word(value: object) -> str:
    return str(value.value) if isinstance(value, Enum) else str(value)


def judge(scenario: Scenario, measured: Measured, books: Books, seen: Vitals) -> Verdict:
    """Say what is wrong, the worst first."""
    checks = [_check(threshold, measured, books) for threshold in scenario.thresholds]
    failures = [
        *_oversold(books),
        *_money(books),
        *_slow_redis(books, seen),
        *(_failure(check, seen) for check in checks if check.kept is False),
    ]
    failures.sort(key=lambda failure: list(Cause).index(failure.cause))
    return Verdict(scenario.name, tuple(failures), tuple(measured.problems), tuple(checks))


def _check(threshold: Threshold, measured: Measured, books: Books) -> Check:
    what, found = threshold.what, _found(threshold, measured)
    kept = None if found is None else found <= threshold.at_most
    happened = what != "release" and (what != "push sold_out" or books.sold_out)
    return Check(what, threshold.statistic, threshold.at_most, found, kept, happened)


def _found(threshold: Threshold, measured: Measured) -> float | None:
    """The figure a threshold is about; ``None`` if there is none."""
    what, statistic = threshold.what, threshold.statistic
    if what in measured.figures:
        return measured.figures[what]
    if what == "refused upgrades":
        return float(_refused(measured.said))
    if what == "errors":
        # A push is no answer: however many there are, they make no failure smaller.
        answers = [step for step in measured.steps.values() if not step.name.startswith("push")]
        count = sum(step.count for step in answers)
        errors = sum(step.errors for step in answers)
    elif (step := measured.steps.get(what)) and step.count:
        if statistic in {"p50_ms", "p99_ms", "max_ms"}:
            return float(getattr(step, statistic))
        count, errors = step.count, step.errors
    else:
        return None
    if statistic == "count":
        return float(errors)
    return 100 * errors / count if count else None


def _refused(said: Mapping[tuple[str, str], int]) -> int:
    return sum(
        count
        for (step, code), count in said.items()
        if step == "connect" and code.startswith("refused")
    )


def _failure(check: Check, seen: Vitals) -> Failure:
    """Why a threshold that was not kept is a failure, and of which kind."""
    assert check.found is not None
    if check.what.startswith("push"):
        said = f"{check.what} reached shoppers late: {check.sentence()}"
        staleness_ms = seen.quantile_ms(vitals.STALENESS, 0.99)
        if staleness_ms is not None:
            said += f"; the gateways say they wrote it within {_ms(staleness_ms)} (p99)"
        return Failure(Cause.STALENESS, said)
    if check.statistic.endswith("_ms"):
        said = check.sentence()
        lag_ms = seen.quantile_ms(vitals.LOOP, 0.99)
        if lag_ms is not None:
            said += f"; event loops of the gateways were within {_ms(lag_ms)} late (p99)"
        return Failure(Cause.SLOW, said)
    if check.what == "refused upgrades":
        return Failure(Cause.REFUSALS, check.sentence())
    return Failure(Cause.ERRORS, check.sentence())


def _slow_redis(books: Books, seen: Vitals) -> list[Failure]:
    half_ms = seen.quantile_ms(vitals.REDIS, 0.5)
    if half_ms is not None and half_ms > SLOW_REDIS_MS:
        said = f"the gateways' median round trip to Redis took up to {_ms(half_ms)}"
    elif books.redis_ms > SLOW_REDIS_MS:
        said = f"a gateway's round trip to Redis still took {_ms(books.redis_ms)} after the run"
    else:
        return []
    return [Failure(Cause.SLOW_REDIS, f"{said}, at most {_ms(SLOW_REDIS_MS)}")]


def _oversold(books: Books) -> list[Failure]:
    """Units that were promised and are not there."""
    said = []
    for sku, units in sorted(books.sold.items()):
        there = books.started.get(sku)
        if there is not None and units > there:
            said.append(f"sold {units:,} of {sku}, there were {there:,}")
    for sku, (promised, there) in sorted(books.promised.items()):
        said.append(f"{promised:,} of {sku} were held or sold at once, there were {there:,}")
    if books.twice:
        said.append(f"sold twice: {_some(books.twice)}")
    return [Failure(Cause.OVERSELL, sentence) for sentence in said]


def _money(books: Books) -> list[Failure]:
    """Sums that must agree and do not."""
    if books.unread:
        return [Failure(Cause.BOOKS, f"the books could not be read: {books.unread}")]
    said = []
    if books.drift:
        said.append(f"the stock does not follow from its ledger: {_some(books.drift)}")
    said += [f"{name.replace('_', ' ')}: {count:,}" for name, count in books.differences.items()]
    if books.unsettled:
        said.append(
            f"{books.unsettled:,} payments had not come to rest after {books.rested_s:.0f} s"
        )
    if books.captures != books.paid_orders:
        said.append(f"{books.captures:,} payments were taken for {books.paid_orders:,} orders")
    if dict(books.captured) != dict(books.owed):
        said.append(f"taken was {_sums(books.captured)}, sold for {_sums(books.owed)}")
    if books.ledger_units != books.run.units:
        said.append(
            f"the ledger has {books.ledger_units:,} units sold, the orders {books.run.units:,}"
        )
    if books.till is not None and books.till != books.run:
        said.append(f"the point of sale has {_sales(books.till)}; sold were {_sales(books.run)}")
    return [Failure(Cause.BOOKS, sentence) for sentence in said]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _FEW
    return "; ".join(names[:_FEW]) + (f"; and {more:,} more" if more > 0 else "")


def _sales(sales: Sales) -> str:
    return f"{sales.orders:,} orders, {sales.units:,} units, {_sums(sales.amount)}"


def _sums(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{amount:,} {name}" for name, amount in sorted(amounts.items())) or "nothing"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if math.isfinite(value) else "longer than it can tell"
