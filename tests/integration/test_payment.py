"""What we ask of Stripe through its SDK: a definite answer, or ``Unavailable``."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.payment import Intent, Payments
from gateway.checkout.phases import Phase
from gateway.checkout.provider import Declined, NotPossible, Silent
from gateway.checkout.record import Record
from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.lane import served
from gateway.model import Contact, Fulfillment
from gateway.sandbox.stripe import server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.settings import Settings
from tests.bank import CANCEL, CAPTURE, CREATE, Bank

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = "demo"
BEGAN_MS = SystemClock().now_ms()


def record(order: str, token: str = "pm_card_visa", **fields: object) -> Record:
    whole = Record(
        order=order,
        phase=Phase.PAYING,
        attempt=1,
        token=token,
        token_kind="confirmation_token" if token.startswith("ctoken_") else "payment_method",
        hold=f"h_{order}",
        shopper="ann",
        show="tonight",
        amount=1500,
        currency="EUR",
        lines=(),
        fulfillment=Fulfillment(),
        contact=Contact("ann@example.com"),
        attempt_at=BEGAN_MS,
        budget_until=0,
    )
    return msgspec.structs.replace(whole, **fields)


async def wanted() -> bool:
    return True


@contextlib.asynccontextmanager
async def payments_at(
    redis_url: str, url: str, timeout_ms: int = 10_000, rate_per_s: int = 1000
) -> AsyncIterator[Payments]:
    key = "sk_test_0123456789abcdef"
    settings = Settings(
        redis_url=redis_url,
        stripe_api_key=key,
        stripe_url=url,
        stripe_timeout_ms=timeout_ms,
        stripe_rate_per_s=rate_per_s,
        stripe_account_rate_per_s=4 * rate_per_s,
    )
    async with served(settings) as lane:
        payments = Payments(settings, lane, SystemClock())
        try:
            yield payments
        finally:
            await payments.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[str]:
    async with server.serving(StripeSettings(per_endpoint=0, per_account=0)) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def bank(sandbox: str) -> AsyncIterator[Bank]:
    bank = Bank(sandbox)
    yield bank
    await bank.fails()


@pytest_asyncio.fixture(loop_scope="module")
async def payments(redis_url: str, sandbox: str) -> AsyncIterator[Payments]:
    async with payments_at(redis_url, sandbox) as payments:
        yield payments


async def test_money_is_authorized_for_this_order_and_no_other(payments: Payments) -> None:
    intent = await payments.authorize(SHOP, record("o_1"), wanted)
    assert intent.status == "requires_capture"
    assert (intent.amount, intent.currency) == (1500, "EUR")
    assert intent.metadata == {
        "env": "main",
        "shop": SHOP,
        "order": "o_1",
        "hold": "h_o_1",
        "shopper": "ann",
        "show": "tonight",
        "attempt": "1",
        "epoch": "1",
    }
    assert intent.decline_code is None
    assert await payments.read(intent.id) == intent


async def test_every_step_may_be_repeated(payments: Payments, bank: Bank) -> None:
    order = record("o_2")
    intent = await payments.authorize(SHOP, order, wanted)
    assert await payments.authorize(SHOP, order, wanted) == intent
    order = msgspec.structs.replace(order, intent=intent.id)
    for _ in range(2):
        assert (await payments.capture(SHOP, order)).status == "succeeded"
    [made] = await bank.intents("o_2")
    assert made["amount_received"] == 1500


async def test_an_authorization_is_given_back(payments: Payments, bank: Bank) -> None:
    order = record("o_3")
    intent = await payments.authorize(SHOP, order, wanted)
    for _ in range(2):
        assert (await payments.cancel(SHOP, order, intent.id)).status == "canceled"
    with pytest.raises(NotPossible):
        await payments.capture(SHOP, msgspec.structs.replace(order, intent=intent.id))
    [made] = await bank.intents("o_3")
    assert made["amount_received"] == 0


async def test_an_intent_that_is_not_there_cannot_be_captured(payments: Payments) -> None:
    with pytest.raises(NotPossible):
        await payments.capture("shop", record("o_gone", intent="pi_gone"))


async def test_what_is_charged_is_not_cancelled(payments: Payments) -> None:
    order = record("o_4")
    intent = await payments.authorize(SHOP, order, wanted)
    await payments.capture(SHOP, msgspec.structs.replace(order, intent=intent.id))
    with pytest.raises(NotPossible):
        await payments.cancel(SHOP, order, intent.id)
    assert (await payments.read(intent.id)).status == "succeeded"


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    ],
)
async def test_a_decline_is_definite(payments: Payments, method: str, code: str) -> None:
    order = record(f"o_{method}", method)
    for _ in range(2):
        with pytest.raises(Declined) as declined:
            await payments.authorize(SHOP, order, wanted)
        assert declined.value.decline_code == code
        assert declined.value.intent
    left = await payments.read(declined.value.intent or "")
    assert (left.status, left.decline_code) == ("requires_payment_method", code)


@pytest.mark.parametrize("token", ["pm_nobodys", "ctoken_nobodys"])
async def test_a_method_that_is_not_there_is_a_decline(payments: Payments, token: str) -> None:
    with pytest.raises(Declined) as declined:
        await payments.authorize(SHOP, record(f"o_{token}", token), wanted)
    assert declined.value.decline_code == "invalid_payment_method"


async def test_a_confirmation_token_pays_once(payments: Payments, bank: Bank) -> None:
    token = await bank.token("pm_card_visa")
    assert (
        await payments.authorize(SHOP, record("o_5", token), wanted)
    ).status == "requires_capture"
    with pytest.raises(Declined):
        await payments.authorize(SHOP, record("o_6", token), wanted)


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        ("succeed", "requires_capture", None),
        ("fail", "requires_payment_method", "payment_intent_authentication_failure"),
    ],
)
async def test_a_second_step(
    payments: Payments, bank: Bank, outcome: str, status: str, code: str | None
) -> None:
    order = record(f"o_second_{outcome}", "pm_card_authenticationRequired")
    intent = await payments.authorize(SHOP, order, wanted)
    assert intent.status == "requires_action"
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    await bank.second_step(intent.client_secret, outcome)
    after = await payments.read(intent.id)
    assert (after.status, after.decline_code) == (status, code)


async def test_a_lost_reply_is_asked_for_again(payments: Payments, bank: Bank) -> None:
    await bank.fails(lose_reply_percent=100, times=1, endpoint=CREATE)
    order = record("o_7")
    intent = await payments.authorize(SHOP, order, wanted)
    await bank.fails(lose_reply_percent=100, times=1, endpoint=CAPTURE)
    done = await payments.capture(SHOP, msgspec.structs.replace(order, intent=intent.id))
    assert done.status == "succeeded"
    [made] = await bank.intents("o_7")
    assert made["amount_received"] == 1500


async def test_a_lost_intent_is_found_by_its_order(payments: Payments, bank: Bank) -> None:
    order = record("o_8")
    assert await payments.find(SHOP, order) is None
    await bank.fails(lose_reply_percent=100, endpoint=CREATE)
    with pytest.raises(Unavailable):
        await payments.authorize(SHOP, order, wanted)
    found = await payments.find(SHOP, order)
    assert found is not None
    assert found.status == "requires_capture"
    assert await payments.find(SHOP, msgspec.structs.replace(order, attempt=2)) is None
    await bank.fails()
    assert await payments.authorize(SHOP, order, wanted) == found


async def test_a_500_is_looked_behind(payments: Payments, bank: Bank) -> None:
    order = record("o_500")
    await bank.fails(error_500_percent=100)
    with pytest.raises(Unavailable):
        await payments.authorize(SHOP, order, wanted)  # neither the answer nor the look behind it
    await bank.fails(error_500_percent=100, endpoint=CREATE)
    intent = await payments.authorize(SHOP, order, wanted)
    assert intent.status == "requires_capture"
    order = msgspec.structs.replace(order, intent=intent.id)
    await bank.fails(error_500_percent=100, endpoint=CANCEL)
    assert (await payments.cancel(SHOP, order, intent.id)).status == "canceled"
    await bank.fails(error_500_percent=100, endpoint=CAPTURE)
    with pytest.raises(Unavailable):
        await payments.capture(SHOP, order)


@pytest.mark.parametrize(
    "plan",
    [
        {"error_500_percent": 100, "error_500_effect": False},
        {"lock_percent": 100},
        {"lose_reply_percent": 100},
    ],
    ids=["500", "429", "lost"],
)
async def test_no_definite_answer_is_unavailable(
    payments: Payments, bank: Bank, plan: dict[str, Any]
) -> None:
    await bank.fails(**plan)
    with pytest.raises(Unavailable):
        await payments.authorize(SHOP, record(f"o_9_{next(iter(plan))}"), wanted)


async def test_a_bank_that_takes_too_long_is_unavailable(
    redis_url: str, sandbox: str, bank: Bank
) -> None:
    await bank.fails(latency_ms=800)
    async with payments_at(redis_url, sandbox, timeout_ms=100) as hasty:
        with pytest.raises(Unavailable):
            await hasty.authorize(SHOP, record("o_10"), wanted)


async def test_nobody_there_is_unavailable(redis_url: str) -> None:
    async with payments_at(redis_url, "http://127.0.0.1:9", timeout_ms=100) as payments:
        with pytest.raises(Unavailable):
            await payments.read("pi_1")


async def test_over_the_rate_limit_is_asked_again_and_then_unavailable(redis_url: str) -> None:
    async with (
        server.serving(StripeSettings(per_endpoint=1, per_account=1)) as url,
        payments_at(redis_url, url) as payments,
    ):
        asked = [payments.authorize(SHOP, record(f"o_{number}"), wanted) for number in range(4)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Intent, Silent}


async def test_what_goes_wrong_is_said_without_what_is_secret(
    payments: Payments, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Declined):
        await payments.authorize(SHOP, record("o_11", "pm_card_chargeDeclined"), wanted)
    with pytest.raises(Unavailable):
        await payments.read("pi_nobodys")
    for logged in caplog.records:
        if logged.name.startswith("gateway"):
            assert "sk_test" not in logged.getMessage()
            assert "_secret_" not in logged.getMessage()
