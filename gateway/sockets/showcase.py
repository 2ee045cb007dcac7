"""What all viewers of a shop are shown alike, the stock and the catalogue, encoded once for all.

In a storm of newcomers each welcome holds the same thousands of bytes. They are made when the first
needs them, and kept until what they say has changed.
"""

import hashlib
from dataclasses import dataclass, field
from string import ascii_lowercase

import msgspec
from msgspec import UNSET, UnsetType

from gateway.messages import Resume, StockFrame, StockState, encode
from gateway.model import CatalogEntry

_TAG_LETTERS = 12
"""56 bits. Letters alone: digits in a row may be taken for a card number when they come back."""


@dataclass(slots=True)
class Showcase:
    """The stock and the catalogue of one shop, and what of them is encoded."""

    epoch: int = 0
    version: int = -1
    items: dict[str, int] = field(default_factory=dict)
    """Units available, by sku."""
    catalog: dict[str, CatalogEntry] = field(default_factory=dict)
    """By sku, in no order."""
    _exact_from: int = 0
    """Below this version the items may be those of a later one."""
    _stock: msgspec.Raw | None = None
    _snapshot: bytes | None = None
    _catalog: msgspec.Raw | None = None
    _tag: str = ""

    @property
    def stock(self) -> StockState:
        """The stock as it is known here."""
        return StockState(self.epoch, self.version, dict(self.items))

    def snapshot(self) -> bytes:
        """A stock frame with everything."""
        if self._snapshot is None:
            frame = StockFrame(epoch=self.epoch, version=self.version, items=self.items)
            self._snapshot = encode(frame)
        return self._snapshot

    def stock_for(self, known: Resume | None) -> msgspec.Raw:
        """The stock of a welcome; without items for a client that has them."""
        if known and (known.epoch, known.version) == (self.epoch, self.version):
            return _raw(StockState(self.epoch, self.version, {}))
        if self._stock is None:
            self._stock = _raw(self.stock)
        return self._stock

    def catalog_for(self, known: Resume | None) -> msgspec.Raw | UnsetType:
        """The catalogue of a welcome; unset for a client that has it."""
        if known and known.catalog_tag == self.catalog_tag:
            return UNSET
        return self._encoded_catalog()

    @property
    def catalog_tag(self) -> str:
        """Names the catalogue as it is; the same in every process that knows the same."""
        self._encoded_catalog()
        return self._tag

    def _encoded_catalog(self) -> msgspec.Raw:
        if self._catalog is None:
            self._catalog = _raw(tuple(self.catalog[sku] for sku in sorted(self.catalog)))
            digest = hashlib.sha256(self._catalog).digest()
            letters = (ascii_lowercase[byte % len(ascii_lowercase)] for byte in digest)
            self._tag = "".join(letters)[:_TAG_LETTERS]
        return self._catalog

    def restock(self, epoch: int, version: int, items: dict[str, int], exact_from: int = 0) -> None:
        """The stock was read anew: the version first, then the items, which are no newer than
        those of ``exact_from``.
        """
        self.epoch, self.version, self.items = epoch, version, items
        self._exact_from = exact_from
        self._stock = self._snapshot = None

    def change(self, version: int, available: dict[str, int]) -> dict[str, int | None]:
        """The stock has changed; returns what changed, with the units of before.

        What was read before its news came is changed, too: who knew the version that was read, but
        not from here, has not been told.
        """
        before = {
            sku: self.items.get(sku)
            for sku, units in available.items()
            if self.items.get(sku) != units or version <= self._exact_from
        }
        self.version = version
        self.items |= available
        self._stock = self._snapshot = None
        return before

    def relist(self, entries: tuple[CatalogEntry, ...]) -> tuple[CatalogEntry, ...]:
        """The catalogue was read anew; returns what is not as it was known."""
        new = tuple(entry for entry in entries if self.catalog.get(entry.sku) != entry)
        if new or len(entries) != len(self.catalog):
            self.catalog = {entry.sku: entry for entry in entries}
            self._catalog = None
        return new

    def add(self, entries: tuple[CatalogEntry, ...]) -> None:
        """Products were added or changed."""
        self.catalog |= {entry.sku: entry for entry in entries}
        self._catalog = None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
