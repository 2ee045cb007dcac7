"""Stock in Postgres: a row for each sku under a row lock, or a row for each unit.

asyncpg, the fastest driver for asyncio; prepared statements; a pool whose connections are not
reset between borrowers, which would be a round trip more. The hold's key is the primary key, so
that a repeated request breaks the transaction and finds its hold.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.ways import Books, Options, Places, Wish

POOL = 8
"""More only wait for the same row; of 4 to 32 on two cores this or 4 was the fastest."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (
  sku text PRIMARY KEY, available int NOT NULL CHECK (available >= 0)
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS hold (
  id text PRIMARY KEY, shopper text NOT NULL, skus text[] NOT NULL, expires_at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS unit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sku text NOT NULL, hold text
);
CREATE INDEX IF NOT EXISTS unit_free ON unit (sku) WHERE hold IS NULL;
CREATE OR REPLACE FUNCTION reserve(the_hold text, the_shopper text, the_skus text[])
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE one text;
BEGIN
  -- The hot row comes last, so that its lock is had for the shortest time.
  INSERT INTO hold VALUES (the_hold, the_shopper, the_skus, now() + interval '2 minutes');
  FOREACH one IN ARRAY the_skus LOOP
    UPDATE stock SET available = available - 1 WHERE sku = one AND available >= 1;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'HF001', MESSAGE = 'sold out';
    END IF;
  END LOOP;
  RETURN true;
END $$;
"""
INSERT = "INSERT INTO hold VALUES ($1, $2, $3, now() + interval '2 minutes')"
TAKE = "UPDATE stock SET available = available - 1 WHERE sku = $1 AND available >= 1 RETURNING 1"
TAKE_UNIT = """
WITH free AS (
  SELECT id FROM unit WHERE sku = $3 AND hold IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED
), taken AS (
  UPDATE unit SET hold = $1 FROM free WHERE unit.id = free.id RETURNING unit.id
)
INSERT INTO hold SELECT $1, $2, ARRAY[$3], now() + interval '2 minutes' FROM taken
RETURNING true
"""
SOLD_OUT = "HF001"


class SoldOutError(Exception):
    """Not enough is left: the transaction is rolled back."""


@dataclass(slots=True)
class RowLock:
    """One transaction: BEGIN, INSERT the hold, UPDATE the hot row last, COMMIT."""

    pool: Any

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Fill the shelf."""
        await self._empty()
        await self.pool.executemany("INSERT INTO stock VALUES ($1, $2)", [(s, units) for s in skus])
        await self.pool.execute("UPDATE tally SET units = $1", units * len(skus))

    async def _empty(self) -> None:
        await self.pool.execute(SCHEMA)
        await self.pool.execute("TRUNCATE stock, hold, unit")
        await self.pool.execute("CREATE TABLE IF NOT EXISTS tally AS SELECT 0 AS units")

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        from asyncpg import UniqueViolationError

        skus = sorted(wish.skus)
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.execute(INSERT, wish.hold, wish.shopper, skus)
                for sku in skus:
                    if await connection.fetchval(TAKE, sku) is None:
                        raise SoldOutError
        except UniqueViolationError:
            return wish.hold
        except SoldOutError:
            return None
        return wish.hold

    async def books(self) -> Books:
        """Read what was sold from the store itself."""
        row = await self.pool.fetchrow(
            "SELECT (SELECT units FROM tally) - (SELECT sum(available) FROM stock),"
            " (SELECT count(*) FROM hold)"
        )
        return Books(int(row[0]), row[1])


@dataclass(slots=True)
class RowLockInOneCall(RowLock):
    """The same transaction inside a function of the server: one round trip."""

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        from asyncpg import PostgresError, UniqueViolationError

        try:
            await self.pool.fetchval(
                "SELECT reserve($1, $2, $3)", wish.hold, wish.shopper, sorted(wish.skus)
            )
        except UniqueViolationError:
            return wish.hold
        except PostgresError as error:
            if error.sqlstate != SOLD_OUT:
                raise
            return None
        return wish.hold


@dataclass(slots=True)
class SkipLocked(RowLock):
    """A row for each unit: take any that nobody is taking, in one statement. One sku a wish."""

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Fill the shelf."""
        await self._empty()
        await self.pool.execute(
            "INSERT INTO unit (sku) SELECT unnest($1::text[]) FROM generate_series(1, $2)",
            list(skus),
            units,
        )
        await self.pool.execute("ANALYZE unit")

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        from asyncpg import UniqueViolationError

        (sku,) = wish.skus
        try:
            taken = await self.pool.fetchval(TAKE_UNIT, wish.hold, wish.shopper, sku)
        except UniqueViolationError:
            return wish.hold
        if taken or await self.pool.fetchval("SELECT true FROM hold WHERE id = $1", wish.hold):
            return wish.hold
        return None

    async def books(self) -> Books:
        """Read what was sold from the store itself."""
        row = await self.pool.fetchrow(
            "SELECT (SELECT count(*) FROM unit WHERE hold IS NOT NULL), (SELECT count(*) FROM hold)"
        )
        return Books(row[0], row[1])


@contextlib.asynccontextmanager
async def _pool(places: Places, options: Options) -> AsyncIterator[Any]:
    """Options: ``pool``, connections; ``synchronous`` 0 for ``synchronous_commit=off``."""
    import asyncpg

    size = int(options.get("pool", POOL))
    async with asyncpg.create_pool(
        places.postgres,
        min_size=size,
        max_size=size,
        reset=_nothing,
        server_settings={"synchronous_commit": "on" if options.get("synchronous", 1) else "off"},
    ) as pool:
        yield pool


async def _nothing(_connection: object) -> None:
    """What a returned connection needs: it changed no setting and left no transaction."""


@contextlib.asynccontextmanager
async def row_lock(places: Places, options: Options) -> AsyncIterator[RowLock]:
    """A row lock in a transaction of four round trips."""
    async with _pool(places, options) as pool:
        yield RowLock(pool)


@contextlib.asynccontextmanager
async def row_lock_in_one_call(places: Places, options: Options) -> AsyncIterator[RowLockInOneCall]:
    """A row lock in one round trip."""
    async with _pool(places, options) as pool:
        yield RowLockInOneCall(pool)


@contextlib.asynccontextmanager
async def skip_locked(places: Places, options: Options) -> AsyncIterator[SkipLocked]:
    """A row for each unit."""
    async with _pool(places, options) as pool:
        yield SkipLocked(pool)
