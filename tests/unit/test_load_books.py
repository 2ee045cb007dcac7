"""The books of a load test in a shop that sold before, and sells other things meanwhile."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from loadtest.drop.books import Books, Sales, read_books
from loadtest.drop.shop_api import Answer, Api
from loadtest.drop.target import Target

BEGAN_AT = 1_795_000_000.0
TILL = "http://till"


def at(after_s: float) -> str:
    moment = datetime.fromtimestamp(BEGAN_AT + after_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def order(name: str, sku: str, after_s: float, units: int = 1, back: int = 0) -> dict[str, Any]:
    refund = {"amount": {"amount": back, "currency": "EUR"}, "lines": [], "restocked": False}
    return {
        "id": name,
        "lines": [{"sku": sku, "quantity": units}],
        "total": {"amount": 2_500 * units, "currency": "EUR"},
        "occurred_at": at(after_s),
        "refunds": [refund] if back else [],
    }


def moved(kind: str, sku: str, after_s: float, units: int = 1, **said: int) -> dict[str, Any]:
    place = {"sku": sku, "location": "main", "quantity": units}
    return {"kind": kind, "at": at(after_s), **place, **said}


def sold(sku: str, after_s: float, number: int) -> dict[str, Any]:
    return moved("committed", sku, after_s, committed=1, first_unit=number)


class Shop:
    """What a gateway and a till say, page after page."""

    def __init__(self, orders: list[Any], ledger: list[Any], till: list[Any] | None = None) -> None:
        self.orders, self.ledger, self.till = orders, ledger, till
        self.asked: list[str] = []
        self.since = 0.0

    def call(self, _: str, path: str) -> Answer:
        what, _, query = path.partition("?")
        self.asked.append(what)
        if what == "/orders":
            self.since = datetime.fromisoformat(query.removeprefix("since=")).timestamp()
        first = "after=0-0" in query
        pages = {
            "/v1/audit": {
                "unsettled": 0,
                "redis_ms": 0.3,
                "stock": {"drift": []},
                "payments": {
                    "reconciliation": {"captures": 0, "captured": {}, "differences": {}},
                    "sold": {"orders": 0, "amount": {}},
                },
            },
            "/v1/orders": {"orders": [{"data": one} for one in self.orders * first], "next": "9-9"},
            "/v1/stock/movements": {"movements": self.ledger * first, "next": "9-9"},
            "/orders": [{"data": one} for one in self.till or ()],
        }
        return Answer(200, pages[what])


def read(monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Books:
    monkeypatch.setattr(Api, "call", lambda _, *words: shop.call(*words[:2]))
    till_url = None if shop.till is None else TILL
    target = Target("http://gateway", "a", "p", till_url, {"load-1": 5})
    books = read_books(target, BEGAN_AT, 30.0, lambda _: None, rest_s=0.0)
    assert not books.unread
    return books


LONG_AGO = -40 * 86_400.0
"""Before the beginning of the stream of orders, but not of the ledger."""


def test_what_was_sold_before_the_run_or_of_other_products_is_not_counted_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = [order("o_1", "load-1", 3), order("o_2", "load-1", 4)]
    others = order("o_3", "tee", 4)
    ledger = [
        moved("received", "load-1", LONG_AGO, 7, on_hand=7),
        moved("received", "tee", LONG_AGO, 1, on_hand=1),
        *(sold("load-1", LONG_AGO, number) for number in (1, 2)),
        sold("load-1", 3, 3),
        sold("load-1", 4, 4),
        sold("tee", 4, 1),
    ]
    gone = [order("o_0", "load-1", LONG_AGO, 2), others, order("o_4", "tee", LONG_AGO)]
    books = read(monkeypatch, Shop([*mine, others], ledger, [*mine, *gone]))
    assert books.run == books.till == Sales(2, 2, Counter({"EUR": 5_000}))
    assert books.ledger_units == books.run.units
    assert books.sold == {"load-1": 2}
    assert books.left[-1][1] == {"load-1": 3}
    # Somebody else's last unit is not this run's.
    assert not books.sold_out


def test_an_earlier_sale_that_is_undone_meanwhile_is_not_taken_off_this_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = [
        sold("load-1", -60, 1),
        moved("released", "load-1", 1, committed=-1, first_unit=1),
        sold("load-1", 2, 2),
        moved("released", "load-1", 3, committed=-1, first_unit=2),
        sold("load-1", 4, 2),
    ]
    books = read(monkeypatch, Shop([order("o_2", "load-1", 4)], ledger))
    assert (books.ledger_units, books.run.units, books.twice) == (1, 1, [])


def test_a_till_that_has_every_order_but_not_its_sum_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refunded = order("o_1", "load-1", 3, back=500)
    books = read(monkeypatch, Shop([refunded], [], [order("o_1", "load-1", 3)]))
    assert books.run == Sales(1, 1, Counter({"EUR": 2_000}))
    assert books.till == Sales(1, 1, Counter({"EUR": 2_500}))


def test_a_till_is_not_asked_for_its_whole_life(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop([order("o_1", "load-1", 3)], [], [order("o_1", "load-1", 3)])
    assert read(monkeypatch, shop).till == Sales(1, 1, Counter({"EUR": 2_500}))
    # Clocks differ, but not by days.
    assert BEGAN_AT - 86_400 < shop.since < BEGAN_AT - 60


def test_without_a_till_none_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop([order("o_1", "load-1", 3)], [])
    assert read(monkeypatch, shop).till is None
    assert "/orders" not in shop.asked
