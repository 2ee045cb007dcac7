"""What the demo till knows, in SQLite: every event once, and the latest state of every order."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

_Count = Annotated[int, Meta(ge=0, le=10**12)]
"""What SQLite, and a sum of many, can hold."""

_EVER = datetime.min.replace(tzinfo=UTC)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, order_id TEXT NOT NULL, version INTEGER NOT NULL, received_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
  id TEXT PRIMARY KEY, version INTEGER NOT NULL, units INTEGER NOT NULL, amount INTEGER NOT NULL,
  currency TEXT NOT NULL, event_id TEXT NOT NULL, body TEXT NOT NULL, received_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS duplicates (event_id TEXT NOT NULL, received_at TEXT NOT NULL);
"""

_REFUNDED = """
SELECT currency, sum(json_extract(refund.value, '$.amount.amount'))
FROM orders, json_each(orders.body, '$.data.refunds') AS refund GROUP BY currency
"""


class _Money(Struct):
    amount: _Count
    currency: str


class _Line(Struct):
    quantity: _Count


class _Refund(Struct):
    amount: _Money


class _Order(Struct):
    id: str
    order_version: _Count
    lines: tuple[_Line, ...]
    total: _Money
    refunds: tuple[_Refund, ...] = ()
    erased: bool = False


class Event(Struct):
    """What of an order event is looked at."""

    id: str
    data: _Order


class Book:
    """What the till knows, in SQLite; ``:memory:`` forgets it."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA}")
        # What a version without contact takes away is overwritten, and not only free for use.
        self._db.execute("PRAGMA secure_delete=ON")

    def take(self, event: Event, body: str) -> bool:
        """Keep an event and its effect in one transaction; ``False`` if it was here before.

        An erased order's contact is nowhere in the file any more, and an earlier version that
        comes late does not bring it back.
        """
        order, now = event.data, _text(datetime.now(UTC))
        units = sum(line.quantity for line in order.lines)
        with self._transaction() as db:
            new = db.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (event.id, order.id, order.order_version, now),
            ).rowcount
            if not new:
                db.execute("INSERT INTO duplicates VALUES (?, ?)", (event.id, now))
                return False
            db.execute(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " version=excluded.version, units=excluded.units, amount=excluded.amount,"
                " currency=excluded.currency, event_id=excluded.event_id, body=excluded.body"
                " WHERE excluded.version > version",
                (
                    *(order.id, order.order_version, units, order.total.amount),
                    *(order.total.currency, event.id, body, now),
                ),
            )
        if order.erased:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def orders(self, limit: int = -1, since: datetime = _EVER) -> list[dict[str, Any]]:
        """The events that are each order's latest state, newest order first.

        Args:
            since: only orders that were first received at this time or later.
        """
        rows = self._db.execute(
            "SELECT body FROM orders WHERE received_at >= ? ORDER BY rowid DESC LIMIT ?",
            (_text(since), limit),
        )
        return [json.loads(body) for (body,) in rows]

    def summary(self) -> dict[str, Any]:
        """How many orders, units and duplicates there are, and the money by currency.

        An order counts as it was sold, whatever became of it; ``refunded`` is what went back.
        """
        orders, units = self._db.execute(
            "SELECT count(*), coalesce(sum(units), 0) FROM orders"
        ).fetchone()
        amounts = self._db.execute("SELECT currency, sum(amount) FROM orders GROUP BY currency")
        refunded = self._db.execute(_REFUNDED)
        duplicates = self._db.execute("SELECT count(*) FROM duplicates").fetchone()[0]
        return {
            "orders": orders,
            "units": units,
            "amount": dict(amounts.fetchall()),
            "refunded": dict(refunded.fetchall()),
            "duplicates": duplicates,
        }

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
