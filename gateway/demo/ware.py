"""What the demo sells: a product CSV, read and found good before anything starts."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from gateway.demo.refusal import Refusal
from gateway.shows import shopify

_CURRENCY = "USD"


@dataclass(frozen=True, slots=True)
class Ware:
    """What is sold: a file that was read and found good, and the product to begin with."""

    file: bytes
    first: str


def read_ware(path: Path | None) -> Ware:
    """Read a catalogue, or the one that comes with the demo.

    Raises:
        Refusal: it cannot be read, or rows of it are wrong; the message names their lines.
    """
    source = path or resources.files("gateway.demo") / "catalog.csv"
    try:
        content = source.read_bytes()
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.") from None
    found = shopify.read(content, _CURRENCY)
    if found.errors:
        lines = [f"  line {row.line}: {row.message} ({row.code})" for row in found.errors]
        more = [f"  and {found.unreported} more"] if found.unreported else []
        raise Refusal("\n".join([f"{path} has rows that are wrong:", *lines, *more]))
    if not found.entries:
        raise Refusal(f"{path} has no products for sale.")
    in_stock = [entry.sku for entry in found.entries if found.stock[entry.sku]]
    return Ware(content, in_stock[0] if in_stock else found.entries[0].sku)
