"""The verdict of a load test: every kind of failure is found, and named by its cause."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from loadtest.drop import vitals
from loadtest.drop.books import Books, Sales
from loadtest.drop.measured import Measured, Second, Step
from loadtest.drop.ruling import BAD, GOOD, VOID, Cause, Verdict
from loadtest.drop.shop_api import Answer, Api
from loadtest.drop.thresholds import Threshold
from loadtest.drop.verdict import judge
from loadtest.drop.vitals import Vitals


@dataclass(frozen=True)
class Drop:
    """A scenario with a threshold of each kind."""

    name: str = "a drop"
    thresholds: tuple[Threshold, ...] = (
        Threshold("reserve", "p99_ms", 500),
        Threshold("reserve", "errors_percent", 1),
        Threshold("push sold_out", "p50_ms", 500),
        Threshold("push sold_out", "p99_ms", 1000),
        Threshold("release", "p99_ms", 500),
        Threshold("errors", "errors_percent", 1),
        Threshold("refused upgrades", "count", 0),
        Threshold("memory growth, %", "count", 10),
    )


def step(name: str, **changes: float) -> Step:
    return replace(Step(name, 1_000, 0, 5, 40, 80, 120), **changes)  # type: ignore[arg-type]


MEASURED = Measured(
    scenario="a drop",
    began_at=1_795_000_000.0,
    took_s=30.0,
    shoppers=100,
    steps={name: step(name) for name in ("reserve", "checkout", "push sold_out")},
    said={("reserve", "ok"): 500, ("reserve", "sold_out"): 500, ("connect", "ok"): 100},
    closes={},
    seconds=[Second(0, 100, {"reserve": 1_000}, {"reserve": 80.0})],
    figures={"memory growth, %": 1.5},
)


SOLD = Sales(450, 500, Counter({"EUR": 9_000}))
SOLD_SAID = "sold were 450 orders, 500 units, 9,000 EUR"


def books(**changes: Any) -> Books:
    """Books that agree: five hundred tees, all sold, paid for and handed on."""
    found = Books(
        started={"tee": 500},
        sold=Counter({"tee": 500}),
        run=SOLD,
        till=SOLD,
        captures=450,
        captured={"EUR": 9_000},
        paid_orders=450,
        owed={"EUR": 9_000},
        redis_ms=0.4,
        ledger_units=500,
        left=[(5.0, {"tee": 500}), (9.0, {"tee": 0})],
    )
    return replace(found, **changes)


def measured(name: str, **changes: float) -> Measured:
    """What was measured, but for one step."""
    steps = {**MEASURED.steps, name: step(name, **changes)}
    return replace(MEASURED, steps=steps)


def verdict(
    found: Measured = MEASURED,
    kept: Books | None = None,
    seen: Mapping[str, Mapping[float, float]] | None = None,
) -> Verdict:
    return judge(Drop(), found, kept or books(), Vitals(seen or {}))


def test_a_good_run_is_good() -> None:
    found = verdict()
    assert (found.code, found.word, found.failures, found.problems) == (GOOD, "good", (), ())
    assert all(check.kept for check in found.checks if check.what != "release")


def test_nobody_need_give_anything_back_but_who_does_is_not_to_wait() -> None:
    assert verdict().code == GOOD
    late = verdict(measured("release", p99_ms=900))
    assert [one.sentence for one in late.failures] == ["release p99 is 900 ms, at most 500 ms"]


@pytest.mark.parametrize(
    ("changes", "cause", "sentence"),
    [
        ({"sold": Counter({"tee": 503})}, Cause.OVERSELL, "sold 503 of tee, there were 500"),
        (
            {"promised": {"tee": (510, 500)}},
            Cause.OVERSELL,
            "510 of tee were held or sold at once, there were 500",
        ),
        ({"twice": ["unit 7 of tee at main"]}, Cause.OVERSELL, "sold twice: unit 7 of tee at main"),
        (
            {"drift": ["held of tee at main is 1, must be 0"]},
            Cause.BOOKS,
            "the stock does not follow from its ledger: held of tee at main is 1, must be 0",
        ),
        ({"differences": {"stray_charge": 2}}, Cause.BOOKS, "stray charge: 2"),
        (
            {"unsettled": 3, "rested_s": 240.0},
            Cause.BOOKS,
            "3 payments had not come to rest after 240 s",
        ),
        ({"captures": 451}, Cause.BOOKS, "451 payments were taken for 450 orders"),
        ({"captured": {"EUR": 8_999}}, Cause.BOOKS, "taken was 8,999 EUR, sold for 9,000 EUR"),
        ({"ledger_units": 501}, Cause.BOOKS, "the ledger has 501 units sold, the orders 500"),
        (
            {"till": replace(SOLD, orders=449)},
            Cause.BOOKS,
            f"the point of sale has 449 orders, 500 units, 9,000 EUR; {SOLD_SAID}",
        ),
        (
            {"till": replace(SOLD, amount=Counter({"EUR": 8_900, "USD": 100}))},
            Cause.BOOKS,
            f"the point of sale has 450 orders, 500 units, 8,900 EUR, 100 USD; {SOLD_SAID}",
        ),
        (
            {"till": replace(SOLD, units=501)},
            Cause.BOOKS,
            f"the point of sale has 450 orders, 501 units, 9,000 EUR; {SOLD_SAID}",
        ),
        (
            {"unread": "http://a does not answer"},
            Cause.BOOKS,
            "the books could not be read: http://a does not answer",
        ),
        (
            {"redis_ms": 205.0},
            Cause.SLOW_REDIS,
            "a gateway's round trip to Redis still took 205 ms after the run, at most 100 ms",
        ),
    ],
)
def test_what_the_books_say_is_named(
    changes: Mapping[str, Any], cause: Cause, sentence: str
) -> None:
    found = verdict(kept=books(**changes))
    assert [(one.cause, one.sentence) for one in found.failures] == [(cause, sentence)]
    assert found.code == BAD
    assert cause.value in found.headline
    # It holds however the load was.
    assert verdict(replace(MEASURED, problems=["late"]), books(**changes)).code == BAD


@pytest.mark.parametrize(
    ("run", "cause", "sentence"),
    [
        (
            measured("reserve", p99_ms=1_240),
            Cause.SLOW,
            "reserve p99 is 1,240 ms, at most 500 ms",
        ),
        (
            measured("push sold_out", p99_ms=3_040),
            Cause.STALENESS,
            "push sold_out reached shoppers late: push sold_out p99 is 3,040 ms, at most 1,000 ms",
        ),
        (
            measured("reserve", errors=20),
            Cause.ERRORS,
            "error rate of reserve is 2.00 %, at most 1.00 %",
        ),
        (measured("ticket", errors=99), Cause.ERRORS, "error rate is 3.30 %, at most 1.00 %"),
        (
            replace(MEASURED, said={("connect", "refused 503"): 4, ("connect", "ok"): 96}),
            Cause.REFUSALS,
            "refused upgrades is 4, at most 0",
        ),
        (
            replace(MEASURED, figures={"memory growth, %": 12.0}),
            Cause.ERRORS,
            "memory growth, % is 12, at most 10",
        ),
    ],
)
def test_a_threshold_that_is_not_kept_is_named(run: Measured, cause: Cause, sentence: str) -> None:
    found = verdict(run)
    assert [(one.cause, one.sentence) for one in found.failures] == [(cause, sentence)]
    assert found.code == BAD
    # But a load that was not good itself has measured nothing.
    void = verdict(replace(run, problems=["the load host was late"]))
    assert (void.code, void.problems) == (VOID, ("the load host was late",))


def test_without_a_till_the_rest_of_the_books_is_judged() -> None:
    assert verdict(kept=books(till=None)).code == GOOD
    assert verdict(kept=books(till=None, captures=449)).code == BAD


def test_a_slow_redis_is_named_before_what_follows_from_it() -> None:
    slow = measured("reserve", p99_ms=900)
    found = verdict(slow, seen={vitals.REDIS: {0.05: 1.0, 0.25: 99.0, float("inf"): 100.0}})
    assert found.causes == (Cause.SLOW_REDIS, Cause.SLOW)
    assert "took up to 250 ms" in found.failures[0].sentence
    quick = verdict(slow, seen={vitals.REDIS: {0.05: 99.0, 0.25: 99.0, float("inf"): 100.0}})
    assert quick.causes == (Cause.SLOW,)


def test_a_late_push_comes_with_what_the_gateways_say() -> None:
    late = measured("push sold_out", p99_ms=3_040)
    found = verdict(late, seen={vitals.STALENESS: {0.1: 5.0, 0.25: 100.0, float("inf"): 100.0}})
    assert found.failures[0].sentence.endswith("the gateways say they wrote it within 250 ms (p99)")


def test_a_threshold_without_anything_measured_makes_a_run_void() -> None:
    nobody = replace(MEASURED, steps={"reserve": step("reserve")})
    found = verdict(nobody)
    assert found.code == VOID
    assert "nothing was measured of push sold_out" in found.unmeasured[0]
    assert len(found.unmeasured) == 1


def test_what_did_not_happen_need_not_be_measured() -> None:
    plenty = books(left=[(5.0, {"tee": 500}), (9.0, {"tee": 1})])
    unsold = replace(MEASURED, steps={"reserve": step("reserve")})
    assert verdict(unsold, plenty).code == GOOD
    asleep = replace(MEASURED, steps={"push sold_out": step("push sold_out")})
    assert verdict(asleep, plenty).code == VOID


def test_a_run_that_is_bad_is_not_made_void_by_what_was_not_measured() -> None:
    steps = {"reserve": step("reserve", p99_ms=900), "push stock": step("push stock")}
    found = verdict(replace(MEASURED, steps=steps))
    assert (found.code, found.causes) == (BAD, (Cause.SLOW,))
    assert found.unmeasured


def test_the_worst_cause_is_told_first() -> None:
    run = measured("push sold_out", p99_ms=9_999)
    found = verdict(run, books(sold=Counter({"tee": 501}), captures=1))
    assert found.causes == (Cause.OVERSELL, Cause.BOOKS, Cause.STALENESS)
    assert found.headline == "a drop: bad: oversell, books that do not agree, staleness"


def test_many_of_a_kind_are_counted() -> None:
    found = verdict(kept=books(twice=[f"unit {n} of tee at main" for n in range(5)]))
    assert found.failures[0].sentence.endswith("; and 2 more")


def test_only_what_was_observed_between_two_looks_counts() -> None:
    before = Vitals({vitals.REDIS: {0.05: 100.0, 0.5: 100.0, float("inf"): 100.0}})
    after = Vitals({vitals.REDIS: {0.05: 100.0, 0.5: 110.0, float("inf"): 110.0}})
    assert after.quantile_ms(vitals.REDIS, 0.5) == 50
    assert after.since(before).quantile_ms(vitals.REDIS, 0.5) == 500
    assert after.since(after).quantile_ms(vitals.REDIS, 0.5) is None
    assert Vitals().quantile_ms(vitals.REDIS, 0.5) is None


def test_metrics_are_read_whatever_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """# TYPE holdfast_redis_round_trip_seconds histogram
holdfast_redis_round_trip_seconds_bucket{kind="plain",le="0.1"} 4.0
holdfast_redis_round_trip_seconds_bucket{kind="plain",le="+Inf"} 5.0
holdfast_redis_round_trip_seconds_bucket{kind="waited",le="0.1"} 70.0
holdfast_event_loop_lag_seconds_bucket{le="0.005"} 2.0
holdfast_event_loop_lag_seconds_count 2.0
"""
    monkeypatch.setattr(Api, "call", lambda *_: Answer(200, text))
    assert vitals.look(["http://a", "http://b"]).buckets == {
        vitals.REDIS: {0.1: 8.0, float("inf"): 10.0},
        vitals.LOOP: {0.005: 4.0},
    }
