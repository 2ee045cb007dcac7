"""The PaymentIntent moves along Stripe's edges, and along no other."""

import pytest

from tests.stripe_inprocess import MANUAL, PAID, Answer, Sandbox, sandbox

THREE_D_SECURE = ("pm_card_threeDSecure2Required", "pm_card_authenticationRequired")


async def _in_state(shop: Sandbox, status: str) -> str:
    """The id of an intent in that state."""
    changes = {
        "requires_payment_method": {},
        "requires_confirmation": {"payment_method": "pm_card_visa"},
        "requires_action": {"payment_method": THREE_D_SECURE[0], "confirm": "true"},
        "requires_capture": {"payment_method": "pm_card_visa", "confirm": "true"},
    }
    ended = {"succeeded": "capture", "canceled": "cancel"}
    form = changes.get(status, changes["requires_capture"])
    intent = (await shop.post("payment_intents", MANUAL | form)).body
    if status in ended:
        intent = (await shop.post(f"payment_intents/{intent['id']}/{ended[status]}")).body
    assert intent["status"] == status
    identifier: str = intent["id"]
    return identifier


STATES = (
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "requires_capture",
    "succeeded",
    "canceled",
)


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize(
    ("verb", "allowed", "after"),
    [
        ("confirm", STATES[:3], "requires_capture"),
        ("capture", STATES[3:4], "succeeded"),
        ("cancel", STATES[:4], "canceled"),
    ],
)
async def test_every_edge(status: str, verb: str, allowed: tuple[str, ...], after: str) -> None:
    async with sandbox() as shop:
        identifier = await _in_state(shop, status)
        form = {"payment_method": "pm_card_visa"} if verb == "confirm" else {}
        answer = await shop.post(f"payment_intents/{identifier}/{verb}", form)
        if status in allowed:
            assert answer.body["status"] == after
        else:
            assert answer.status == 400
            assert answer.error["type"] == "invalid_request_error"
            assert answer.error["code"] == "payment_intent_unexpected_state"
            assert answer.error["payment_intent"]["id"] == identifier
            now = (await shop.get(f"payment_intents/{identifier}")).body
            assert now["status"] == status


@pytest.mark.parametrize("verb", ["confirm", "capture", "cancel"])
async def test_an_unknown_intent_is_404(verb: str) -> None:
    async with sandbox() as shop:
        answer = await shop.post(f"payment_intents/pi_nobody/{verb}")
        assert (answer.status, answer.error["code"]) == (404, "resource_missing")
        assert (await shop.get("payment_intents/pi_nobody")).status == 404


async def test_what_was_given_is_shown() -> None:
    async with sandbox() as shop:
        intent = await shop.intent(
            currency="EUR",
            description="a scarf",
            receipt_email="ann@example.com",
            **{"metadata[order]": "7", "metadata[empty]": "", "shipping[name]": "Ann"},
            **{"shipping[address][city]": "Ulm"},
        )
        assert intent["currency"] == "eur"
        assert intent["metadata"] == {"order": "7"}
        assert intent["shipping"]["address"]["city"] == "Ulm"
        assert (intent["description"], intent["receipt_email"]) == ("a scarf", "ann@example.com")
        assert intent["livemode"] is False
        charge = (await shop.get(f"charges/{intent['latest_charge']}")).body
        assert charge["metadata"] == {"order": "7"}


async def test_a_partial_capture_lets_go_of_the_rest() -> None:
    async with sandbox() as shop:
        identifier = await _in_state(shop, "requires_capture")
        path = f"payment_intents/{identifier}/capture"
        form = {"amount_to_capture": "1000", "metadata[unit]": "3"}
        paid = (await shop.post(path, form)).body
        assert (paid["amount_received"], paid["amount_capturable"]) == (1000, 0)
        assert paid["metadata"] == {"unit": "3"}
        charge = (await shop.get(f"charges/{paid['latest_charge']}")).body
        assert (charge["amount"], charge["amount_captured"]) == (1250, 1000)
        assert "remainder" in (await shop.post(path)).error["message"]


@pytest.mark.parametrize(
    ("amount", "code"),
    [("1251", "amount_too_large"), ("0", "parameter_invalid_integer"), ("-1", None)],
)
async def test_no_capture_above_or_below_what_is_there(amount: str, code: str | None) -> None:
    async with sandbox() as shop:
        identifier = await _in_state(shop, "requires_capture")
        path = f"payment_intents/{identifier}/capture"
        answer = await shop.post(path, {"amount_to_capture": amount})
        assert answer.status == 400
        assert code in (None, answer.error["code"])


async def test_a_cancel_says_when_and_why() -> None:
    async with sandbox() as shop:
        identifier = await _in_state(shop, "requires_capture")
        form = {"cancellation_reason": "abandoned"}
        canceled = (await shop.post(f"payment_intents/{identifier}/cancel", form)).body
        assert canceled["canceled_at"] == int(shop.clock.now)
        assert canceled["cancellation_reason"] == "abandoned"
        assert canceled["amount_capturable"] == 0


async def _complete(shop: Sandbox, intent: dict[str, str], outcome: str) -> Answer:
    form = {"client_secret": intent["client_secret"], "outcome": outcome}
    return await shop.post(f"sandbox/payment_intents/{intent['id']}/complete_action", form)


@pytest.mark.parametrize("method", THREE_D_SECURE)
@pytest.mark.parametrize(
    ("how", "after"), [("manual", "requires_capture"), ("automatic", "succeeded")]
)
async def test_a_second_step_that_succeeds(method: str, how: str, after: str) -> None:
    async with sandbox() as shop:
        waiting = await shop.intent(payment_method=method, capture_method=how)
        assert waiting["status"] == "requires_action"
        assert waiting["next_action"]["type"] == "use_stripe_sdk"
        assert (waiting["latest_charge"], waiting["amount_capturable"]) == (None, 0)
        done = await _complete(shop, waiting, "succeed")
        assert done.body["status"] == after
        assert done.body["next_action"] is None
        assert "payment_intent.requires_action" in await shop.kinds()


async def test_a_second_step_that_fails_asks_for_another_method() -> None:
    async with sandbox() as shop:
        waiting = await shop.intent(payment_method=THREE_D_SECURE[0])
        failed = (await _complete(shop, waiting, "fail")).body
        assert failed["status"] == "requires_payment_method"
        assert failed["last_payment_error"]["code"] == "payment_intent_authentication_failure"
        assert (await shop.kinds())[-1] == "payment_intent.payment_failed"
        late = await _complete(shop, waiting, "succeed")
        assert late.error["code"] == "payment_intent_unexpected_state"


async def test_a_card_may_be_declined_after_the_second_step() -> None:
    async with sandbox() as shop:
        waiting = await shop.intent(payment_method="pm_card_threeDSecureRequiredChargeDeclined")
        assert (await _complete(shop, waiting, "succeed")).status == 402


async def test_a_second_step_needs_the_right_secret() -> None:
    async with sandbox() as shop:
        waiting = await shop.intent(payment_method=THREE_D_SECURE[0])
        answer = await _complete(shop, waiting | {"client_secret": "guess"}, "succeed")
        assert (answer.status, answer.error["param"]) == (400, "client_secret")


async def test_with_a_return_url_the_second_step_is_a_redirect() -> None:
    async with sandbox() as shop:
        back = "https://shop.example/back"
        waiting = await shop.intent(payment_method=THREE_D_SECURE[0], return_url=back)
        step = waiting["next_action"]
        assert step["type"] == "redirect_to_url"
        assert step["redirect_to_url"]["return_url"] == back
        page = await shop.client.get(step["redirect_to_url"]["url"])
        assert page.status_code == 200
        in_place = await shop.intent(
            payment_method=THREE_D_SECURE[0], return_url=back, use_stripe_sdk="true"
        )
        assert in_place["next_action"]["type"] == "use_stripe_sdk"


async def test_methods_that_may_redirect_need_a_return_url() -> None:
    async with sandbox() as shop:
        form = {name: value for name, value in PAID.items() if "types" not in name}
        assert "return_url" in (await shop.post("payment_intents", form)).error["message"]
        never = {
            "automatic_payment_methods[enabled]": "true",
            "automatic_payment_methods[allow_redirects]": "never",
        }
        assert (await shop.post("payment_intents", form | never)).status == 200
        back = {"return_url": "https://shop.example/"}
        assert (await shop.post("payment_intents", form | back)).status == 200


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"amount": "49"}, "amount_too_small", "amount"),
        ({"amount": "abc"}, "parameter_invalid_integer", "amount"),
        ({"currency": "xxx"}, None, "currency"),
        ({"capture_method": "later"}, None, "capture_method"),
        ({"allowed_payment_method_types[0]": "ideal"}, None, "allowed_payment_method_types"),
        (
            {"payment_method_types[0]": "card"},
            "payment_method_types_no_longer_supported",
            "payment_method_types",
        ),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"automatic_payment_methods[enabled]": "true"}, None, "allowed_payment_method_types"),
    ],
)
async def test_bad_parameters_create_nothing(
    changes: dict[str, str], code: str | None, param: str
) -> None:
    async with sandbox() as shop:
        answer = await shop.post("payment_intents", PAID | changes)
        assert (answer.status, answer.error.get("code")) == (400, code)
        assert answer.error["param"] == param
        assert (await shop.get("payment_intents")).body["data"] == []


async def test_an_intent_without_a_method_cannot_be_confirmed() -> None:
    async with sandbox() as shop:
        answer = await shop.post("payment_intents", MANUAL | {"confirm": "true"})
        assert answer.error["code"] == "payment_intent_unexpected_state"


async def test_allowed_types_are_narrowed_to_what_fits() -> None:
    async with sandbox() as shop:
        allowed = {"allowed_payment_method_types[1]": "ideal"}
        intent = (await shop.post("payment_intents", MANUAL | allowed)).body
        assert intent["allowed_payment_method_types"] == ["card", "ideal"]
        assert intent["payment_method_types"] == ["card"]
        assert intent["automatic_payment_methods"] is None
        dynamic = {"amount": "100", "currency": "eur"}
        intent = (await shop.post("payment_intents", dynamic)).body
        assert intent["payment_method_types"] == ["card", "link"]
        narrowed = {"allowed_payment_method_types[0]": "card", "payment_method": "pm_card_visa"}
        paid = (await shop.post(f"payment_intents/{intent['id']}/confirm", narrowed)).body
        assert (paid["status"], paid["payment_method_types"]) == ("succeeded", ["card"])
