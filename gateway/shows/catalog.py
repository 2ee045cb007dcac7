"""The shop's catalogue: what can be bought, for how much, how many each."""

import asyncio
import hashlib
from dataclasses import dataclass

import msgspec

from gateway.clock import Clock, rfc3339
from gateway.errors import Invalid
from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane, pairs
from gateway.model import CatalogEntry, Movement
from gateway.news import News, publish
from gateway.settings import Settings

MAX_ENTRIES = 10_000
"""Most products of a shop; every viewer gets them all when connecting."""

_ENTRY = msgspec.json.Decoder(CatalogEntry)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Reads and writes catalogues, for any shop of this Redis."""

    lane: Lane
    settings: Settings
    clock: Clock

    async def entries(self, shop: str) -> tuple[CatalogEntry, ...]:
        """Everything the shop sells, in the order of the skus."""
        packed = pairs(await self.lane.command("HGETALL", ShopKeys(shop).catalog))
        return tuple(_ENTRY.decode(entry) for _, entry in sorted(packed.items()))

    async def put(self, shop: str, entries: tuple[CatalogEntry, ...]) -> None:
        """Add or change entries; those not named stay. Holds keep the price they were made at.

        Raises:
            Invalid: too many entries, or a sku twice.
        """
        if not entries:
            return
        if len(entries) > MAX_ENTRIES:
            raise Invalid(f"A catalogue has at most {MAX_ENTRIES} entries.")
        if len({entry.sku for entry in entries}) < len(entries):
            raise Invalid("A sku appears twice.")
        words: list[str | bytes] = []
        for entry in entries:
            words += (entry.sku, msgspec.json.encode(entry))
        await asyncio.gather(
            self.lane.command("SADD", SHOPS, shop),
            self.lane.command("HSET", ShopKeys(shop).catalog, *words),
        )
        await publish(self.lane, shop, News(catalog=entries))

    def initial_stock(self, stock: dict[str, int]) -> tuple[Movement, ...]:
        """The movements that put a price list's quantities on the shelf, once.

        Their references are made of the skus, so that importing the file again adds nothing.
        """
        now = rfc3339(self.clock.now_ms())
        return tuple(
            Movement(
                reference_id=f"import-{hashlib.sha256(sku.encode()).hexdigest()[:32]}",
                kind="received",
                sku=sku,
                location=self.settings.location,
                quantity=units,
                occurred_at=now,
                source="import",
            )
            for sku, units in stock.items()
            if units > 0
        )
