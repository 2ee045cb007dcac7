"""What we ask of Stripe so that the money of a refund goes back once."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.payback import Payback, pay_back
from gateway.checkout.provider import NotPossible
from gateway.checkout.refund import Refund
from gateway.errors import Unavailable
from tests.bank import REFUND, Bank
from tests.bought import CAP, TEE, Bought
from tests.integration.conftest import Corner

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def bought(corner: Corner) -> AsyncIterator[Bought]:
    bank = Bank(corner.stripe_url)
    await corner.sells("tee", 5, price=TEE)
    await corner.sells("cap", 3, price=CAP)
    bought = Bought(corner.rooms, corner.shop, bank)
    await bought.pays()
    yield bought
    await bank.fails()


def refund(n: int = 1, amount: int = 100, key: str = "k") -> Refund:
    return Refund(n=n, key=key, fingerprint="f", amount=amount, state="pending", restock=False)


async def paid(bought: Bought, refund: Refund, *, attempt_at: int | None = None) -> Payback:
    rooms, record = bought.rooms, await bought.record()
    if attempt_at is not None:
        record = msgspec.structs.replace(record, attempt_at=attempt_at)
    return await pay_back(rooms.payments.provider, rooms.settings, bought.shop, record, refund)


async def test_a_refund_carries_our_marks(bought: Bought) -> None:
    answer = await paid(bought, refund())
    assert (answer.status, answer.failure) == ("succeeded", None)
    (made,) = await bought.bank.refunds((await bought.record()).intent or "")
    assert (made["id"], made["amount"]) == (answer.id, 100)
    marks = made["metadata"]
    assert (marks["env"], marks["shop"], marks["order"], marks["n"]) == (
        *("main", bought.shop, bought.order),
        "1",
    )
    assert "k" not in marks.values(), "the caller's key is its own"


async def test_again_is_the_same_even_when_stripe_has_forgotten_the_key(bought: Bought) -> None:
    first = await paid(bought, refund())
    assert await paid(bought, refund()) == first
    assert await paid(bought, refund(), attempt_at=1) == first
    assert await bought.paid_back() == [100]


async def test_many_at_once_are_one(bought: Bought) -> None:
    answers = await asyncio.gather(*(paid(bought, refund()) for _ in range(6)))
    assert len({answer.id for answer in answers}) == 1
    assert await bought.paid_back() == [100]


async def test_the_same_number_with_another_key_is_another_refund(bought: Bought) -> None:
    first, second = await paid(bought, refund()), await paid(bought, refund(key="l"))
    assert first.id != second.id
    assert await bought.paid_back() == [100, 100]


async def test_it_is_found_among_very_many(bought: Bought) -> None:
    first = await paid(bought, refund(amount=1))
    form = {"payment_intent": (await bought.record()).intent, "amount": "1"}
    for _ in range(101):
        await bought.bank._ask("POST", "/v1/refunds", data=form)
    assert await paid(bought, refund(amount=1), attempt_at=1) == first


async def test_a_definite_no(bought: Bought) -> None:
    with pytest.raises(NotPossible):
        await paid(bought, refund(amount=10**6))
    assert await bought.paid_back() == []


async def test_who_cannot_look_does_not_ask(bought: Bought) -> None:
    rooms = bought.rooms
    record = msgspec.structs.replace(await bought.record(), intent="pi_none")
    asked = pay_back(rooms.payments.provider, rooms.settings, bought.shop, record, refund())
    with pytest.raises((Unavailable, NotPossible)):
        await asked
    assert await bought.paid_back() == []


async def test_a_500_with_its_effect_is_read(bought: Bought) -> None:
    await bought.bank.fails(endpoint=REFUND, error_500_percent=100, times=1)
    assert (await paid(bought, refund())).status == "succeeded"
    assert await bought.paid_back() == [100]


async def test_a_500_without_effect_is_a_no_once_it_is_repeated(bought: Bought) -> None:
    await bought.bank.fails(endpoint=REFUND, error_500_percent=100, error_500_effect=False, times=1)
    with pytest.raises(Unavailable):
        await paid(bought, refund())
    with pytest.raises(NotPossible):
        await paid(bought, refund())
    assert await bought.paid_back() == []
