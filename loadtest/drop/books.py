"""The books of a run, read over the wire: what was sold, charged and handed on, and does it agree.

What is read: what the gateway says when it audits itself, every order as the point of sale is given
it and as it has it, and every movement of the ledger. All but the first is added up here, by other
code than the gateway's: an error of the gateway's own audit does not hide in it.

A shop may have sold before, and may sell other things meanwhile. The ledger goes back to the shop's
beginning and the stream of orders 30 days, so that the two are compared over this run alone: what
was sold of its own products since it began.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

from loadtest.drop.progress import Say
from loadtest.drop.shop_api import AUDIT_S, Api, NoAnswer, Refused, pages, patiently
from loadtest.drop.target import Target

REST_S = 240.0
"""Longest to wait until no payment is under way and the point of sale has every order."""
_LOOK_S = 2.0
_TELL_S = 5.0
_RFC3339 = "%Y-%m-%dT%H:%M:%SZ"
_SLACK_S = 3600.0
"""By how much a till's clock may be behind: it is asked for so much more, not for all its life."""
_EARLY_S = 2.0
"""What was sold so long before the run began is counted to it: clocks differ."""

Place = tuple[str, str]
Unit = tuple[str, str, int]


@dataclass(slots=True)
class Sales:
    """The orders of this run, as one side has them."""

    orders: int = 0
    units: int = 0
    """As they were sold, whatever was given back."""
    amount: Counter[str] = field(default_factory=Counter)
    """Less refunds; in minor units, by currency."""


@dataclass(slots=True)
class Books:
    """What was found. Amounts in minor units, by currency."""

    started: Mapping[str, int] = field(default_factory=dict)
    """Units that were for sale, by sku: the products of this run."""
    sold: Counter[str] = field(default_factory=Counter)
    """Units of this run's orders, by sku; without those that were put back."""
    promised: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By sku, where more was held and sold at once than there was: how many, of how many."""
    twice: list[str] = field(default_factory=list)
    """Units that were sold under a number another sale has."""
    run: Sales = field(default_factory=Sales)
    """What the point of sale is given."""
    till: Sales | None = None
    """What a till has, if one was looked at."""
    captures: int = 0
    captured: Mapping[str, int] = field(default_factory=dict)
    """What Stripe took and did not give back, from all the shop in the hours of the run."""
    paid_orders: int = 0
    owed: Mapping[str, int] = field(default_factory=dict)
    """What the orders of those hours come to, less refunds."""
    drift: list[str] = field(default_factory=list)
    """Quantities the audit says are wrong."""
    differences: Mapping[str, int] = field(default_factory=dict)
    """Between Redis, Stripe and the order stream, by name."""
    unsettled: int = 0
    """Payments that did not come to rest in time."""
    rested_s: float = 0.0
    redis_ms: float = 0.0
    """A round trip of the gateway to Redis after the run."""
    ledger_units: int = 0
    """Units sold in this run, by the ledger."""
    left: list[tuple[float, Mapping[str, int]]] = field(default_factory=list)
    """Units on sale by sku, after each movement of the run; seconds since it began."""
    unread: str = ""
    """Why the books could not be read, if so."""

    @property
    def sold_out(self) -> bool:
        """Whether anything was sold out in this run, by the ledger."""
        return any(
            units and not after.get(sku, 0)
            for (_, before), (_, after) in pairwise(self.left)
            for sku, units in before.items()
        )


def read_books(
    target: Target, began_at: float, took_s: float, say: Say, rest_s: float = REST_S
) -> Books:
    """Wait until payments have come to rest, and read everything."""
    books = Books(started=target.started_stock)
    try:
        reader = _Reader(target, books, say, began_at)
        reader.wait(rest_s)
        reader.audit(since_h=min(720, math.ceil((time.time() - began_at) / 3600) + 1))
        reader.sales()
        reader.ledger()
    except (NoAnswer, Refused) as error:
        books.unread = str(error)
    except (KeyError, TypeError, ValueError) as error:
        books.unread = f"an answer is not what it should be ({type(error).__name__}: {error})"
    say(f"books read: {books.run.orders} orders in this run of {took_s:.0f} s")
    return books


@dataclass(slots=True)
class _Reader:
    target: Target
    books: Books
    say: Say
    began_at: float
    _admin: Api = field(init=False)
    _pos: Api = field(init=False)

    def __post_init__(self) -> None:
        self._admin = Api(self.target.url, self.target.admin_key, AUDIT_S)
        self._pos = Api(self.target.url, self.target.pos_key)

    def wait(self, rest_s: float) -> None:
        """Until all payments are at rest and the till has the orders, or the time is up."""
        began_s = told_s = time.monotonic()
        while True:
            waiting = self._waiting()
            now_s = time.monotonic()
            self.books.rested_s = now_s - began_s
            if not waiting or now_s - began_s > rest_s:
                return
            if now_s - told_s >= _TELL_S:
                told_s = now_s
                self.say(f"{waiting}; waited {now_s - began_s:.0f} of at most {rest_s:.0f} s")
            time.sleep(_LOOK_S)

    def _waiting(self) -> str:
        """What is still under way, in words."""
        unsettled = int(self._audit("/v1/audit")["unsettled"])
        self.books.unsettled = unsettled
        if unsettled:
            return f"{unsettled} payments are under way"
        till, given = self._till(), self._given()
        if till is None or till == given:
            return ""
        return f"the till has {till.orders} of {given.orders} orders, and waits"

    def audit(self, since_h: int) -> None:
        """What the gateway says of itself."""
        books, said = self.books, self._audit(f"/v1/audit?payments=true&since_h={since_h}")
        money = said["payments"]
        taken, sold = money["reconciliation"], money["sold"]
        books.captures, books.captured = taken["captures"], taken["captured"]
        books.paid_orders, books.owed = sold["orders"], sold["amount"]
        books.differences = taken["differences"]
        books.unsettled, books.redis_ms = said["unsettled"], said["redis_ms"]
        books.drift = [_drift(one) for one in said["stock"]["drift"]]

    def _audit(self, path: str) -> dict[str, Any]:
        said: dict[str, Any] = patiently(self._admin, path)
        return said

    def sales(self) -> None:
        """What was sold in this run, by the orders that are handed on and by the till's."""
        books, orders = self.books, self._all_orders()
        books.till, books.run = self._till(), self._sales(orders)
        for order in filter(self._is_mine, orders):
            units = self._units(order)
            for refund in order.get("refunds", ()):
                for line in refund.get("lines", ()) if refund["restocked"] else ():
                    units[line["sku"]] -= line["quantity"]
            books.sold.update(units)

    def _till(self) -> Sales | None:
        if not self.target.till_url:
            return None
        since = datetime.fromtimestamp(self.began_at - _SLACK_S, UTC).strftime(_RFC3339)
        orders = patiently(Api(self.target.till_url), f"/orders?since={since}")
        return self._sales([event["data"] for event in orders])

    def _given(self) -> Sales:
        return self._sales(self._all_orders())

    def _all_orders(self) -> list[dict[str, Any]]:
        """Each order as its latest event has it."""
        found: dict[str, dict[str, Any]] = {}
        for page in self._pages("/v1/orders", 200):
            for event in page["orders"]:
                found[event["data"]["id"]] = event["data"]
        return list(found.values())

    def _sales(self, orders: Iterable[Mapping[str, Any]]) -> Sales:
        """These added up, as far as they are of this run."""
        sales = Sales()
        for order in filter(self._is_mine, orders):
            sales.orders += 1
            sales.units += self._units(order).total()
            back = sum(refund["amount"]["amount"] for refund in order.get("refunds", ()))
            sales.amount[order["total"]["currency"]] += order["total"]["amount"] - back
        return sales

    def _is_mine(self, order: Mapping[str, Any]) -> bool:
        """Whether somebody bought it in this run."""
        is_late = _s(order["occurred_at"]) >= self.began_at - _EARLY_S
        return is_late and bool(self._units(order))

    def _units(self, order: Mapping[str, Any]) -> Counter[str]:
        """Units of this run's products, by sku."""
        units = Counter[str]()
        for line in order["lines"]:
            if line["sku"] in self.books.started:
                units[line["sku"]] += line["quantity"]
        return units

    def ledger(self) -> None:
        """Every movement: units by their numbers, and what was ever promised at once."""
        tape = _Tape(self.books, self.began_at)
        for page in self._pages("/v1/stock/movements", 1000):
            for movement in page["movements"]:
                tape.add(movement)
        tape.end()

    def _pages(self, path: str, limit: int) -> Iterator[dict[str, Any]]:
        told_s = time.monotonic()
        for number, page in enumerate(pages(partial(patiently, self._pos), path, limit)):
            yield page
            if time.monotonic() - told_s > _TELL_S:
                told_s = time.monotonic()
                self.say(f"{number * limit:,} read of {path}")


@dataclass(slots=True)
class _Tape:
    """The ledger, played from its beginning."""

    books: Books
    began_at: float
    _rows: dict[Place, Counter[str]] = field(default_factory=dict)
    _units: Counter[Unit] = field(default_factory=Counter)
    _mine: Counter[Unit] = field(default_factory=Counter)
    """Those of them that were sold in this run."""

    def add(self, one: Mapping[str, Any]) -> None:
        """Play one movement."""
        place = (one["sku"], one["location"])
        row = self._rows.setdefault(place, Counter())
        for quantity in ("on_hand", "safety_stock", "held", "committed"):
            row[quantity] += one.get(quantity, 0)
        if one["kind"] == "held":
            self._promised(one["sku"], row)
        at_s = _s(one["at"]) - self.began_at
        mine = at_s >= -_EARLY_S and one["sku"] in self.books.started
        if "first_unit" in one:
            self._number(one, place, mine=mine)
        if mine:
            self.books.left.append((max(0.0, at_s), self._on_sale()))

    def _promised(self, sku: str, row: Counter[str]) -> None:
        there, promised = row["on_hand"] - row["safety_stock"], row["held"] + row["committed"]
        if promised > max(there, self.books.promised.get(sku, (0, 0))[0]):
            self.books.promised[sku] = (promised, there)

    def _number(self, one: Mapping[str, Any], place: Place, *, mine: bool) -> None:
        first, units = one["first_unit"], one["quantity"]
        sign = 1 if one["kind"] == "committed" else -1
        for number in range(first, first + units):
            unit = (*place, number)
            self._units[unit] += sign
            # What is undone may have been sold before this run.
            if mine and (sign > 0 or self._mine[unit]):
                self._mine[unit] += sign

    def _on_sale(self) -> Mapping[str, int]:
        left: Counter[str] = Counter()
        for (sku, _), row in self._rows.items():
            if sku not in self.books.started:
                continue
            taken = row["safety_stock"] + row["held"] + row["committed"]
            left[sku] += max(0, row["on_hand"] - taken)
        return left

    def end(self) -> None:
        """All was played: count the units, and name those that were sold twice."""
        self.books.ledger_units = self._mine.total()
        self.books.twice = [
            f"unit {number} of {sku} at {location}"
            for (sku, location, number), times in sorted(self._units.items())
            if times > 1
        ]


def _drift(one: Mapping[str, Any]) -> str:
    where = f"{one['quantity']} of {one['sku']} at {one['location']}"
    why = f" ({one['why']})" if one.get("why") else ""
    return f"{where} is {one['found']}, must be {one['expected']}{why}"


def _s(text: str) -> float:
    """A time in RFC 3339 as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
