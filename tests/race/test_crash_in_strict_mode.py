"""A crash at every await of a purchase that is claimed in a durable table; enumerated, too.

Wherever it dies, and whoever takes over: what is captured is claimed, what is claimed and not void
is captured, and an order whose unit is another's in the table is never captured.
"""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.checkout.phases import Phase
from gateway.claims.sale import Sale
from gateway.claims.sqlite import SqliteClaims
from tests.race.test_crash_everywhere import (
    NO_SALE,
    SHORT,
    Died,
    How,
    Mortal,
    Scenario,
    Stage,
    _card,
    _with,
)
from tests.seams import Buyer, Gateway, Open, Street, comes_to_rest, street

PATIENT_MS = 30_000


class SeamClaims(SqliteClaims):
    """Claims that pass their gateway's seam."""

    gateway: Gateway

    async def claim(self, sale: Sale) -> str | None:
        claim = super().claim
        return await self.gateway.seam.passes("claim", lambda: claim(sale))

    async def void(self, shop: str, order: str) -> None:
        void = super().void
        await self.gateway.seam.passes("void", lambda: void(shop, order))


@dataclasses.dataclass
class Strict:
    """A street whose gateways share a table."""

    street: Street
    file: Path
    stack: contextlib.AsyncExitStack

    async def gateway(self) -> Gateway:
        gateway = await self.street.gateway(Open())
        claims = SeamClaims(self.file, self.street.settings)
        self.stack.push_async_callback(claims.aclose)
        settler = dataclasses.replace(gateway.rooms.settler, claims=claims)
        gateway.rooms = dataclasses.replace(gateway.rooms, settler=settler)
        claims.gateway = gateway
        return gateway

    async def sells_to_another(self, sku: str) -> None:
        """The first unit is an order's that Redis has forgotten. It is void by now, or the shop
        would stop for it, and nobody could come any more.
        """
        sale = Sale(self.street.stall.shop, f"o_{sku}", "pi", "h", ((sku, "main", 1, 1),), b"", 1)
        async with contextlib.aclosing(SqliteClaims(self.file, self.street.settings)) as claims:
            assert await claims.claim(sale) is None
            await claims.void(sale.shop, sale.order)

    async def claimed(self) -> set[str]:
        async with contextlib.aclosing(SqliteClaims(self.file, self.street.settings)) as claims:
            return {sale.order async for sale in claims.sales(self.street.stall.shop)}


@pytest.fixture
async def strict(redis_url: str, shop: str, tmp_path: Path) -> AsyncIterator[Strict]:
    changes = SHORT | {"claims_timeout_ms": PATIENT_MS}
    async with street(redis_url, shop, **changes) as scene, contextlib.AsyncExitStack() as stack:
        yield Strict(scene, tmp_path / "claims", stack)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("card", _card),
        Scenario("capture refused", _with(_card, capture_loses_percent=100, times=1), NO_SALE),
    ],
    ids=lambda scenario: scenario.name,
)
async def test_what_is_captured_is_claimed_and_nothing_else(
    strict: Strict, scenario: Scenario
) -> None:
    gateway, sweep = await strict.gateway(), await strict.gateway()
    stage = Stage(strict.street, scenario, gateway, gateway, sweep)
    points, sold = await stage.points(), set[str]()
    assert "claim" in {step for _, step, _ in points}
    before = await strict.claimed()
    for at, _, how in points:
        buyer, ended = await stage.plays(Mortal(at, how))
        if ended == "sold":
            sold.add(buyer.order)
    assert await strict.claimed() - before == sold


async def test_a_unit_of_another_order_is_never_captured_wherever_it_dies(strict: Strict) -> None:
    gateway, sweep = await strict.gateway(), await strict.gateway()
    undisturbed = Mortal()
    await plays_in_vain(strict, gateway, sweep, undisturbed, 0)
    steps = undisturbed.steps
    assert steps.index("claim") < steps.index("void") < steps.index("order_fail")
    for at in range(steps.index("claim") + 1, len(steps) + 1):
        await plays_in_vain(strict, gateway, sweep, Mortal(at, How.AFTER), at)


async def plays_in_vain(
    strict: Strict, gateway: Gateway, sweep: Gateway, seam: Mortal, number: int
) -> None:
    street = strict.street
    buyer: Buyer = await street.comes(f"b{number}")
    await strict.sells_to_another(buyer.sku)
    gateway.starts(seam)
    with contextlib.suppress(Died):
        await _card(street, gateway, buyer)
    seam.dead = True
    await comes_to_rest(street, sweep)
    record = await street.record(buyer)
    assert record
    told = f"dead at {number}: {record.phase}, {record.reason}"
    assert (record.phase, record.reason) == (Phase.FAILED, "sold_twice"), told
    [intent] = await street.bank.intents(buyer.order)
    assert (intent["status"], intent["amount_received"]) == ("canceled", 0), told
    assert buyer.order not in await strict.claimed(), told
