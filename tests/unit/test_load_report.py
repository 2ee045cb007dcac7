"""The report of a load test: one page that needs nothing else, and a summary that fits a page."""

import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.drop.books import Books, Sales
from loadtest.drop.measured import Measured, Second, Step
from loadtest.drop.plots import plots
from loadtest.drop.report import PAGE, SUMMARY, publish
from loadtest.drop.ruling import Cause, Check, Failure, Verdict

VERDICT = Verdict(
    "a <drop>",
    (Failure(Cause.OVERSELL, "sold 503 of tee, there were 500"),),
    ("the load host was late",),
    (
        Check("reserve", "p99_ms", 500, 80, kept=True),
        Check("errors", "errors_percent", 1, 2.5, kept=False),
        Check("push stock", "p99_ms", 500, None, kept=None),
    ),
)
STEPS = {name: Step(name, 10, 0, 5, 40, 80, 120) for name in ("reserve", "push stock")}
SECONDS = [
    Second(at_s, 100, {"reserve": 5, "push stock": 5}, {"reserve": 80.0, "push stock": 9.0})
    for at_s in range(3)
]
MEASURED = Measured(
    "a <drop>", 1_795_000_000.0, 3.0, 100, STEPS, {("reserve", "ok"): 10}, {}, SECONDS
)
BOOKS = Books(
    started={"tee": 500},
    till=Sales(3, 3, Counter({"EUR": 3_000, "JPY": 900})),
    left=[(0.5, {"tee": 500}), (1.5, {"tee": 0})],
)


def test_a_report_says_the_verdict_why_and_every_figure(tmp_path: Path) -> None:
    summary = publish(VERDICT, MEASURED, BOOKS, tmp_path / "new")
    page, text = (tmp_path / "new" / PAGE).read_text(), (tmp_path / "new" / SUMMARY).read_text()
    for told in (summary, page, text):
        for part in ("oversell", "sold 503 of tee, there were 500", "the load host was late"):
            assert part in told
        for part in ("2.50 %", "not kept", "not measured", "30.00 EUR, 900 JPY"):
            assert part in told
    assert summary.rstrip().endswith("VERDICT  a <drop>: bad: oversell")
    assert len(summary.splitlines()) < 60
    assert "a &lt;drop&gt;: <span" in page
    assert "<drop>" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("seconds", [0, 1, 3, 4_000])
def test_plots_are_drawn_whatever_was_measured(seconds: int) -> None:
    many = [replace(SECONDS[0], at_s=at_s) for at_s in range(seconds)]
    drawn = plots(replace(MEASURED, seconds=many, took_s=float(seconds)), BOOKS)
    assert list(drawn) == ["shoppers", "answers", "latency", "staleness", "stock"]
    for svg in drawn.values():
        ET.fromstring(svg)
        assert len(svg) < 60_000


def test_without_anything_measured_there_is_a_report_all_the_same(tmp_path: Path) -> None:
    nothing = Measured("x", 0.0, 0.0, 0, {}, {}, {}, [])
    assert "good" in publish(Verdict("x", (), (), ()), nothing, Books(), tmp_path)
