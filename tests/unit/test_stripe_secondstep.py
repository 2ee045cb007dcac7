"""The bank's page stands alone, and what is said there counts, or not."""

import re

import pytest

from gateway.sandbox.stripe.secondstep import PAGE
from tests.stripe_inprocess import Answer, Sandbox, sandbox


def test_the_page_loads_nothing_from_anywhere() -> None:
    assert not re.search(r"(?:src|href)=|https?://|@import|url\(", PAGE)


def test_the_page_offers_every_outcome() -> None:
    assert re.findall(r'<button value="(\w+)"( hidden)?', PAGE) == [
        ("succeed", ""),
        ("fail", ""),
        ("process", " hidden"),
    ]


async def _asked(shop: Sandbox) -> dict[str, str]:
    return await shop.intent(payment_method="pm_card_threeDSecure2Required")


async def _answer(shop: Sandbox, intent: dict[str, str], outcome: str) -> Answer:
    form = {"client_secret": intent["client_secret"], "outcome": outcome}
    return await shop.post(f"sandbox/payment_intents/{intent['id']}/complete_action", form)


async def test_a_second_step_that_never_ends_is_a_payment_that_can_be_let_go() -> None:
    async with sandbox() as shop:
        waiting = await _asked(shop)
        await shop.faults(second_step="never")
        for outcome in ("succeed", "fail"):
            assert (await _answer(shop, waiting, outcome)).body == waiting
        canceled = await shop.post(f"payment_intents/{waiting['id']}/cancel")
        assert canceled.body["status"] == "canceled"


@pytest.mark.parametrize(
    ("heard", "said", "status"),
    [("fail", "succeed", "requires_payment_method"), ("succeed", "fail", "requires_capture")],
)
async def test_the_bank_may_hear_what_was_not_said(heard: str, said: str, status: str) -> None:
    async with sandbox() as shop:
        waiting = await _asked(shop)
        await shop.faults(second_step=heard)
        assert (await _answer(shop, waiting, said)).body["status"] == status


async def test_a_card_is_never_processing() -> None:
    async with sandbox() as shop:
        waiting = await _asked(shop)
        refused = await _answer(shop, waiting, "process")
        assert (refused.status, refused.error["param"]) == (400, "outcome")


async def test_a_bank_may_ask_although_the_card_would_not() -> None:
    async with sandbox() as shop:
        await shop.faults(second_step_percent=100, times=1)
        assert (await shop.intent())["status"] == "requires_action"
        assert (await shop.intent())["status"] == "requires_capture"
