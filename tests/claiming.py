"""Tables of claims for tests, and processes that claim: ``python -m tests.claiming HOW …``.

race URL NAME OUT GO   waits for the file GO, makes ``race_of(NAME)`` at once, and writes the
                       answers to OUT as JSON
endless URL            claims sales of 20 units until it is killed
"""

import asyncio
import sqlite3
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from gateway.claims.address import open_claims
from gateway.claims.sale import Sale
from gateway.claims.table import Claims
from gateway.model import Numbered
from gateway.settings import Settings

SHOP = "shop"
RACE_UNITS = 50
ENDLESS_UNITS = 20


def sale(order: str, *units: Numbered, shop: str = SHOP) -> Sale:
    return Sale(shop, order, f"pi_{order}", f"h_{order}", units, b'{"phase":"committed"}', 7)


def tee(number: int, units: int = 1) -> Numbered:
    return ("tee", "main", number, units)


async def sales(claims: Claims, shop: str = SHOP) -> list[Sale]:
    """Every sale of a shop that is not void."""
    return [one async for one in claims.sales(shop)]


def race_of(name: str) -> list[Sale]:
    """A hundred sales: each of the race's units alone, and each again together with its neighbour;
    another name has other orders for the same units.
    """
    singles = [sale(f"{name}{number}", tee(number)) for number in range(RACE_UNITS)]
    pairs = [
        sale(f"{name}pair{number}", tee(number), tee((number + 1) % RACE_UNITS))
        for number in range(RACE_UNITS)
    ]
    mixed = [one for two in zip(singles, pairs, strict=True) for one in two]
    return mixed if name < "b" else mixed[::-1]


@dataclass(frozen=True, slots=True)
class Table:
    """A database of its own."""

    url: str

    @classmethod
    def within(cls, url: str) -> "Table":
        """A new, empty schema of a Postgres: as good as a database, and made at once."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return cls(f"{url}?options=-csearch_path%3D{name}")

    def claims(self, timeout_ms: int = 5_000, **settings: Any) -> Claims:
        """Somebody who claims in it, as a process of its own would."""
        given = Settings(claims_url=self.url, claims_timeout_ms=timeout_ms, **settings)
        claims = open_claims(given)
        assert claims
        return claims

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql")

    def connect(self) -> Any:
        """A connection past ours, in no transaction."""
        if self.is_postgres:
            return psycopg.connect(self.url, autocommit=True)
        return sqlite3.connect(self.url.removeprefix("sqlite://"), isolation_level=None)

    def ask(self, statement: str) -> list[Any]:
        connection = self.connect()
        try:
            found = connection.execute(statement)
            return list(found.fetchall()) if found.description else []
        finally:
            connection.close()

    def owners(self) -> dict[tuple[str, int], list[str]]:
        """Who has each unit; more than one where nothing keeps it from happening."""
        found: dict[tuple[str, int], list[str]] = {}
        for sku, number, order in self.ask("SELECT sku, number, order_id FROM holdfast_units"):
            found.setdefault((sku, number), []).append(order)
        return found


async def _race(table: Table, name: str, out: Path, go: Path) -> None:
    claims, sales = table.claims(timeout_ms=60_000), race_of(name)
    await claims.shops()
    out.with_suffix(".ready").touch()
    while not go.exists():  # noqa: ASYNC240 (nobody else is waiting)
        await asyncio.sleep(0.001)
    # A few at a time, so that many transactions of both meet.
    answers: list[str | None] = []
    for at in range(0, len(sales), 10):
        answers += await asyncio.gather(*map(claims.claim, sales[at : at + 10]))
    orders = (one.order for one in sales)
    written = out.with_suffix(".part")
    written.write_bytes(msgspec.json.encode(dict(zip(orders, answers, strict=True))))
    written.rename(out)
    await claims.aclose()


async def _endless(table: Table) -> None:
    claims, number = table.claims(), 1
    while True:
        sales = []
        for _ in range(10):
            sales.append(sale(f"order{number}", tee(number, ENDLESS_UNITS)))
            number += ENDLESS_UNITS
        await asyncio.gather(*map(claims.claim, sales))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["race", url, name, out, go]:
            asyncio.run(_race(Table(url), name, Path(out), Path(go)))
        case ["endless", url]:
            asyncio.run(_endless(Table(url)))
