"""iDEAL: asked, under way, arrived or failed, and never captured later."""

import pytest

from tests.stripe_inprocess import Answer, Sandbox, sandbox

BACK = "https://shop.example/back"
TAKING = {
    "amount": "1250",
    "currency": "eur",
    "capture_method": "automatic",
    "payment_method_options[card][capture_method]": "manual",
    "allowed_payment_method_types[0]": "card",
    "allowed_payment_method_types[1]": "ideal",
    "return_url": BACK,
    "confirm": "true",
}
ASKED = {**TAKING, "payment_method": "pm_ideal"}


async def _asked(shop: Sandbox) -> dict[str, str]:
    answer = await shop.post("payment_intents", ASKED)
    assert answer.status == 200, answer.body
    return answer.body


async def _told(shop: Sandbox, intent: dict[str, str], outcome: str) -> Answer:
    form = {"client_secret": intent["client_secret"], "outcome": outcome}
    return await shop.post(f"sandbox/payment_intents/{intent['id']}/complete_action", form)


async def _charge(shop: Sandbox, intent: dict[str, str]) -> dict[str, object]:
    return (await shop.get(f"charges/{intent['latest_charge']}")).body


async def test_the_shopper_is_sent_to_the_bank_and_back() -> None:
    async with sandbox() as shop:
        intent = await _asked(shop)
        assert intent["status"] == "requires_action"
        assert intent["latest_charge"] is None
        (step,) = [intent["next_action"]]
        assert isinstance(step, dict)
        assert step["type"] == "redirect_to_url"
        assert step["redirect_to_url"]["return_url"] == BACK
        assert "method=ideal" in step["redirect_to_url"]["url"]
        assert (await shop.client.get(step["redirect_to_url"]["url"])).status_code == 200


async def test_it_is_paid_at_once_and_cannot_be_captured_later() -> None:
    async with sandbox() as shop:
        paid = (await _told(shop, await _asked(shop), "succeed")).body
        assert (paid["status"], paid["amount_received"]) == ("succeeded", 1250)
        charge = await _charge(shop, paid)
        assert (charge["captured"], charge["amount_captured"]) == (True, 1250)
        assert (await shop.kinds())[-2:] == ["charge.succeeded", "payment_intent.succeeded"]
        assert (await shop.post(f"payment_intents/{paid['id']}/cancel")).status == 400


async def test_a_card_of_the_same_payment_is_captured_later() -> None:
    async with sandbox() as shop:
        held = (
            await shop.post("payment_intents", TAKING | {"payment_method": "pm_card_visa"})
        ).body
        assert (held["status"], held["amount_capturable"]) == ("requires_capture", 1250)
        taken = (await shop.post(f"payment_intents/{held['id']}/capture")).body
        assert taken["status"] == "succeeded"


async def test_the_shopper_may_say_no() -> None:
    async with sandbox() as shop:
        failed = (await _told(shop, await _asked(shop), "fail")).body
        assert failed["status"] == "requires_payment_method"
        assert failed["last_payment_error"]["code"] == "payment_intent_authentication_failure"
        path = f"payment_intents/{failed['id']}/confirm"
        again = await shop.post(path, {"payment_method_data[type]": "ideal", "return_url": BACK})
        assert again.body["status"] == "requires_action"


async def test_it_is_under_way_until_the_money_arrives() -> None:
    async with sandbox() as shop:
        intent = await _asked(shop)
        under_way = (await _told(shop, intent, "process")).body
        assert (under_way["status"], under_way["next_action"]) == ("processing", None)
        charge = await _charge(shop, under_way)
        assert (charge["status"], charge["paid"], charge["amount_captured"]) == (
            "pending",
            False,
            0,
        )
        assert (await shop.kinds())[-2:] == ["charge.pending", "payment_intent.processing"]
        assert (await shop.get("balance")).body["available"][0]["amount"] == 0
        refund = await shop.post("refunds", {"payment_intent": intent["id"]})
        assert "successful charge" in refund.error["message"]
        assert (await _told(shop, intent, "process")).status == 400
        paid = (await _told(shop, intent, "succeed")).body
        assert (paid["status"], paid["amount_received"]) == ("succeeded", 1250)
        assert paid["latest_charge"] == charge["id"]
        assert (await _charge(shop, paid))["paid"] is True
        assert (await shop.kinds())[-2:] == ["charge.succeeded", "payment_intent.succeeded"]


async def test_it_is_under_way_until_the_bank_gives_up() -> None:
    async with sandbox() as shop:
        intent = await _asked(shop)
        await _told(shop, intent, "process")
        failed = (await _told(shop, intent, "fail")).body
        assert failed["status"] == "requires_payment_method"
        error = failed["last_payment_error"]
        assert (error["code"], error["charge"]) == (
            "payment_method_provider_decline",
            failed["latest_charge"],
        )
        charge = await _charge(shop, failed)
        assert (charge["status"], charge["failure_code"]) == ("failed", error["code"])
        assert (await shop.kinds())[-2:] == ["charge.failed", "payment_intent.payment_failed"]


@pytest.mark.parametrize("rare", [False, True])
async def test_what_is_under_way_can_be_let_go_in_rare_cases_only(rare: bool) -> None:  # noqa: FBT001 - the parameter of the test
    async with sandbox() as shop:
        intent = await _asked(shop)
        await _told(shop, intent, "process")
        await shop.faults(cancel_processing=rare)
        path = f"payment_intents/{intent['id']}"
        answer = await shop.post(f"{path}/cancel")
        assert (await shop.get(path)).body["status"] == ("canceled" if rare else "processing")
        if not rare:
            assert answer.error["code"] == "payment_intent_unexpected_state"
        for verb in ("confirm", "capture"):
            assert (await shop.post(f"{path}/{verb}")).status == 400


async def test_what_is_only_asked_for_can_be_let_go_and_then_the_bank_comes_too_late() -> None:
    async with sandbox() as shop:
        intent = await _asked(shop)
        canceled = await shop.post(f"payment_intents/{intent['id']}/cancel")
        assert canceled.body["status"] == "canceled"
        late = await _told(shop, intent, "succeed")
        assert late.error["code"] == "payment_intent_unexpected_state"
        assert (await shop.get("sandbox/summary")).body["captured"]["count"] == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"capture_method": "manual"}, "payment_intent_incompatible_payment_method"),
        ({"currency": "usd"}, "payment_intent_incompatible_payment_method"),
        ({"return_url": ""}, "parameter_invalid_empty"),
    ],
)
async def test_what_ideal_cannot_do(changes: dict[str, str], code: str) -> None:
    async with sandbox() as shop:
        refused = await shop.post("payment_intents", ASKED | changes)
        assert (refused.status, refused.error["code"]) == (400, code)


async def test_it_needs_a_way_back_and_to_be_asked_for_by_name() -> None:
    async with sandbox() as shop:
        form = {name: value for name, value in ASKED.items() if name != "return_url"}
        assert (await shop.post("payment_intents", form)).error["param"] == "return_url"
        dynamic = {name: value for name, value in ASKED.items() if "allowed" not in name}
        refused = await shop.post("payment_intents", dynamic)
        assert refused.error["code"] == "payment_intent_incompatible_payment_method"


async def test_a_page_gets_a_token_for_it() -> None:
    async with sandbox() as shop:
        form = {"payment_method": "pm_ideal", "return_url": BACK}
        token = (await shop.post("sandbox/confirmation_tokens", form)).body
        assert token["payment_method_preview"]["type"] == "ideal"
        paying = {name: value for name, value in TAKING.items() if name != "return_url"}
        asked = await shop.post("payment_intents", paying | {"confirmation_token": token["id"]})
        assert asked.body["next_action"]["redirect_to_url"]["return_url"] == BACK


async def test_it_is_refunded_like_any_other() -> None:
    async with sandbox() as shop:
        paid = (await _told(shop, await _asked(shop), "succeed")).body
        refund = (await shop.post("refunds", {"payment_intent": paid["id"], "amount": "250"})).body
        assert (refund["status"], refund["destination_details"]) == ("succeeded", None)
        assert (await _charge(shop, paid))["amount_refunded"] == 250
