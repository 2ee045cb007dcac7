"""The bank authorizes, takes or declines, and the charge says so."""

import pytest

from tests.stripe_inprocess import PAID, sandbox

DECLINES = [
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", None),
    ("pm_card_chargeDeclined", "card_declined", "generic_decline", None),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", None),
    ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card", None),
    ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card", None),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "exp_month"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc", "cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error", None),
]


@pytest.mark.parametrize(("method", "code", "decline_code", "param"), DECLINES)
async def test_a_declined_card_is_402_with_the_intent_inside(
    method: str, code: str, decline_code: str, param: str | None
) -> None:
    async with sandbox() as shop:
        answer = await shop.post("payment_intents", PAID | {"payment_method": method})
        assert answer.status == 402
        error = answer.error
        assert (error["type"], error["code"]) == ("card_error", code)
        assert (error["decline_code"], error.get("param")) == (decline_code, param)
        intent = error["payment_intent"]
        assert intent["status"] == "requires_payment_method"
        assert intent["last_payment_error"]["decline_code"] == decline_code
        assert intent["payment_method"] is None
        charge = (await shop.get(f"charges/{intent['latest_charge']}")).body
        assert (charge["status"], charge["paid"], charge["captured"]) == ("failed", False, False)
        assert await shop.kinds() == [
            "payment_intent.created",
            "charge.failed",
            "payment_intent.payment_failed",
        ]


async def test_another_card_pays_a_declined_intent() -> None:
    async with sandbox() as shop:
        form = PAID | {"payment_method": "pm_card_chargeDeclined"}
        declined = (await shop.post("payment_intents", form)).error["payment_intent"]
        paid = await shop.post(
            f"payment_intents/{declined['id']}/confirm", {"payment_method": "pm_card_visa"}
        )
        assert paid.body["status"] == "requires_capture"
        assert paid.body["last_payment_error"] is None
        assert paid.body["latest_charge"] != declined["latest_charge"]


async def test_manual_capture_only_authorizes() -> None:
    async with sandbox() as shop:
        intent = await shop.intent()
        assert intent["status"] == "requires_capture"
        assert (intent["amount_capturable"], intent["amount_received"]) == (1250, 0)
        charge = (await shop.get(f"charges/{intent['latest_charge']}")).body
        assert (charge["captured"], charge["amount_captured"], charge["paid"]) == (False, 0, True)
        assert (await shop.kinds())[-1] == "payment_intent.amount_capturable_updated"


@pytest.mark.parametrize("how", ["automatic", "automatic_async"])
async def test_automatic_capture_takes_the_money_at_once(how: str) -> None:
    async with sandbox() as shop:
        intent = await shop.intent(capture_method=how)
        assert intent["status"] == "succeeded"
        assert (intent["amount_capturable"], intent["amount_received"]) == (0, 1250)
        charge = (await shop.get(f"charges/{intent['latest_charge']}")).body
        assert (charge["captured"], charge["amount_captured"]) == (True, 1250)
        assert (await shop.kinds())[-2:] == ["charge.succeeded", "payment_intent.succeeded"]


async def test_a_good_card_is_declined_by_a_fault() -> None:
    async with sandbox() as shop:
        await shop.faults(declines_percent=100, times=1)
        assert (await shop.post("payment_intents", PAID)).error["decline_code"] == "generic_decline"
        assert (await shop.intent())["status"] == "requires_capture"
