"""What shoppers pay with: test cards, stored methods, confirmation tokens."""

import pytest

from gateway.sandbox.stripe import methods
from gateway.sandbox.stripe.objects import TOKEN_LIFE_S
from tests.stripe_inprocess import MANUAL, Sandbox, sandbox

CONFIRMED = {**MANUAL, "confirm": "true"}


PAGE = "sandbox/confirmation_tokens"


async def _token(
    shop: Sandbox, path: str = "test_helpers/confirmation_tokens", **given: str
) -> str:
    form = {"payment_method": "pm_card_visa", **given}
    answer = await shop.post(path, form)
    assert answer.status == 200, answer.body
    identifier: str = answer.body["id"]
    return identifier


async def test_a_test_card_becomes_a_payment_method_of_its_own() -> None:
    async with sandbox() as shop:
        intent = await shop.intent(payment_method="pm_card_mastercard")
        assert intent["payment_method"].startswith("pm_")
        method = (await shop.get(f"payment_methods/{intent['payment_method']}")).body
        assert (method["card"]["brand"], method["card"]["last4"]) == ("mastercard", "4444")


async def test_an_unknown_method_is_400_resource_missing() -> None:
    async with sandbox() as shop:
        answer = await shop.post("payment_intents", {**CONFIRMED, "payment_method": "pm_nobody"})
        assert (answer.status, answer.error["code"]) == (400, "resource_missing")
        assert answer.error["param"] == "payment_method"


async def test_a_token_confirms_one_intent_and_is_used_up() -> None:
    async with sandbox() as shop:
        token = await _token(shop)
        paid = await shop.post("payment_intents", {**CONFIRMED, "confirmation_token": token})
        assert paid.body["status"] == "requires_capture"
        seen = (await shop.get(f"confirmation_tokens/{token}")).body
        assert seen["payment_intent"] == paid.body["id"]
        again = await shop.post("payment_intents", {**CONFIRMED, "confirmation_token": token})
        assert again.status == 400
        assert again.error["code"] == "payment_intent_confirmation_token_invalid"


async def test_a_pages_token_pays_with_its_card() -> None:
    async with sandbox() as shop:
        token = await _token(shop, PAGE, payment_method="pm_card_mastercard")
        paid = await shop.post("payment_intents", {**CONFIRMED, "confirmation_token": token})
        assert paid.body["status"] == "requires_capture"
        method = (await shop.get(f"payment_methods/{paid.body['payment_method']}")).body
        assert method["card"]["last4"] == "4444"


async def test_a_page_has_test_cards_only() -> None:
    async with sandbox() as shop:
        stored = (await shop.intent())["payment_method"]
        for form in ({}, {"payment_method": stored}, {"payment_method": "pm_card_nobody"}):
            refused = await shop.post(PAGE, form)
            assert (refused.status, refused.error["param"]) == (400, "payment_method")


async def test_pages_leave_a_bounded_number_of_tokens_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(methods, "PAGE_TOKENS", 2)
    async with sandbox() as shop:
        spent = await _token(shop, PAGE)
        await shop.post("payment_intents", {**CONFIRMED, "confirmation_token": spent})
        tokens = [await _token(shop, PAGE) for _ in range(3)]
        seen = [await shop.get(f"confirmation_tokens/{token}") for token in (spent, *tokens)]
        assert [answer.status for answer in seen] == [200, 404, 200, 200]


async def test_a_declined_token_is_used_up_too() -> None:
    async with sandbox() as shop:
        token = await _token(shop, payment_method="pm_card_chargeDeclined")
        declined = await shop.post("payment_intents", {**CONFIRMED, "confirmation_token": token})
        assert declined.status == 402
        assert (await shop.get(f"confirmation_tokens/{token}")).body["payment_intent"]


async def test_a_token_expires_after_twelve_hours() -> None:
    async with sandbox() as shop:
        token = await _token(shop)
        shop.clock.now += TOKEN_LIFE_S
        late = await shop.post("payment_intents", {**CONFIRMED, "confirmation_token": token})
        assert late.error["code"] == "payment_intent_confirmation_token_invalid"


async def test_the_tokens_return_url_counts() -> None:
    async with sandbox() as shop:
        token = await _token(shop, return_url="https://shop.example/back")
        form = {
            "amount": "100",
            "currency": "eur",
            "confirm": "true",
            "confirmation_token": token,
        }
        assert (await shop.post("payment_intents", form)).status == 200


async def test_an_unknown_token_and_a_token_beside_a_method_are_refused() -> None:
    async with sandbox() as shop:
        unknown = {**CONFIRMED, "confirmation_token": "ctoken_nobody"}
        assert (await shop.post("payment_intents", unknown)).error["code"] == "resource_missing"
        both = {**unknown, "payment_method": "pm_card_visa"}
        assert (await shop.post("payment_intents", both)).status == 400
        early = {**MANUAL, "confirmation_token": "ctoken_nobody"}
        assert (await shop.post("payment_intents", early)).error["param"] == "confirmation_token"
