"""The table of claims, SQLite's and Postgres' alike: each unit has one order, whatever happens.

``HOLDFAST_TEST_CLAIM_RACES=50 pytest -n 0 tests/integration/test_claims_in_trouble.py`` runs the
race between two processes, and the kill in mid-claim, that often.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from gateway.claims.postgres import PostgresClaims
from gateway.claims.table import Claims
from gateway.errors import Overloaded, Unavailable
from gateway.sandbox.warden import Warden
from loadtest.postgres import EmbeddedPostgres
from tests.claiming import ENDLESS_UNITS, RACE_UNITS, SHOP, Table, race_of, sale, sales, tee
from tests.depth import deep, many
from tests.insist import insist
from tests.processes import Process

RACES = many("CLAIM_RACES", 1, 10)
SILENT_MS = 150
IN_TIME_S = 30


@deep
@pytest.mark.parametrize("_", range(RACES))
async def test_a_race_of_two_processes_for_the_same_units(
    warden: Warden, table: Table, tmp_path: Path, _: int
) -> None:
    """Two hundred claims of fifty units: each unit has one order, and who has not all has none."""
    go, outs = tmp_path / "go", {name: tmp_path / f"out-{name}" for name in "ab"}
    environment = {"PATH": os.environ["PATH"]}
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        for name, out in outs.items():
            arguments = ["-m", "tests.claiming", "race", table.url, name, str(out), str(go)]
            await stack.enter_async_context(Process(warden, arguments, environment))
        await there(*(out.with_suffix(".ready") for out in outs.values()))
        go.touch()
        await there(*outs.values())
    answers: dict[str, str | None] = {}
    for out in outs.values():
        answers |= msgspec.json.decode(out.read_bytes())
    owners = table.owners()
    assert sorted(owners) == [("tee", number) for number in range(RACE_UNITS)]
    assert all(len(orders) == 1 for orders in owners.values())
    for one in race_of("a") + race_of("b"):
        have = {owners[unit.sku, unit.number][0] for unit in one.each_unit}
        if (other := answers[one.order]) is None:
            assert have == {one.order}
        else:
            assert other in have
            assert one.order not in have


async def there(*paths: Path) -> None:
    while not all(path.exists() for path in paths):
        await asyncio.sleep(0.01)


@deep
@pytest.mark.parametrize("_", range(RACES))
async def test_killed_in_the_middle_it_leaves_nothing_half(
    warden: Warden, table: Table, claims: Claims, _: int
) -> None:
    environment = {"PATH": os.environ["PATH"]}
    async with asyncio.timeout(60):
        await claims.shops()
        async with Process(
            warden, ["-m", "tests.claiming", "endless", table.url], environment
        ) as one:
            while len(found := await sales(claims)) < 100:
                await asyncio.sleep(0.01)
            one.child.send_signal(signal.SIGKILL)
            await one.ended()
        found = await sales(claims)
    whole = {unit for one in found for unit in one.each_unit}
    assert len(whole) == len(found) * ENDLESS_UNITS
    assert {("tee", unit.number) for unit in whole} == set(table.owners())
    # Nor does it leave a lock.
    assert await claims.claim(sale("ann", ("cap", "main", 1, 1))) is None


@contextlib.contextmanager
def locked(table: Table) -> Iterator[None]:
    """Somebody else has the table, and does not let go of it."""
    connection = table.connect()
    try:
        if table.is_postgres:
            connection.autocommit = False
            connection.execute("LOCK TABLE holdfast_units, holdfast_sales")
        else:
            connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()
    finally:
        connection.close()


@pytest.fixture
async def impatient(table: Table, claims: Claims) -> AsyncIterator[Claims]:
    """Who does not wait long for a table, which is made already."""
    await claims.shops()
    async with contextlib.aclosing(table.claims(SILENT_MS, claims_queue=3)) as impatient:
        yield impatient


async def test_a_table_that_is_locked_says_so_in_time(table: Table, impatient: Claims) -> None:
    async with asyncio.timeout(IN_TIME_S):
        with locked(table):
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await impatient.claim(sale("ann", tee(1)))
            with pytest.raises(Unavailable):
                await impatient.void(SHOP, "ann")
        assert await insist(lambda: impatient.claim(sale("bob", tee(2)))) is None


async def test_too_many_that_wait_are_told_so_at_once(table: Table, impatient: Claims) -> None:
    with locked(table):
        first = asyncio.create_task(impatient.claim(sale("order", tee(0))))
        while impatient._committing is None or impatient.waiting:
            await asyncio.sleep(0.001)
        waiting = [
            asyncio.create_task(impatient.claim(sale(f"order{number}", tee(number))))
            for number in (1, 2, 3)
        ]
        await asyncio.sleep(0)
        assert len(impatient._waiting) == 3
        with pytest.raises(Overloaded):
            await impatient.claim(sale("one too many", tee(4)))
        outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}


async def test_who_gave_up_waiting_spoils_nothing(table: Table) -> None:
    async with contextlib.aclosing(table.claims()) as claims:
        await claims.shops()
        with locked(table):
            tasks = [
                asyncio.create_task(claims.claim(sale(f"order{number}", tee(number))))
                for number in range(3)
            ]
            await asyncio.sleep(0.02)
            tasks[0].cancel()
            tasks[2].cancel()
        assert await tasks[1] is None
        assert await claims.claim(sale("order0", tee(0))) is None


async def test_closed_it_tells_those_who_wait(table: Table, impatient: Claims) -> None:
    with locked(table):
        tasks = [asyncio.create_task(impatient.claim(sale(one, tee(1)))) for one in ("ann", "bob")]
        await asyncio.sleep(0)
        await impatient.aclose()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    with pytest.raises(Unavailable):
        await impatient.claim(sale("cat", tee(1)))


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Table:
    return Table.within(postgres.url)


@pytest.mark.parametrize("unique", [True, False], ids=["with the key", "without"])
async def test_between_reading_and_writing_only_the_key_decides(
    database: Table, monkeypatch: pytest.MonkeyPatch, *, unique: bool
) -> None:
    """Two gateways have both read that nobody has a unit. Without the key, both get it."""
    both = [database.claims(), database.claims()]
    await both[0].shops()
    if not unique:
        database.ask("ALTER TABLE holdfast_units DROP CONSTRAINT holdfast_units_pkey")
    met = asyncio.Barrier(2)
    take, writes = PostgresClaims._take, 0

    async def meet(self: PostgresClaims, connection: Any, rows: Any) -> None:
        nonlocal writes
        writes += 1
        if writes <= 2:
            await met.wait()
        await take(self, connection, rows)

    monkeypatch.setattr(PostgresClaims, "_take", meet)
    wanted = [sale("ann", tee(1, 2)), sale("bob", tee(2, 2))]
    answers = await asyncio.gather(
        *(claims.claim(one) for claims, one in zip(both, wanted, strict=True))
    )
    doubles = [orders for orders in database.owners().values() if len(orders) > 1]
    if unique:
        assert sorted(answers, key=str) in ([None, "ann"], [None, "bob"])
        assert doubles == []
    else:
        assert answers == [None, None]
        assert [sorted(orders) for orders in doubles] == [["ann", "bob"]]
    for claims in both:
        await claims.aclose()


async def test_postgres_is_down_and_up_again(postgres: EmbeddedPostgres, database: Table) -> None:
    async with contextlib.aclosing(database.claims(1_000)) as claims:
        assert await claims.claim(sale("ann", tee(1))) is None
        postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await claims.claim(sale("bob", tee(2)))
        finally:
            await asyncio.to_thread(postgres.start)
        assert await claims.claim(sale("bob", tee(1))) == "ann"
        postgres.stop()
        await asyncio.to_thread(postgres.start)
        # Nobody has noticed that the connection is old.
        assert await claims.claim(sale("bob", tee(2))) is None


async def test_postgres_hears_and_says_nothing(postgres: EmbeddedPostgres, database: Table) -> None:
    async with (
        contextlib.aclosing(database.claims()) as claims,
        contextlib.aclosing(database.claims(SILENT_MS)) as impatient,
        asyncio.timeout(IN_TIME_S),
    ):
        await claims.shops()
        await insist(lambda: impatient.claim(sale("ann", tee(1))))
        with paused(postgres):
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await impatient.claim(sale("bob", tee(2)))
        assert await insist(lambda: impatient.claim(sale("cat", tee(3)))) is None


@contextlib.contextmanager
def paused(postgres: EmbeddedPostgres) -> Iterator[None]:
    """The server and every connection to it stand still."""
    with psycopg.connect(postgres.url, autocommit=True) as other:
        backends = other.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid()"
        )
        pids = [postgres.pid, *(pid for (pid,) in backends)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
