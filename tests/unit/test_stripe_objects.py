"""Every object the sandbox shows is one the SDK's types and Stripe's examples know."""

from typing import Any

import pytest
import stripe

from gateway.sandbox.stripe import objects
from tests.stripe_contract import deviations, example, violations
from tests.stripe_inprocess import Sandbox, sandbox

SHIPPING = {"shipping[name]": "Ann", "shipping[address][line1]": "1 High St"}


async def _transfer(shop: Sandbox, outcome: str) -> dict[str, Any]:
    """An iDEAL payment; `fail` after it was under way."""
    form = {
        "amount": "700",
        "currency": "eur",
        "allowed_payment_method_types[0]": "ideal",
        "payment_method_data[type]": "ideal",
        "return_url": "https://shop.example/",
        "confirm": "true",
    }
    intent = (await shop.post("payment_intents", form)).body
    path = f"sandbox/payment_intents/{intent['id']}/complete_action"
    for told in ("process", "fail") if outcome == "fail" else (outcome,):
        answer = await shop.post(path, {"client_secret": intent["client_secret"], "outcome": told})
    return answer.body


async def _everything(shop: Sandbox) -> list[dict[str, object]]:
    """One of each object, in each of its states."""
    token = (
        await shop.post(
            "test_helpers/confirmation_tokens",
            {"payment_method": "pm_card_visa", "return_url": "https://shop.example/", **SHIPPING},
        )
    ).body
    waiting = await shop.intent(payment_method="pm_card_threeDSecure2Required")
    redirected = await shop.intent(
        payment_method="pm_card_authenticationRequired", return_url="https://shop.example/"
    )
    failed = await shop.post(
        f"sandbox/payment_intents/{waiting['id']}/complete_action",
        {"client_secret": waiting["client_secret"], "outcome": "fail"},
    )
    authorized = await shop.intent(**SHIPPING, **{"metadata[order]": "7"})
    captured = (await shop.post(f"payment_intents/{authorized['id']}/capture")).body
    refund = (await shop.post("refunds", {"payment_intent": captured["id"], "amount": "50"})).body
    canceled = await shop.post(f"payment_intents/{redirected['id']}/cancel")
    declined = await shop.post(
        "payment_intents",
        {
            "amount": "100",
            "currency": "eur",
            "confirm": "true",
            "payment_method": "pm_card_chargeDeclinedExpiredCard",
            "automatic_payment_methods[enabled]": "true",
            "automatic_payment_methods[allow_redirects]": "never",
        },
    )
    in_error = declined.error["payment_intent"]
    transfers = [await _transfer(shop, outcome) for outcome in ("succeed", "process", "fail")]
    await shop.post("refunds", {"payment_intent": transfers[0]["id"]})
    await shop.faults(pending_refund_percent=100)
    pending = (await shop.post("refunds", {"payment_intent": captured["id"], "amount": "50"})).body
    gone = await shop.post(f"sandbox/refunds/{pending['id']}/complete", {"outcome": "fail"})
    charges = (await shop.get("charges")).body["data"]
    methods = [
        await shop.get(f"payment_methods/{paid['payment_method']}")
        for paid in (captured, transfers[0])
    ]
    events = (await shop.get("events", limit="100")).body["data"]
    return [
        token,
        waiting,
        redirected,
        failed.body,
        authorized,
        captured,
        refund,
        pending,
        gone.body,
        *transfers,
        canceled.body,
        in_error,
        (await shop.get("account")).body,
        (await shop.get("balance")).body,
        *charges,
        *(method.body for method in methods),
        *events,
    ]


async def test_objects_are_what_the_sdk_says_they_are() -> None:
    async with sandbox() as shop:
        for resource in await _everything(shop):
            assert violations(resource) == []


async def test_objects_have_no_member_that_stripes_example_lacks() -> None:
    async with sandbox() as shop:
        for resource in await _everything(shop):
            assert deviations(resource, example(str(resource["object"]))) == []


async def test_the_check_itself_sees_what_is_wrong() -> None:
    async with sandbox() as shop:
        intent = await shop.intent()
    assert violations(intent | {"status": "odd"})
    assert violations(intent | {"amount": "12"})
    assert violations(intent | {"livemode": None})
    assert violations({name: part for name, part in intent.items() if name != "currency"})
    assert violations(intent | {"automatic_payment_methods": {"enabled": "yes"}})
    assert deviations(intent | {"colour": "red"}, example("payment_intent"))
    assert deviations(intent | {"amount": "12"}, example("payment_intent"))


def test_the_api_version_is_the_sdks() -> None:
    assert stripe.api_version == objects.API_VERSION


@pytest.mark.parametrize("given", [None, {"name": "Ann", "address": {"city": "Ulm"}}])
def test_shipping_has_every_member_or_is_null(given: dict[str, object] | None) -> None:
    shipping = objects.shipping(given)
    if given is None:
        assert shipping is None
    else:
        assert shipping is not None
        assert shipping["address"]["city"] == "Ulm"
        assert shipping["address"]["line1"] is shipping["phone"] is None
