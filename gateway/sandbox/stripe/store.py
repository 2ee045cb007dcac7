"""Where the money lives: SQLite, one row a resource, its JSON as Stripe shows it.

The calls are synchronous: a row in memory or in the page cache costs microseconds, and a handler
that never awaits is its own lock.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

Json: TypeAlias = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    created INTEGER NOT NULL,
    status TEXT,
    payment_intent TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS by_kind ON resources (kind, seq);
CREATE INDEX IF NOT EXISTS by_intent ON resources (payment_intent, kind, seq);
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    made INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS by_age ON replies (made);
"""

_COMPARISONS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

_COLUMNS = frozenset({"kind", "created", "status", "payment_intent", "seq"})


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: what goes out, and what an idempotency key replays."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply as it was recorded under an idempotency key."""

    path: str
    fingerprint: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on resources: a column, or a member of the body (`type`, `charge`)."""

    name: str
    value: str | int
    comparison: str = "eq"

    def sql(self) -> str:
        """The condition with one placeholder."""
        operand = self.name if self.name in _COLUMNS else f"json_extract(body, '$.{self.name}')"
        return f"{operand} {_COMPARISONS[self.comparison]} ?"


class Store:
    """Resources by id and kind, and recorded replies. `path` may be `:memory:`."""

    def __init__(self, path: str) -> None:
        # Autocommit, so that `transaction` alone decides what belongs together.
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or, if the block raises, none of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def add(self, resource: Json) -> Json:
        """Keep a new resource and give it back."""
        row = (
            resource["id"],
            resource["object"],
            resource["created"],
            resource.get("status"),
            resource.get("payment_intent"),
            _encoded(resource),
        )
        self._db.execute(
            "INSERT INTO resources (id, kind, created, status, payment_intent, body)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )
        return resource

    def change(self, resource: Json, **members: object) -> Json:
        """Keep a resource with other `members` and give the new one back."""
        changed = resource | members
        self._db.execute(
            "UPDATE resources SET status = ?, payment_intent = ?, body = ? WHERE id = ?",
            (
                changed.get("status"),
                changed.get("payment_intent"),
                _encoded(changed),
                changed["id"],
            ),
        )
        return changed

    def get(self, kind: str, identifier: str) -> Json | None:
        """The resource, or None."""
        row = self._db.execute(
            "SELECT body FROM resources WHERE id = ? AND kind = ?", (identifier, kind)
        ).fetchone()
        return None if row is None else msgspec.json.decode(row[0])

    def any(self, identifier: str) -> Json | None:
        """The resource of whatever kind, or None."""
        row = self._db.execute("SELECT body FROM resources WHERE id = ?", (identifier,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0])

    def position(self, kind: str, identifier: str) -> int | None:
        """Where in the order of creation it stands."""
        row = self._db.execute(
            "SELECT seq FROM resources WHERE id = ? AND kind = ?", (identifier, kind)
        ).fetchone()
        return None if row is None else int(row[0])

    def find(
        self, conditions: list[Where], limit: int, *, oldest_first: bool = False
    ) -> list[Json]:
        """Up to `limit` resources that meet all conditions, newest first unless told."""
        where = " AND ".join(condition.sql() for condition in conditions) or "1"
        order = "ASC" if oldest_first else "DESC"
        rows = self._db.execute(
            f"SELECT body FROM resources WHERE {where} ORDER BY seq {order} LIMIT ?",  # noqa: S608 - names come from code, values are bound
            (*(condition.value for condition in conditions), limit),
        )
        return [msgspec.json.decode(body) for (body,) in rows]

    def forget_unspent(self, kind: str, keep: int) -> None:
        """Drop resources of a kind that no payment intent has used, but for the newest `keep`."""
        self._db.execute(
            "DELETE FROM resources WHERE payment_intent IS NULL AND kind = ? AND seq <="
            " (SELECT seq FROM resources WHERE payment_intent IS NULL AND kind = ?"
            " ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (kind, kind, keep),
        )

    def tally(self, kind: str, member: str) -> list[tuple[str, str, int, int]]:
        """(status, currency, count, sum of the integer `member`) of a kind."""
        return self._db.execute(
            "SELECT coalesce(status, ''), json_extract(body, '$.currency'), count(*),"
            " sum(json_extract(body, ?)) FROM resources WHERE kind = ? GROUP BY 1, 2",
            (f"$.{member}", kind),
        ).fetchall()

    def recall(self, key: str) -> Kept | None:
        """The reply recorded under an idempotency key."""
        row = self._db.execute(
            "SELECT path, fingerprint, status, body, headers FROM replies WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        path, fingerprint, status, body, headers = row
        return Kept(path, fingerprint, Reply(status, body, msgspec.json.decode(headers)))

    def record(self, key: str, kept: Kept, made: int) -> None:
        """Keep a reply under its key."""
        self._db.execute(
            "INSERT INTO replies (key, path, fingerprint, status, headers, body, made)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                kept.path,
                kept.fingerprint,
                kept.reply.status,
                _encoded(dict(kept.reply.headers)),
                kept.reply.body,
                made,
            ),
        )

    def forget_replies(self, made_before: int) -> None:
        """Drop replies older than that time."""
        self._db.execute("DELETE FROM replies WHERE made < ?", (made_before,))


def _encoded(body: Json) -> str:
    return msgspec.json.encode(body).decode()
