"""The table of claims on one machine: a file of SQLite's, shared by all our processes there.

``synchronous=FULL``: in WAL mode SQLite's default is to sync the log only now and then, and a power
cut takes back sales whose money is captured. The file must be on a local disk, for the log's index
is shared memory.

A transaction is one function in a thread of its own: whoever waits for it may be cancelled, and it
is done whole all the same. That is why no driver is between us and the standard library: those for
asyncio hand over one statement at a time, and a cancellation leaves half a transaction open.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.claims.sale import Sale, decide, every_unit
from gateway.claims.table import Claims, TableError
from gateway.settings import Settings

T = TypeVar("T")

SCHEMA = 1
_MAKE = (
    """CREATE TABLE holdfast_sales (
        shop TEXT NOT NULL, order_id TEXT NOT NULL, intent TEXT NOT NULL, hold TEXT NOT NULL,
        units TEXT NOT NULL, record BLOB NOT NULL, claimed_at INTEGER NOT NULL,
        void INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (shop, order_id)) STRICT""",
    """CREATE TABLE holdfast_units (
        shop TEXT NOT NULL, sku TEXT NOT NULL, location TEXT NOT NULL, number INTEGER NOT NULL,
        order_id TEXT NOT NULL,
        PRIMARY KEY (shop, sku, location, number)) STRICT, WITHOUT ROWID""",
    f"PRAGMA user_version = {SCHEMA}",
)
_OWNER = """SELECT order_id FROM holdfast_units
    WHERE shop = ? AND sku = ? AND location = ? AND number = ?"""
_TAKE = "INSERT INTO holdfast_units VALUES (?, ?, ?, ?, ?)"
_SELL = """INSERT INTO holdfast_sales VALUES (?, ?, ?, ?, ?, ?, ?, 0)
    ON CONFLICT (shop, order_id) DO UPDATE SET
        intent = excluded.intent, hold = excluded.hold, units = excluded.units,
        record = excluded.record, void = 0"""
_VOID = "UPDATE holdfast_sales SET void = 1 WHERE shop = ? AND order_id = ?"
_HAS = "SELECT 1 FROM holdfast_sales WHERE shop = ? AND order_id = ? AND NOT void"
_PAGE = """SELECT shop, order_id, intent, hold, units, record, claimed_at FROM holdfast_sales
    WHERE shop = ? AND order_id > ? AND (? OR NOT void) ORDER BY order_id LIMIT ?"""
_REWRITE = "UPDATE holdfast_sales SET record = ? WHERE shop = ? AND order_id = ?"
_SHOPS = "SELECT DISTINCT shop FROM holdfast_sales ORDER BY shop"
_AGAIN_S = 0.01


class SqliteClaims(Claims):
    """Claims in a file, which is made if it is not there."""

    def __init__(self, path: Path, settings: Settings) -> None:
        super().__init__(settings)
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="claims")
        self._connection: sqlite3.Connection | None = None
        self._stopped = threading.Event()

    def __str__(self) -> str:
        return f"sqlite://{self._path}"

    async def _write(self, sales: Sequence[Sale]) -> Sequence[str | None]:
        def write(connection: sqlite3.Connection) -> Sequence[str | None]:
            owners = {}
            for unit in every_unit(sales):
                for (owner,) in connection.execute(_OWNER, unit):
                    owners[unit] = owner
            verdict = decide(sales, owners)
            connection.executemany(_TAKE, [(*unit, order) for unit, order in verdict.units])
            connection.executemany(_SELL, [sale.row for sale in verdict.sales])
            return verdict.answers

        return await self._in_transaction(write)

    async def _void(self, shop: str, order: str) -> None:
        await self._in_transaction(lambda connection: connection.execute(_VOID, (shop, order)))

    async def _has(self, shop: str, order: str) -> bool:
        return await self._in_transaction(
            lambda connection: connection.execute(_HAS, (shop, order)).fetchone() is not None,
            "DEFERRED",
        )

    async def _page(self, shop: str, after: str, limit: int, *, void: bool) -> list[Sale]:
        def read(connection: sqlite3.Connection) -> list[Sale]:
            return list(map(Sale.of_row, connection.execute(_PAGE, (shop, after, void, limit))))

        return await self._in_transaction(read, "DEFERRED")

    async def _rewrite(self, shop: str, order: str, record: bytes) -> None:
        await self._in_transaction(
            lambda connection: connection.execute(_REWRITE, (record, shop, order))
        )
        await asyncio.get_running_loop().run_in_executor(self._thread, self._empty_log)

    def _empty_log(self) -> None:
        """The log has the pages as they were. It is emptied later if another reads."""
        if self._connection:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _shops(self) -> list[str]:
        return await self._in_transaction(
            lambda connection: [shop for (shop,) in connection.execute(_SHOPS)], "DEFERRED"
        )

    async def _shut(self) -> None:
        self._stopped.set()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await loop.run_in_executor(self._thread, self._hang_up)
        self._thread.shutdown(wait=False)

    async def _in_transaction(
        self, work: Callable[[sqlite3.Connection], T], lock: str = "IMMEDIATE"
    ) -> T:
        """Do something in the thread, in one transaction.

        One that writes takes the lock that only one process has from its beginning, so that nothing
        changes between what it reads and what it writes.
        """
        until_s = time.monotonic() + self._timeout_s

        def do() -> T:
            try:
                connection = self._connection or self._connect(until_s)
                connection.execute(f"BEGIN {lock}")
                done = work(connection)
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._hang_up()  # Which rolls back.
                raise TableError(str(error)) from error
            except BaseException:
                self._hang_up()
                raise
            return done

        return await asyncio.get_running_loop().run_in_executor(self._thread, do)

    def _connect(self, until_s: float) -> sqlite3.Connection:
        while True:
            try:
                return self._open()
            except sqlite3.OperationalError:
                # To change to WAL mode SQLite does not wait for another who does so just now.
                self._hang_up()
                if time.monotonic() >= until_s or self._stopped.wait(_AGAIN_S):
                    raise

    def _open(self) -> sqlite3.Connection:
        connection = self._connection = sqlite3.connect(
            self._path, timeout=self._timeout_s, isolation_level=None
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # What is erased is overwritten, and not only free for use.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        [(found,)] = connection.execute("PRAGMA user_version")
        if not found:
            for statement in _MAKE:
                connection.execute(statement)
        connection.execute("COMMIT")
        if found not in {0, SCHEMA}:
            raise TableError(f"the table has version {found}, and this program knows {SCHEMA}")
        return connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
