"""The table of claims beyond one machine: Postgres.

The primary key of the units decides, whoever writes at once. A transaction reads who has its units
and writes what nobody has; if another has written one of them in between, the key refuses, and the
whole transaction is done again, which reads the other's row then.

One connection is kept, as there is one transaction at a time; it is given up as soon as anything is
wrong with it. That needs no pool, and nothing that makes connections while nobody asks.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
from psycopg import AsyncConnection, errors

from gateway.claims.sale import Sale, Unit, decide, every_unit
from gateway.claims.table import Claims, TableError
from gateway.settings import Settings

T = TypeVar("T")
Connection = AsyncConnection[tuple[Any, ...]]

SCHEMA = 1
_TIMES = 5
"""How often a transaction is done again that others are in the way of; each time one is ahead."""
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(0x686f6c6466617374)"
"""Two that make the same table at once would be in each other's way. The number is our name."""
_VERSION_TABLE = "CREATE TABLE IF NOT EXISTS holdfast_claims (version integer NOT NULL)"
_MAKE = (
    """CREATE TABLE holdfast_sales (
        shop text COLLATE "C", order_id text COLLATE "C", intent text NOT NULL, hold text NOT NULL,
        units text NOT NULL, record bytea NOT NULL, claimed_at bigint NOT NULL,
        void boolean NOT NULL,
        PRIMARY KEY (shop, order_id))""",
    """CREATE TABLE holdfast_units (
        shop text COLLATE "C", sku text COLLATE "C", location text COLLATE "C", number bigint,
        order_id text NOT NULL,
        PRIMARY KEY (shop, sku, location, number))""",
)
"""In the collation ``C``, for a unique index by another may break when the system is updated."""
_LIMITS = """SELECT set_config('synchronous_commit', 'on', true),
    set_config('statement_timeout', %(ms)s, true),
    set_config('idle_in_transaction_session_timeout', %(ms)s, true)"""
"""For this transaction: it is on the disk when it is committed, whatever the server's default is;
and a process that freezes in the middle does not keep the others waiting."""
_OWNERS = """SELECT shop, sku, location, number, order_id FROM holdfast_units
    JOIN unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
        AS wanted (shop, sku, location, number) USING (shop, sku, location, number)"""
_TAKE = """INSERT INTO holdfast_units
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[])"""
_SELL = """INSERT INTO holdfast_sales
    SELECT *, false FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
        %s::bytea[], %s::bigint[])
    ON CONFLICT (shop, order_id) DO UPDATE SET
        intent = excluded.intent, hold = excluded.hold, units = excluded.units,
        record = excluded.record, void = false"""
_VOID = "UPDATE holdfast_sales SET void = true WHERE shop = %s AND order_id = %s"
_HAS = "SELECT 1 FROM holdfast_sales WHERE shop = %s AND order_id = %s AND NOT void"
_PAGE = """SELECT shop, order_id, intent, hold, units, record, claimed_at FROM holdfast_sales
    WHERE shop = %s AND order_id > %s AND (%s OR NOT void)
    ORDER BY order_id LIMIT %s"""
_REWRITE = "UPDATE holdfast_sales SET record = %s WHERE shop = %s AND order_id = %s"
_SHOPS = "SELECT DISTINCT shop FROM holdfast_sales ORDER BY shop"


class PostgresClaims(Claims):
    """Claims in a database of Postgres', whose tables are made if they are not there."""

    def __init__(self, url: str, settings: Settings) -> None:
        super().__init__(settings)
        self._url = url
        self._timeout_ms = str(settings.claims_timeout_ms)
        self._connection: Connection | None = None

    def __str__(self) -> str:
        parts = urlsplit(self._url)
        return f"postgresql://{parts.hostname or ''}{parts.path}"

    async def _write(self, sales: Sequence[Sale]) -> Sequence[str | None]:
        async def write(connection: Connection) -> Sequence[str | None]:
            units = every_unit(sales)
            found = await connection.execute(_OWNERS, _columns(units, 4))
            owners = {Unit(*unit): order for *unit, order in await found.fetchall()}
            verdict = decide(sales, owners)
            await self._take(connection, [(*unit, order) for unit, order in verdict.units])
            if verdict.sales:
                await connection.execute(_SELL, _columns([one.row for one in verdict.sales], 7))
            return verdict.answers

        return await self._in_transaction(write)

    async def _take(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            await connection.execute(_TAKE, _columns(rows, 5))

    async def _void(self, shop: str, order: str) -> None:
        await self._in_transaction(lambda connection: connection.execute(_VOID, (shop, order)))

    async def _has(self, shop: str, order: str) -> bool:
        return bool(await self._read(_HAS, (shop, order)))

    async def _page(self, shop: str, after: str, limit: int, *, void: bool) -> list[Sale]:
        return [Sale.of_row(row) for row in await self._read(_PAGE, (shop, after, void, limit))]

    async def _rewrite(self, shop: str, order: str, record: bytes) -> None:
        # The former version of the row stays in the file until the server's VACUUM.
        values = (record, shop, order)
        await self._in_transaction(lambda connection: connection.execute(_REWRITE, values))

    async def _shops(self) -> list[str]:
        return [shop for (shop,) in await self._read(_SHOPS, ())]

    async def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        async def read(connection: Connection) -> list[tuple[Any, ...]]:
            found = await connection.execute(query, values)
            return await found.fetchall()

        return await self._in_transaction(read)

    async def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            await connection.close()

    async def _in_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something in one transaction; on a new connection if the kept one is dead by now."""
        kept, self._connection = self._connection, None
        try:
            if kept:
                with contextlib.suppress(psycopg.OperationalError):
                    return await self._on(kept, work)
            return await self._on(await self._connect(), work)
        except psycopg.Error as error:
            raise TableError(_said(error)) from error

    async def _on(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            done = await self._as_often_as_needed(connection, work)
        except BaseException:
            await connection.close()
            raise
        if self._connection or self._closed:
            await connection.close()
        else:
            self._connection = connection
        return done

    async def _as_often_as_needed(
        self, connection: Connection, work: Callable[[Connection], Awaitable[T]]
    ) -> T:
        for _ in range(_TIMES):
            with contextlib.suppress(
                errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure
            ):
                # In a pipeline: what need not wait for an answer costs no round trip.
                async with connection.pipeline(), connection.transaction():
                    await connection.execute(_LIMITS, {"ms": self._timeout_ms})
                    return await work(connection)
        raise TableError("others were ahead each time")

    async def _connect(self) -> Connection:
        try:
            # Poolers between us and the server may lose what is prepared.
            connection = await AsyncConnection.connect(
                self._url, autocommit=True, prepare_threshold=None, application_name="holdfast"
            )
        except psycopg.ProgrammingError:
            # Its words repeat what could not be read, which may be the password.
            raise TableError("its address cannot be read") from None
        try:
            await self._make(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _make(self, connection: Connection) -> None:
        """Make the tables unless they are there."""
        async with connection.transaction():
            await connection.execute(_LIMITS, {"ms": self._timeout_ms})
            there = await (
                await connection.execute("SELECT to_regclass('holdfast_claims')")
            ).fetchone()
            if there == (None,):
                await connection.execute(_ONE_AT_A_TIME)
                await connection.execute(_VERSION_TABLE)
            found = await (
                await connection.execute("SELECT version FROM holdfast_claims")
            ).fetchone()
            if found is None:
                for statement in _MAKE:
                    await connection.execute(statement)
                await connection.execute("INSERT INTO holdfast_claims VALUES (%s)", (SCHEMA,))
            elif found != (SCHEMA,):
                raise TableError(
                    f"the table has version {found[0]}, and this program knows {SCHEMA}"
                )


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as arrays, one for each column: one statement for as many rows as there are."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _said(error: psycopg.Error) -> str:
    """What went wrong, in one line; the server's own words name no values of ours."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
