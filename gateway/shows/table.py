"""A CSV file as rows under their header, each with its line, and what is wrong with it as CSV.

Total: whatever the bytes are, the answer is rows and errors.
"""

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from gateway.shows.plain_text import one_line

MAX_BYTES = 5 * 1024 * 1024
MAX_ROWS = 20_000
"""Rows under the header, blank and bad ones included."""

MAX_CELL = 131_072
"""Characters in one cell: the ``csv`` module's own default limit."""

Code = Literal[
    "too_large",
    "not_utf8",
    "malformed_csv",
    "missing_column",
    "bad_text",
    "missing_handle",
    "missing_title",
    "too_long",
    "bad_option",
    "duplicate_variant",
    "bad_sku",
    "duplicate_sku",
    "bad_price",
    "bad_quantity",
    "bad_image",
    "card_number",
]


class RowError(Struct, frozen=True):
    """What is wrong with one row; ``line`` is the first line of the row in the file, from 1."""

    line: int
    code: Code
    message: str


@dataclass(slots=True)
class Findings:
    """All that was found wrong with a file so far."""

    errors: list[RowError] = field(default_factory=list)

    def add(self, line: int, code: Code, message: str) -> None:
        """Note one error."""
        self.errors.append(RowError(line, code, message))


@dataclass(frozen=True, slots=True)
class Row:
    """One record: ``row["Variant SKU"]`` is a cell on one line, empty if there is none."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column.lower(), "")


def read_rows(text: str | bytes, required: tuple[str, ...], findings: Findings) -> Iterator[Row]:
    """Read the rows under the header, none if a required column is missing.

    The names of columns are compared without regard to case; of two with one name, the first
    counts.
    """
    records = _records(_decoded(text, findings), findings)
    line, header = next(records, (1, []))
    columns = [name.strip().lower() for name in header]
    missing = [name for name in required if name.lower() not in columns]
    for name in missing:
        findings.add(line, "missing_column", f"The file has no column {name}.")
    if missing:
        return
    for line, cells in records:
        if any(cells[len(columns) :]):
            message = f"The row has {len(cells)} cells, but the header only {len(columns)}."
            findings.add(line, "malformed_csv", message)
        elif any("\0" in cell for cell in cells):
            findings.add(line, "bad_text", "The row holds a NUL character.")
        else:
            # Spreadsheets leave out empty cells at the end of a row.
            named = list(zip(columns, map(one_line, cells), strict=False))
            yield Row(line, dict(reversed(named)))


def _decoded(text: str | bytes, findings: Findings) -> str:
    """The file as text without a byte order mark; empty when it is not read at all."""
    # A lone surrogate in a str is no character either; so encoded, it fails below.
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_BYTES:
        findings.add(1, "too_large", f"The file is larger than {MAX_BYTES} bytes.")
        return ""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        findings.add(line, "not_utf8", "The file is not UTF-8; save it as CSV UTF-8.")
        return ""


def _records(text: str, findings: Findings) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with the line in which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for count in itertools.count():
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" in str(error):
                # Where in the cell the reader would go on, nobody can tell.
                message = f"A cell is longer than {MAX_CELL} characters; the rest was not read."
                findings.add(line, "too_long", message)
                return
            findings.add(line, "malformed_csv", f"The row is not good CSV: {error}.")
            cells = []
        if count > MAX_ROWS:
            message = f"The file has more than {MAX_ROWS} rows; the rest was not read."
            findings.add(line, "too_large", message)
            return
        if any(cell.strip() for cell in cells):
            yield line, cells
