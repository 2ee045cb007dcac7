"""How long a look at thousands of orders takes: 10,000 are to take at most ten seconds.

The default run takes 300 and asserts what is found, not how fast. For the figure:

    HOLDFAST_TEST_RECONCILE_ORDERS=10000 pytest -n 0 -s tests/benchmarks/test_reconcile.py

The Stripe sandbox is a process of its own, its rate limit lifted; Valkey is real.
"""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from gateway.checkout.payment import Payments
from gateway.clock import SystemClock
from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane, Word, served
from gateway.reconcile.findings import Mend, Reconciliation
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import join
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from tests.depth import deep, many
from tests.processes import Process, free_port
from tests.sales import event_of
from tests.stall import settings_for
from tests.stripe_seed import seed

ORDERS = many("RECONCILE_ORDERS", 300, 1_000)
WRONG = 10
"""How many differences of each kind are hidden among them."""
AMOUNT = 3_900
HOUR_MS = 3_600_000
SLICE = 500
START_S = 20


def name(number: int) -> str:
    return f"o_bench{number:08d}"


@pytest.fixture
async def bank(tmp_path: Path, warden: Warden, shop: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A sandbox that holds a captured payment for each order, and ten stray authorizations: its
    address, and the payments' intents.
    """
    path = str(tmp_path / "money.db")

    def about(attempt: int) -> dict[str, str]:
        return {"env": "main", "shop": shop, "attempt": str(attempt)}

    seed(path, WRONG, lambda n: about(1) | {"order": name(n)}, amount=AMOUNT)
    intents = seed(
        path, ORDERS, lambda n: about(2) | {"order": name(n)}, amount=AMOUNT, captured=True
    )
    url = f"http://127.0.0.1:{(port := free_port())}"
    options = ("--data", path, "--port", str(port), "--rate-limit", "0")
    env = {"PATH": os.environ["PATH"]}
    async with Process(warden, ("-m", "gateway.sandbox.stripe", *options), env):
        await answers(url)
        yield url, intents


async def answers(url: str) -> None:
    headers = {"Authorization": "Bearer sk_test_0123456789abcdef"}
    async with asyncio.timeout(START_S), httpx.AsyncClient(headers=headers) as client:
        while True:
            try:
                if (await client.get(f"{url}/v1/sandbox/summary")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def write_orders(lane: Lane, shop: str, intents: list[str]) -> None:
    """Records and events as the scripts leave them; the first ten events are lost."""
    keys, now_ms = ShopKeys(shop), SystemClock().now_ms()
    await lane.command("SADD", SHOPS, shop)
    numbers = range(ORDERS)
    for start in range(0, ORDERS, SLICE):
        words: list[tuple[Word, ...]] = []
        for number in numbers[start : start + SLICE]:
            order, event = name(number), event_of(shop, name(number))
            body = msgspec.json.encode(event)
            record: dict[str, Word] = {
                "phase": "captured",
                "attempt": 2,
                "amount": AMOUNT,
                "currency": "USD",
                "attempt_at": now_ms,
                "committed_at": now_ms,
                "intent": intents[number],
                "event_id": event.id,
                "event": body,
                "shopper": "ann",
                "hold": f"h_{order}",
                "token": "pm_card_visa",
                "token_kind": "payment_method",
                "show": "tonight",
                "lines": b"[]",
                "fulfillment": b"{}",
                "contact": b'{"email":"ann@example.com"}',
                "budget_until": now_ms,
                "units": b"[]",
            }
            fields = [word for pair in record.items() for word in pair]
            words.append(("HSET", keys.order(order), *fields))
            if number >= WRONG:
                entry = ("order", order, "event_id", event.id, "units", "[]", "event", body)
                words.append(("XADD", keys.orders, "*", *entry))
        await asyncio.gather(*(lane.command(*command) for command in words))


def lifted(redis_url: str, shop: str, stripe_url: str) -> Settings:
    settings = settings_for(
        redis_url, shop, stripe_rate_per_s=100_000, stripe_account_rate_per_s=100_000
    )
    return msgspec.structs.replace(settings, stripe_url=stripe_url)


def told(what: str, found: Reconciliation) -> None:
    sys.stdout.write(f"\n{found.orders} orders, {what}: {found.seconds} s")


@deep
async def test_a_look_at_many_orders(
    redis_url: str, shop: str, bank: tuple[str, list[str]]
) -> None:
    stripe_url, intents = bank
    settings = lifted(redis_url, shop, stripe_url)
    async with served(settings) as lane:
        payments = Payments(settings, lane, SystemClock())
        rooms = join(settings, SystemClock(), random.Random(1), lane, payments)
        await write_orders(lane, shop, intents)
        since_ms = SystemClock().now_ms() - HOUR_MS
        for mend, left in ((Mend.NOTHING, 2 * WRONG), (Mend.SAFE, 0)):
            found = await Reconciler(rooms.settler).look(shop, since_ms, mend)
            told(f"{2 * WRONG} differences, {mend.value}", found)
            expected = {"event_missing": WRONG, "stray_authorization": WRONG}
            assert (found.differences, found.left) == (expected, left)
            assert (found.intents, found.orders) == (ORDERS + WRONG, ORDERS)
        again = await Reconciler(rooms.settler).look(shop, since_ms)
        told("no difference", again)
        assert again.differences == {}
        await payments.aclose()
