"""The catalogue: put as JSON, or imported from a Shopify product CSV."""

import asyncio
import re

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import any_key, shop_with
from gateway.api.inputs import query_flag, read_body, read_json
from gateway.errors import Invalid
from gateway.model import CatalogEntry
from gateway.problems import problem
from gateway.rooms import Rooms
from gateway.shows import shopify
from gateway.shows.table import RowError
from gateway.stock.movements import MAX_BATCH

_CURRENCY = re.compile(r"[A-Z]{3}")


class CatalogBody(Struct, frozen=True):
    """Entries to add or change, or all there are."""

    entries: tuple[CatalogEntry, ...]


class CatalogPut(Struct, frozen=True):
    """How many entries were written."""

    variants: int


class ImportReport(Struct, frozen=True):
    """What an import did, and every row that is wrong; ``unreported`` are only counted."""

    products: int
    variants: int
    left_out: int
    errors: tuple[RowError, ...]
    unreported: int


_BODY = msgspec.json.Decoder(CatalogBody)


async def read(rooms: Rooms, request: Request) -> Response:
    """``GET /v1/catalog``: every entry, for any key of the shop."""
    shop = any_key(rooms, request).shop
    return as_json(CatalogBody(await rooms.catalog.entries(shop)))


async def put(rooms: Rooms, request: Request) -> Response:
    """``PUT /v1/catalog``: add or change entries, all or none; those not named stay."""
    shop = shop_with(rooms, request, "admin")
    body = await read_json(request, _BODY, rooms.settings.max_body_bytes)
    await rooms.catalog.put(shop, body.entries)
    return as_json(CatalogPut(len(body.entries)))


async def import_csv(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/catalog/import``: a Shopify product CSV; with a bad row nothing is imported.

    ``?skip_bad_rows=true`` imports the good rows, if there are any. ``?currency=`` says what the
    prices are in. Stock is set only where a sku has none, so importing again is harmless.
    """
    shop = shop_with(rooms, request, "admin")
    skip_bad_rows = query_flag(request, "skip_bad_rows")
    currency = request.query_params.get("currency", rooms.settings.currency)
    if not _CURRENCY.fullmatch(currency):
        raise Invalid("currency must be an ISO 4217 code, such as EUR.")
    body = await read_body(request, "text/csv", rooms.settings.max_body_bytes)
    # Thousands of rows take a while, and the loop has sockets to serve.
    file = await asyncio.to_thread(shopify.read, body, currency)
    if file.errors and not (skip_bad_rows and file.entries):
        return _refused(file)
    await put_on_sale(rooms, shop, file)
    return as_json(_report(file))


async def put_on_sale(rooms: Rooms, shop: str, file: shopify.CatalogFile) -> None:
    """Write a file's entries, then its stock; after a failure in between, do it again."""
    await rooms.catalog.put(shop, file.entries)
    movements = rooms.catalog.initial_stock(file.stock)
    for start in range(0, len(movements), MAX_BATCH):
        await rooms.movements.apply(shop, movements[start : start + MAX_BATCH], initial=True)


def _report(file: shopify.CatalogFile) -> ImportReport:
    return ImportReport(file.products, file.variants, file.left_out, file.errors, file.unreported)


def _refused(file: shopify.CatalogFile) -> Response:
    """The report of an import that did nothing is a problem as well."""
    report = msgspec.structs.replace(_report(file), products=0, variants=0)
    wrong = len(file.errors) + file.unreported
    rows = "1 row is" if wrong == 1 else f"{wrong} rows are"
    detail = f"Nothing was imported: {rows} wrong."
    return problem(Invalid.status, Invalid.code, detail, msgspec.structs.asdict(report))
