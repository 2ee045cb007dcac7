"""Our path, and the same script called once for each request.

Both sell from the same shelves. The first is what a gateway does: ``Holds.reserve`` with group
commit over the lane. The second is what it would do without: an EVALSHA each, through redis-py's
pool, around the same words. The third goes on to the sale, which is where ``WAIT`` is paid for.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis

from gateway import news
from gateway.checkout.record import Record
from gateway.checkout.records import NotDurable, Records
from gateway.claims import sale as sale_of
from gateway.claims.address import open_claims
from gateway.claims.table import Claims
from gateway.clock import SystemClock
from gateway.errors import Overloaded, SoldOut, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, served
from gateway.messages import Checkout, Payment
from gateway.model import (
    MAX_PAYMENT,
    UNITS,
    CatalogEntry,
    Contact,
    Fulfillment,
    LineRequest,
    Money,
    Movement,
    Show,
)
from gateway.scripts import load
from gateway.settings import Settings
from gateway.shows.catalog import Catalog
from gateway.shows.shows import Shows
from gateway.stock.holds import Held, Holds, hold_id
from gateway.stock.movements import MAX_BATCH, Movements
from loadtest.ways import Books, Options, Places, Undecided, Wish

SHOP = "bench"
SHOW = "tonight"
SHIP = Fulfillment()
SHIP_JSON = msgspec.json.encode(SHIP).decode()
PRICE = Money(2_500, "EUR")
OPENED_AT = "2026-11-21T20:00:00.000Z"
POOL = 64
POOL_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Shelf:
    """The stock of our own scripts, filled and counted through the rooms."""

    lane: Lane
    settings: Settings

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Empty the store and put so many units of each sku on the shelf."""
        await self.lane.command("FLUSHALL", "SYNC")
        catalog = Catalog(self.lane, self.settings, SystemClock())
        await catalog.put(SHOP, tuple(CatalogEntry(sku, sku, PRICE) for sku in skus))
        shows = Shows(self.lane)
        await shows.put(SHOP, Show(SHOW, SHOW))
        await shows.move(SHOP, SHOW, "live")
        moves = [
            Movement(f"in-{sku}", "received", sku, "main", units, OPENED_AT, "bench")
            for sku in skus
        ]
        for at in range(0, len(moves), MAX_BATCH):
            await Movements(self.lane, self.settings).apply(SHOP, tuple(moves[at : at + MAX_BATCH]))

    async def books(self) -> Books:
        """Read what was sold from the store itself."""
        lines = await Movements(self.lane, self.settings).lines(SHOP)
        moved = sum(line.held + line.committed for line in lines)
        sold = await self.lane.command("XLEN", ShopKeys(SHOP).orders)
        active = await self.lane.command("ZCARD", ShopKeys(SHOP).deadlines)
        return Books(moved, active + sold)


@contextlib.asynccontextmanager
async def shelf(places: Places, options: Options) -> AsyncIterator[Shelf]:
    """The shelf of a Valkey, with the lane to it."""
    settings = Settings(
        redis_url=places.valkeys[0],
        claims_url=places.claims,
        shop=SHOP,
        wait_replicas=int(options.get("wait_replicas", 0)),
        reserve_batch=int(options.get("batch", Settings().reserve_batch)),
    )
    async with served(settings) as lane:
        yield Shelf(lane, settings)


@dataclass(slots=True)
class GroupCommit:
    """Ours: what arrives during a round trip is decided together by the next."""

    shelf: Shelf
    holds: Holds

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Fill the shelf."""
        await self.shelf.stock(skus, units)

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        held = await self.hold(wish)
        return held.hold.id if held else None

    async def hold(self, wish: Wish) -> Held | None:
        """Reserve, as the session of a shopper does."""
        lines = tuple(LineRequest(sku, 1) for sku in wish.skus)
        try:
            return await self.holds.reserve(SHOP, wish.shopper, SHOW, wish.key, lines, SHIP)
        except SoldOut:
            return None
        except (Overloaded, Unavailable) as error:
            raise Undecided from error

    async def books(self) -> Books:
        """Read what was sold from the store itself."""
        return await self.shelf.books()


@contextlib.asynccontextmanager
async def group_commit(places: Places, options: Options) -> AsyncIterator[GroupCommit]:
    """Ours. Options: ``batch``, most reservations of a call; ``wait_replicas``."""
    async with shelf(places, options) as goods:
        yield GroupCommit(goods, Holds(goods.lane, goods.settings))


@dataclass(slots=True)
class Sale(GroupCommit):
    """Ours up to the sale: reserve, begin the payment, commit, claim; all but Stripe."""

    records: Records
    claims: Claims | None
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve and sell; the hold's id, or ``None`` when sold out."""
        held = await self.hold(wish)
        if held is None:
            return None
        payment = Payment(payment_method="pm_card_visa")
        checkout = Checkout(1, held.hold.id, held.hold.total, payment, Contact("ann@example.com"))
        try:
            order = await self.records.begin(SHOP, wish.shopper, checkout)
            record = await self.records.find(SHOP, order)
            assert record is not None
            await self.records.commit(SHOP, record, uuid.uuid4().hex, b"{}")
            if self.claims:
                await self._claim(self.claims, record)
        except (NotDurable, Overloaded, Unavailable) as error:
            raise Undecided from error
        return held.hold.id

    async def _claim(self, claims: Claims, record: Record) -> None:
        """Claim the units of a sale in strict mode, as is done before its money is captured."""
        kept = await self.records.kept(SHOP, record.order)
        units = UNITS.decode(kept["units"])
        packed = msgspec.json.encode(kept)
        now = SystemClock().now_ms()
        # A store that was emptied numbers its units anew: they are others of another shop.
        shop = f"{SHOP}-{self.run}"
        sold = sale_of.Sale(shop, record.order, "pi_bench", record.hold, units, packed, now)
        if other := await claims.claim(sold):
            raise AssertionError(f"{record.order} has units of {other}")


@contextlib.asynccontextmanager
async def sale(places: Places, options: Options) -> AsyncIterator[Sale]:
    """Ours up to the sale. Options as ``group_commit``."""
    async with shelf(places, options) as goods:
        lane, settings = goods.lane, goods.settings
        claims = open_claims(settings)
        try:
            yield Sale(goods, Holds(lane, settings), Records(lane, settings), claims)
        finally:
            if claims:
                await claims.aclose()


@dataclass(slots=True)
class ScriptEach:
    """The same script, called once for each request through redis-py's pool."""

    shelf: Shelf
    client: Redis

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Fill the shelf, and have the server know the script."""
        await self.shelf.stock(skus, units)
        await self.client.script_load(load("hold_reserve").text)

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        keys, hold = ShopKeys(SHOP), hold_id(SHOP, wish.shopper, wish.key)
        request = {
            "hold": hold,
            "shopper": wish.shopper,
            "show": SHOW,
            "fingerprint": ",".join(wish.skus),
            "ttl_ms": self.shelf.settings.hold_ttl_s * 1000,
            "fulfillment": SHIP_JSON,
            "lines": [{"sku": sku, "quantity": 1} for sku in sorted(wish.skus)],
        }
        names = (keys.meta, keys.stock, keys.catalog, keys.shows, keys.deadlines, keys.ledger)
        reply = await self.client.evalsha(
            load("hold_reserve").sha,
            len(names) + 3,
            *names,
            keys.news,
            keys.hold(hold),
            keys.shopper(wish.shopper),
            msgspec.json.encode([request]).decode(),
            str(self.shelf.settings.holds_per_shopper),
            str(self.shelf.settings.shopper_retention_days * 86_400_000),
            str(MAX_PAYMENT),
            "0",
        )
        (words,) = reply if isinstance(reply, list) else msgspec.json.decode(reply)
        if words[0] not in ("HOLD", b"HOLD"):
            return None
        return news.hold_from_words(words[1:8]).id

    async def books(self) -> Books:
        """Read what was sold from the store itself."""
        return await self.shelf.books()


@contextlib.asynccontextmanager
async def script_each(places: Places, options: Options) -> AsyncIterator[ScriptEach]:
    """An EVALSHA each. Options: ``pool``, connections."""
    pool = BlockingConnectionPool.from_url(
        places.valkeys[0],
        max_connections=int(options.get("pool", POOL)),
        timeout=POOL_TIMEOUT_S,
        protocol=2,
    )
    async with shelf(places, {}) as goods, Redis.from_pool(pool) as client:
        yield ScriptEach(goods, client)
