"""A crash at every step of an erasure that changes anything: erased again, nothing is left.

Wherever the process dies, the books add up, and no order is told twice. By default it dies at every
fourth step; ``HOLDFAST_TEST_DEEP=yes`` has it die at each.
"""

import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.claims.sqlite import SqliteClaims
from gateway.keys import ShopKeys
from gateway.model import CatalogEntry, Money
from gateway.privacy.erase import Erasure
from gateway.privacy.walk import Walk
from gateway.stock.audit import audit
from tests.depth import deep, sample
from tests.personal import SHOPPER, TEXTS, Person, traces
from tests.seams import Effect, Gateway, Open, Street, T, street
from tests.stall import moved

pytestmark = deep

EVERY = 4
WRITES = {"order_erase", "shopper_erase", "ZREM", "HDEL", "rewrite"}


class Died(BaseException):
    """The process is no more; nothing in it can catch this."""


class Mortal:
    """A seam at which its process dies after the nth effect that changes anything."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.steps = at, list[str]()

    async def passes(self, step: str, effect: Effect[T]) -> T:
        if 0 < self.at <= len(self.steps):
            raise Died
        done = await effect()
        if step in WRITES:
            self.steps.append(step)
            if len(self.steps) == self.at:
                raise Died
        return done


class SeamClaims(SqliteClaims):
    """Claims that pass their gateway's seam."""

    gateway: Gateway

    async def rewrite(self, shop: str, order: str, record: bytes) -> None:
        rewrite = super().rewrite
        await self.gateway.seam.passes("rewrite", lambda: rewrite(shop, order, record))


@pytest.fixture
async def scene(redis_url: str, shop: str) -> AsyncIterator[Street]:
    async with street(redis_url, shop, claims_timeout_ms=30_000) as scene:
        tee = CatalogEntry("tee", "The tee", Money(1500, "EUR"))
        await scene.stall.opens()
        await scene.world.rooms.catalog.put(shop, (tee,))
        await scene.stall.movements.apply(shop, (moved("in", "tee", 100),))
        yield scene


@pytest.fixture
async def gateway(scene: Street, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway in strict mode, whose table passes its seam, too."""
    gateway = await scene.gateway(Open())
    claims = SeamClaims(tmp_path / "claims", scene.settings)
    claims.gateway = gateway
    async with contextlib.aclosing(claims):
        settler = dataclasses.replace(gateway.rooms.settler, claims=claims)
        gateway.rooms = dataclasses.replace(gateway.rooms, settler=settler, claims=claims)
        yield gateway


def erasure(gateway: Gateway) -> Erasure:
    rooms = gateway.rooms
    walk = Walk(rooms.lane, gateway.shop, rooms.claims)
    return Erasure(walk, rooms.settings, rooms.clock, random.Random(1))


async def erases(gateway: Gateway, seam: Mortal) -> list[str]:
    """Begin to erase the shopper, and die as the seam has it; the steps there were."""
    gateway.starts(seam)
    with contextlib.suppress(Died):
        await erasure(gateway).erase(SHOPPER)
    gateway.starts(Open())
    return seam.steps


async def left(gateway: Gateway) -> set[str]:
    keys = ShopKeys(gateway.shop)
    found = await traces(gateway.rooms.lane, keys.meta, (*TEXTS, SHOPPER), keys.every)
    assert gateway.rooms.claims
    claimed = [sale.record.decode() async for sale in gateway.rooms.claims.kept(gateway.shop)]
    return found.keys() | {text for text in (*TEXTS, SHOPPER) if text in " ".join(claimed)}


async def test_erased_again_nothing_is_left(gateway: Gateway) -> None:
    person = Person(gateway.rooms, gateway.shop)
    await person.lives("undisturbed")
    steps = await erases(gateway, Mortal())
    assert set(steps) == WRITES
    assert await left(gateway) == set()
    for orders, at in enumerate(sample(range(1, len(steps) + 1), EVERY), 2):
        await person.lives(f"dead at {at}")
        died_after = await erases(gateway, Mortal(at))
        assert died_after == steps[:at]
        assert bool(await left(gateway)) == (at < len(steps)), "there is something to go on with"
        await erasure(gateway).erase(SHOPPER)
        assert await left(gateway) == set(), f"dead after {died_after}"
        told = await gateway.rooms.lane.command("XRANGE", person.keys.orders, "-", "+")
        assert len(told) == orders, f"dead after {died_after}: one entry an order"
        assert (await audit(gateway.rooms.lane, gateway.shop)).drift == ()
