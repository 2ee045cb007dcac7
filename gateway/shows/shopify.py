"""Reads a Shopify product CSV: catalogue entries, initial stock, and every row that is wrong.

A product is all rows with one ``Handle``. Its first row says what holds for all of them: title,
description, option names, image, whether it is published. A row with a price, a SKU or an option
value is a variant; any other row only carries a further image. Pure, and total: whatever the file
holds, the answer is a ``CatalogFile``.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field

from msgspec import Struct

from gateway.cards import holds_card_number
from gateway.model import ID_PATTERN, MAX_QUANTITY, CatalogEntry, Money
from gateway.shows.plain_text import plain_text
from gateway.shows.prices import minor_units
from gateway.shows.table import Code, Findings, Row, RowError, read_rows

MAX_ERRORS = 100
"""Errors reported one by one; the others are only counted."""

MAX_TITLE = 500
MAX_OPTION = 255
MAX_IMAGE = 2000
MAX_DESCRIPTION = 5000
"""A longer description is shortened; a longer title, option or image address is an error."""

MAX_ID = 64
HASH_DIGITS = 8
"""Of the hash that makes a generated sku unique."""

MAX_SHOWN = 40
"""Characters of a wrong cell that its error repeats."""

_REQUIRED = ("Handle", "Title", "Variant Price")
_OPTION_NUMBERS = (1, 2, 3)
_READ = (
    *("Handle", "Title", "Body (HTML)", "Published", "Status", "Image Src", "Variant Image"),
    *("Variant SKU", "Variant Price", "Variant Compare At Price", "Variant Inventory Qty"),
    *(f"Option{number} {what}" for number in _OPTION_NUMBERS for what in ("Name", "Value")),
)
"""The columns that are kept, or repeated by an error. Others may hold what they like: a barcode of
14 digits can look like a card number."""
_QUANTITY = re.compile(r"[0-9]{1,9}")
_IMAGE = re.compile(r"https?://\S+", re.IGNORECASE)


class CatalogFile(Struct, frozen=True):
    """What a file says. With errors it is incomplete: the rows they name are not in it.

    ``stock`` has the initial quantity of every entry, by sku. ``left_out`` counts products that
    are unpublished, drafts or archived. ``unreported`` counts errors beyond ``MAX_ERRORS``.
    """

    entries: tuple[CatalogEntry, ...]
    stock: dict[str, int]
    products: int
    variants: int
    left_out: int
    errors: tuple[RowError, ...]
    unreported: int


@dataclass(frozen=True, slots=True)
class _Product:
    """What a product's first row says for all its variants."""

    handle: str
    title: str
    description: str | None
    image: str | None
    option_names: tuple[str, ...]
    is_good: bool


@dataclass(slots=True)
class _Reading:
    """One file being read: what was found so far, and what was wrong."""

    currency: str
    findings: Findings
    explicit_skus: frozenset[str] = frozenset()
    entries: dict[str, CatalogEntry] = field(default_factory=dict)
    stock: dict[str, int] = field(default_factory=dict)
    sku_lines: dict[str, int] = field(default_factory=dict)

    def wrong(self, row: Row, code: Code, message: str) -> None:
        self.findings.add(row.line, code, message)

    def count_wrong(self) -> int:
        return len(self.findings.errors)

    def is_taken(self, sku: str) -> bool:
        return sku in self.explicit_skus or sku in self.sku_lines


def read(text: str | bytes, currency: str) -> CatalogFile:
    """Read a whole file; prices are taken to be in ``currency`` (ISO 4217).

    Never raises for what the file holds: all that is wrong is in ``errors``, in order of lines.
    """
    findings = Findings()
    products: dict[str, list[Row]] = {}
    for row in read_rows(text, _REQUIRED, findings):
        if _holds_card_number(row):
            findings.add(row.line, "card_number", "The row holds a card number.")
        elif row["Handle"]:
            products.setdefault(row["Handle"], []).append(row)
        else:
            findings.add(row.line, "missing_handle", "The row has no Handle.")
    listed = [rows for rows in products.values() if _is_listed(rows[0])]
    skus = frozenset(row["Variant SKU"] for rows in listed for row in rows)
    reading = _Reading(currency, findings, skus)
    sold = sum(_read_product(rows, reading) for rows in listed)
    errors = sorted(findings.errors, key=lambda error: error.line)
    return CatalogFile(
        entries=tuple(reading.entries.values()),
        stock=reading.stock,
        products=sold,
        variants=len(reading.entries),
        left_out=len(products) - len(listed),
        errors=tuple(errors[:MAX_ERRORS]),
        unreported=len(errors[MAX_ERRORS:]),
    )


def _holds_card_number(row: Row) -> bool:
    """Whether a cell that is read does, as it is or once its markup is gone."""
    cells = (*(row[column] for column in _READ), plain_text(row["Body (HTML)"]))
    return holds_card_number("#".join(cells))


def _is_listed(first: Row) -> bool:
    published = first["Published"].lower() not in {"false", "no", "0"}
    return published and first["Status"].lower() not in {"draft", "archived"}


def _is_variant(row: Row) -> bool:
    """Without any of these, a row only carries a further image."""
    options = (row[f"Option{number} Value"] for number in _OPTION_NUMBERS)
    return any((row["Variant Price"], row["Variant SKU"], *options))


def _read_product(rows: list[Row], reading: _Reading) -> bool:
    """Take over the good variants of one product; whether there were any."""
    product = _product(rows[0], reading)
    variants = [row for row in rows if _is_variant(row)]
    if not variants:
        message = f"No row of {_shown(product.handle)} has a Variant Price."
        reading.wrong(rows[0], "bad_price", message)
    lines_by_options: dict[tuple[str, ...], int] = {}
    before = len(reading.entries)
    for row in variants:
        wrong_before = reading.count_wrong()
        entry, quantity = _variant(row, product, reading)
        if reading.count_wrong() > wrong_before:
            continue
        first = lines_by_options.setdefault(tuple(entry.options.values()), row.line)
        if first != row.line:
            message = f"The variant in line {first} has the same options."
            reading.wrong(row, "duplicate_variant", message)
        elif product.is_good:
            reading.entries[entry.sku] = entry
            reading.stock[entry.sku] = quantity
    return len(reading.entries) > before


def _product(first: Row, reading: _Reading) -> _Product:
    wrong_before = reading.count_wrong()
    title = first["Title"]
    if not title:
        reading.wrong(first, "missing_title", "The product's first row has no Title.")
    if len(title) > MAX_TITLE:
        message = f"The Title is longer than {MAX_TITLE} characters."
        reading.wrong(first, "too_long", message)
    return _Product(
        handle=first["Handle"],
        title=title,
        description=_shortened(plain_text(first["Body (HTML)"])) or None,
        image=_image(first, "Image Src", reading),
        option_names=tuple(first[f"Option{number} Name"] for number in _OPTION_NUMBERS),
        is_good=reading.count_wrong() == wrong_before,
    )


def _variant(row: Row, product: _Product, reading: _Reading) -> tuple[CatalogEntry, int]:
    """A variant and its initial stock, to be used if nothing was found wrong meanwhile."""
    options = _options(row, product, reading)
    price = _price(row, "Variant Price", reading)
    compare_at = _price(row, "Variant Compare At Price", reading)
    entry = CatalogEntry(
        sku=_sku(row, product, options, reading),
        title=product.title,
        price=Money(price, reading.currency),
        options=options,
        # Not higher than the price, it is no reduction to show.
        compare_at=Money(compare_at, reading.currency) if compare_at > price else None,
        image=_image(row, "Variant Image", reading) or product.image,
        description=product.description,
    )
    return entry, _quantity(row, reading)


def _options(row: Row, product: _Product, reading: _Reading) -> dict[str, str]:
    options: dict[str, str] = {}
    for number, name in zip(_OPTION_NUMBERS, product.option_names, strict=True):
        value = row[f"Option{number} Value"]
        # How Shopify writes a product without options.
        if name.lower() in {"", "title"} and value.lower() in {"", "default title"}:
            continue
        if not name or not value:
            lacking = "value" if name else "name in the product's first row"
            reading.wrong(row, "bad_option", f"Option{number} has no {lacking}.")
        elif name in options:
            reading.wrong(row, "bad_option", f"Two options are called {_shown(name)}.")
        elif max(len(name), len(value)) > MAX_OPTION:
            message = f"Option{number} is longer than {MAX_OPTION} characters."
            reading.wrong(row, "too_long", message)
        else:
            options[name] = value
    return options


def _sku(row: Row, product: _Product, options: dict[str, str], reading: _Reading) -> str:
    sku = row["Variant SKU"]
    if not sku:
        sku = _made_sku((product.handle, *options.values()), reading)
    elif not re.match(ID_PATTERN, sku):
        message = "may only have letters, digits, hyphens and underscores, at most 64"
        reading.wrong(row, "bad_sku", f"The SKU {_shown(sku)} {message}.")
        return sku
    first = reading.sku_lines.setdefault(sku, row.line)
    if first != row.line:
        message = f"The SKU {sku} is already that of line {first}."
        reading.wrong(row, "duplicate_sku", message)
    return sku


def _made_sku(words: tuple[str, ...], reading: _Reading) -> str:
    """A readable sku, the same each time; with a hash where the words alone would not do."""
    source = "/".join(words)
    decomposed = unicodedata.normalize("NFKD", source)
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    slug = re.sub(r"[^a-z0-9_]+", "-", letters.lower()).strip("-")
    if slug and letters.isascii() and len(slug) <= MAX_ID and not reading.is_taken(slug):
        return slug
    digest = hashlib.sha256(source.encode()).hexdigest()[:HASH_DIGITS]
    return f"{slug[: MAX_ID - HASH_DIGITS - 1]}-{digest}".strip("-")


def _price(row: Row, column: str, reading: _Reading) -> int:
    """An amount in the minor unit; 0 for a blank or wrong one."""
    text = row[column]
    try:
        return minor_units(text, reading.currency) if text or column in _REQUIRED else 0
    except ValueError as error:
        message = f"{column} is {_shown(text)}: {error}." if text else f"{column} is blank."
        reading.wrong(row, "bad_price", message)
        return 0


def _quantity(row: Row, reading: _Reading) -> int:
    text = row["Variant Inventory Qty"] or "0"
    if _QUANTITY.fullmatch(text) and int(text) <= MAX_QUANTITY:
        return int(text)
    message = f"is not a whole number from 0 to {MAX_QUANTITY}"
    reading.wrong(row, "bad_quantity", f"Variant Inventory Qty {_shown(text)} {message}.")
    return 0


def _image(row: Row, column: str, reading: _Reading) -> str | None:
    address = row[column]
    if address and (len(address) > MAX_IMAGE or not _IMAGE.fullmatch(address)):
        message = f"is not a web address of at most {MAX_IMAGE} characters"
        reading.wrong(row, "bad_image", f"{column} {_shown(address)} {message}.")
    return address or None


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 1].rstrip() + "…"


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")
