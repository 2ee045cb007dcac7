"""Refunds and cancellations, asked for over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.checkout.desk import Desk
from gateway.keys import ShopKeys
from gateway.tickets import Scope
from tests.bank import REFUND, Bank
from tests.bought import CAP, TEE, TOTAL, Bought
from tests.front_door import Door, open_door, problem
from tests.integration.conftest import Corner

pytestmark = pytest.mark.asyncio(loop_scope="module")

EUR = "EUR"


class Counter:
    """Where ann's purchase is refunded."""

    def __init__(self, door: Door, bought: Bought, shop: str) -> None:
        self.door, self.bought, self.shop = door, bought, shop

    def key(self, *scopes: Scope) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.door.rooms.tokens.sign_key(self.shop, scopes)}"}

    @property
    def path(self) -> str:
        return f"/v1/orders/{self.bought.order}/refunds"

    async def asks(
        self, body: object, key: str | None = "k", *, scope: Scope = "pos", path: str = ""
    ) -> httpx.Response:
        headers = self.key(scope) | ({"Idempotency-Key": key} if key is not None else {})
        return await self.door.ask("POST", path or self.path, json=body, headers=headers)

    async def reads(self, path: str, **query: str) -> dict[str, Any]:
        answer = await self.door.ask("GET", path, headers=self.key("pos"), params=query)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def refunds(self, body: object, key: str = "k") -> dict[str, Any]:
        answer = await self.asks(body, key)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def written(self) -> tuple[object, ...]:
        """Everything a refund could write."""
        keys, lane = self.bought.keys, self.bought.rooms.lane
        return await asyncio.gather(
            lane.command("HGETALL", keys.order(self.bought.order)),
            lane.command("ZRANGE", keys.unsettled, 0, -1),
            lane.command("XLEN", keys.orders),
            lane.command("XLEN", keys.ledger),
        )


@pytest_asyncio.fixture(loop_scope="module")
async def counter(corner: Corner) -> AsyncIterator[Counter]:
    await corner.sells("tee", 5, price=TEE)
    await corner.sells("cap", 3, price=CAP)
    rooms, bank = corner.rooms, Bank(corner.stripe_url)
    bought = Bought(rooms, corner.shop, bank)
    await bought.pays()
    async with open_door(rooms, Desk(rooms.settler, rooms.settings, rooms.rng)) as door:
        yield Counter(door, bought, corner.shop)
    await bank.fails()


async def test_a_refund_is_told_and_the_pos_reads_the_next_version(counter: Counter) -> None:
    body = {"lines": [{"sku": "tee", "quantity": 1}], "reason": "Too small."}
    refund = await counter.refunds(body)
    order = counter.bought.order
    (line,) = refund.pop("lines")
    assert (line["sku"], line["quantity"]) == ("tee", 1)
    assert refund == {
        "id": f"r_{order.removeprefix('o_')}_1",
        "order": order,
        "state": "done",
        "amount": {"amount": TEE, "currency": EUR},
        "restocked": True,
        "order_version": 2,
        "reason": "Too small.",
    }
    event = await counter.reads(f"/v1/orders/{order}")
    assert (event["data"]["order_version"], event["data"]["state"]) == (2, "partially_refunded")
    page = await counter.reads("/v1/orders")
    assert [one["data"]["order_version"] for one in page["orders"]] == [1, 2]
    await counter.refunds({}, "l")
    page = await counter.reads("/v1/orders", after=page["next"])
    assert [one["type"] for one in page["orders"]] == ["holdfast.order.canceled"]
    await counter.bought.adds_up()


async def test_the_same_key_answers_the_same(counter: Counter) -> None:
    body = {"amount": {"amount": 100, "currency": EUR}}
    first = await counter.refunds(body)
    assert await counter.refunds(body | {"restock": False}) == first
    await counter.refunds({}, "l")
    assert await counter.refunds(body) == first
    problem(await counter.asks({}), 422, "idempotency_key_reused")
    assert await counter.bought.paid_back() == [100, TOTAL - 100]


async def test_copies_at_once_are_one_refund(counter: Counter) -> None:
    answers = await asyncio.gather(*(counter.refunds({}) for _ in range(6)))
    assert len({answer["id"] for answer in answers}) == 1
    assert (await counter.refunds({}))["state"] == "done"
    assert await counter.bought.paid_back() == [TOTAL]
    await counter.bought.adds_up()


async def test_when_stripe_is_down_it_is_pending_and_done_later(counter: Counter) -> None:
    await counter.bought.bank.fails(endpoint=REFUND, lose_reply_percent=100)
    refund = await counter.refunds({})
    assert (refund["state"], refund["restocked"], refund["order_version"]) == ("pending", False, 1)
    assert await counter.bought.unsettled() == 1
    await counter.bought.bank.fails()
    assert await counter.bought.go_on()
    done = await counter.refunds({})
    assert done == refund | {"state": "done", "restocked": True, "order_version": 2}
    assert await counter.bought.paid_back() == [TOTAL]
    await counter.bought.adds_up()


async def test_a_refusal_of_stripe_is_told(counter: Counter) -> None:
    intent = (await counter.bought.record()).intent
    await counter.bought.bank._ask("POST", "/v1/refunds", data={"payment_intent": intent})
    refund = await counter.refunds({})
    assert (refund["state"], refund["code"]) == ("failed", "charge_already_refunded")


async def test_too_much_says_how_much_is_left(counter: Counter) -> None:
    await counter.refunds({"amount": {"amount": 200, "currency": EUR}})
    before = await counter.written()
    left = {"amount": TOTAL - 200, "currency": EUR}
    asked = {"amount": {"amount": TOTAL - 199, "currency": EUR}}
    told = problem(await counter.asks(asked, "l"), 409, "refund_too_much")
    assert told["refundable"] == left
    lines = {"lines": [{"sku": "tee", "quantity": 3}]}
    told = problem(await counter.asks(lines, "l"), 409, "refund_too_much")
    assert (told["refundable"], told["sku"], told["quantity"]) == (left, "tee", 2)
    assert await counter.written() == before


BAD: list[tuple[object, int]] = [
    ([], 422),
    ({"amount": 5}, 422),
    ({"amount": {"amount": 0, "currency": EUR}}, 422),
    ({"amount": {"amount": -1, "currency": EUR}}, 422),
    ({"amount": {"amount": 1.5, "currency": EUR}}, 422),
    ({"amount": {"amount": True, "currency": EUR}}, 422),
    ({"amount": {"amount": "1", "currency": EUR}}, 422),
    ({"amount": {"amount": 2**63, "currency": EUR}}, 422),
    ({"amount": {"amount": 1, "currency": "eur"}}, 422),
    ({"amount": {"amount": 1, "currency": "USD"}}, 422),
    ({"amount": {"amount": 1}}, 422),
    ({"lines": []}, 422),
    ({"lines": [{"sku": "tee", "quantity": 0}]}, 422),
    ({"lines": [{"sku": "te{e", "quantity": 1}]}, 422),
    ({"lines": [{"sku": "tee", "quantity": 1}] * 2}, 422),
    ({"lines": [{"sku": "tee", "quantity": 1}] * 21}, 422),
    ({"restock": "yes"}, 422),
    ({"ammount": {"amount": 1, "currency": EUR}}, 422),
    ({"restock": True, "amount": {"amount": 1, "currency": EUR}}, 422),
    ({"reason": "two\nlines"}, 422),
    ({"reason": "x" * 501}, 422),
]


@pytest.mark.parametrize(("body", "status"), BAD)
async def test_what_is_not_a_refund_is_refused(counter: Counter, body: object, status: int) -> None:
    before = await counter.written()
    problem(await counter.asks(body), status, "invalid")
    assert await counter.written() == before


@pytest.mark.parametrize("key", [None, "", "x" * 256, "two words"])
async def test_a_refund_needs_a_key(counter: Counter, key: str | None) -> None:
    before = await counter.written()
    problem(await counter.asks({}, key), 400, "invalid")
    assert await counter.written() == before


async def test_only_the_shops_programs_refund(counter: Counter) -> None:
    before = await counter.written()
    problem(await counter.asks({}, scope="host"), 403, "forbidden")
    problem(await counter.door.ask("POST", counter.path, json={}), 401, "unauthenticated")
    assert await counter.written() == before
    assert (await counter.asks({}, scope="admin")).status_code == 200


async def test_an_order_that_is_none_or_not_paid_is_not_refunded(counter: Counter) -> None:
    lane, keys = counter.bought.rooms.lane, ShopKeys(counter.bought.shop)
    problem(await counter.asks({}, path="/v1/orders/o_none/refunds"), 404, "not_found")
    problem(await counter.asks({}, path="/v1/orders/o:1/refunds"), 422, "invalid")
    await lane.command("HSET", keys.order(counter.bought.order), "phase", "committed")
    before = await counter.written()
    told = problem(await counter.asks({}), 409, "not_captured")
    assert told["state"] == "committed"
    assert await counter.written() == before


async def test_anothers_order_is_not_found(counter: Counter) -> None:
    asked = Counter(counter.door, counter.bought, "other")
    before = await counter.written()
    problem(await asked.asks({}), 404, "not_found")
    assert await counter.written() == before
