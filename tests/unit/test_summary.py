"""Whether everything agrees."""

from typing import Any

import msgspec
import pytest

from gateway.demo.summary import Sold, Summary, disagreements, report, sold

GOOD = Summary(orders=3, committed_units=4, captured=3, till_orders=3, drift=0, errors=0)


def event(order: str, *units: int, version: int = 1) -> dict[str, Any]:
    lines = [{"sku": f"sku-{number}", "quantity": count} for number, count in enumerate(units)]
    return {"data": {"id": order, "order_version": version, "lines": lines}}


def test_when_all_agree_there_is_nothing_to_say() -> None:
    assert disagreements(GOOD, 4) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drift": 2}, "The audit found 2 quantities that have drifted."),
        ({"drift": None}, "The audit did not finish."),
        ({"till_orders": 2}, "3 orders, but 2 at the till."),
        ({"captured": 4}, "3 orders, but 4 payments captured."),
        ({"captured": None}, "3 orders, but an unknown number of payments captured."),
        ({"committed_units": 5}, "4 units ordered, but 5 in the ledger."),
    ],
)
def test_each_disagreement_is_said(change: dict[str, int | None], said: str) -> None:
    assert disagreements(msgspec.structs.replace(GOOD, **change), 4) == [said]


def test_nothing_known_is_no_agreement() -> None:
    nothing = Summary(None, None, None, None, None, 1)
    assert len(disagreements(nothing, None)) == 4


def test_an_order_counts_once_whatever_became_of_it() -> None:
    events = [event("a", 1, 2), event("b", 1), event("a", 1, 2, version=2)]
    assert sold(events) == Sold(orders=2, units=4)


def test_the_report_names_what_nobody_expected() -> None:
    text = report(GOOD, {"reserve: invalid": 2}, [])
    assert "2 x reserve: invalid" in text
    assert "agree" in text
    assert "agree" not in report(GOOD, {}, None)
