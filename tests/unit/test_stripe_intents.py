"""The PaymentIntent moves along Stripe's edges, and along no other."""

import asyncio

import pytest

from tests.stripe_inprocess import MANUAL, PAID, Answer, Sandbox, sandbox

VISA = "pm_card_visa"
AUTOMATIC = MANUAL | {"capture_method": "automatic", "currency": "eur"}
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


async def test_of_a_capture_and_a_cancel_at_once_one_wins() -> None:
    async with sandbox() as shop:
        for _ in range(5):
            intent = await shop.intent()
            path = f"payment_intents/{intent['id']}"
            answers = await asyncio.gather(
                *(shop.post(f"{path}/{verb}") for verb in ("capture", "cancel", "capture"))
            )
            assert sorted(answer.status for answer in answers) == [200, 400, 400]
            now = (await shop.get(path)).body
            assert (now["status"], now["amount_received"]) in (("succeeded", 1250), ("canceled", 0))


@pytest.mark.parametrize(
    ("fault", "verb", "status", "received", "event"),
    [
        ("capture_loses_percent", "capture", "canceled", 0, "payment_intent.canceled"),
        ("cancel_loses_percent", "cancel", "succeeded", 1250, "payment_intent.succeeded"),
    ],
)
async def test_somebody_else_may_be_faster(
    fault: str, verb: str, status: str, received: int, event: str
) -> None:
    async with sandbox() as shop:
        await shop.faults(**{fault: 100, "times": 1})
        intent = await shop.intent()
        path = f"payment_intents/{intent['id']}"
        for _ in range(2):
            refused = await shop.post(f"{path}/{verb}", key="k")
            assert refused.error["code"] == "payment_intent_unexpected_state"
        assert refused.headers["idempotent-replayed"] == "true"
        now = (await shop.get(path)).body
        assert (now["status"], now["amount_received"]) == (status, received)
        newest = (await shop.get("events")).body["data"][0]
        assert (newest["type"], newest["request"]["idempotency_key"]) == (event, None)


async def test_a_token_goes_before_the_method_on_file() -> None:
    async with sandbox() as shop:
        intent = (await shop.post("payment_intents", MANUAL | {"payment_method": VISA})).body
        form = {"payment_method": "pm_card_mastercard"}
        token = (await shop.post("test_helpers/confirmation_tokens", form)).body["id"]
        path = f"payment_intents/{intent['id']}/confirm"
        paid = (await shop.post(path, {"confirmation_token": token})).body
        method = (await shop.get(f"payment_methods/{paid['payment_method']}")).body
        assert method["card"]["brand"] == "mastercard"


@pytest.mark.parametrize("unset", [False, True])
async def test_a_card_may_be_captured_later_where_the_payment_is_not(unset: bool) -> None:  # noqa: FBT001 - the parameter of the test
    async with sandbox() as shop:
        later = {"payment_method_options[card][capture_method]": "manual"}
        intent = (await shop.post("payment_intents", AUTOMATIC | later)).body
        assert intent["capture_method"] == "automatic"
        assert intent["payment_method_options"]["card"]["capture_method"] == "manual"
        form = {"payment_method": VISA}
        if unset:
            form["payment_method_options[card][capture_method]"] = ""
        paid = (await shop.post(f"payment_intents/{intent['id']}/confirm", form)).body
        assert paid["status"] == ("succeeded" if unset else "requires_capture")
        assert ("capture_method" in paid["payment_method_options"]["card"]) is not unset


async def test_a_method_the_payment_does_not_take_is_refused_and_its_token_kept() -> None:
    async with sandbox() as shop:
        back = {"return_url": "https://shop.example/", "payment_method": "pm_ideal"}
        token = (await shop.post("test_helpers/confirmation_tokens", back)).body["id"]
        for way in (
            {"payment_method": "pm_ideal"},
            {"payment_method_data[type]": "ideal"},
            {"confirmation_token": token},
        ):
            refused = await shop.post("payment_intents", MANUAL | {"confirm": "true"} | way)
            assert refused.error["code"] == "payment_intent_incompatible_payment_method", way
        taking = AUTOMATIC | {"allowed_payment_method_types[1]": "ideal", "confirm": "true"}
        asked = (await shop.post("payment_intents", taking | {"confirmation_token": token})).body
        assert asked["status"] == "requires_action"


async def test_a_method_is_named_in_one_way() -> None:
    async with sandbox() as shop:
        twice = {"payment_method": VISA, "payment_method_data[type]": "ideal"}
        refused = await shop.post("payment_intents", MANUAL | twice)
        assert (refused.status, refused.error["param"]) == (400, "payment_method_data")
        numbers = {"payment_method_data[type]": "card"}
        assert (await shop.post("payment_intents", MANUAL | numbers)).status == 400
