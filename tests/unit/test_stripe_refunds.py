"""Money goes back once, and never more than was taken."""

import pytest

from tests.stripe_inprocess import Sandbox, sandbox


async def _captured(shop: Sandbox, amount: int = 1250) -> dict[str, str]:
    intent = await shop.intent()
    form = {"amount_to_capture": str(amount)}
    return (await shop.post(f"payment_intents/{intent['id']}/capture", form)).body


async def test_a_whole_refund() -> None:
    async with sandbox() as shop:
        intent = await _captured(shop)
        form = {"payment_intent": intent["id"], "reason": "requested_by_customer"}
        refund = (await shop.post("refunds", form)).body
        assert (refund["amount"], refund["status"]) == (1250, "succeeded")
        assert (refund["charge"], refund["reason"]) == (intent["latest_charge"], form["reason"])
        charge = (await shop.get(f"charges/{intent['latest_charge']}")).body
        assert (charge["refunded"], charge["amount_refunded"]) == (True, 1250)
        assert (await shop.kinds())[-2:] == ["refund.created", "charge.refunded"]
        assert (await shop.get(f"refunds/{refund['id']}")).body == refund
        again = await shop.post("refunds", form)
        assert (again.status, again.error["code"]) == (400, "charge_already_refunded")


async def test_refunds_add_up_to_what_was_captured() -> None:
    async with sandbox() as shop:
        intent = await _captured(shop, 1000)
        part = {"payment_intent": intent["id"], "amount": "600"}
        assert (await shop.post("refunds", part)).body["amount"] == 600
        charge = (await shop.get(f"charges/{intent['latest_charge']}")).body
        assert (charge["refunded"], charge["amount_refunded"]) == (False, 600)
        too_much = await shop.post("refunds", part)
        assert (too_much.status, too_much.error["param"]) == (400, "amount")
        assert too_much.error["message"] == (
            "Refund amount ($6.00) is greater than unrefunded amount on charge ($4.00)"
        )
        rest = await shop.post("refunds", {"charge": intent["latest_charge"]})
        assert rest.body["amount"] == 400


async def test_nothing_is_refunded_that_was_not_captured() -> None:
    async with sandbox() as shop:
        authorized = await shop.intent()
        form = {"payment_intent": authorized["id"]}
        assert "cancel the PaymentIntent" in (await shop.post("refunds", form)).error["message"]
        waiting = await shop.intent(payment_method="pm_card_threeDSecure2Required")
        form = {"payment_intent": waiting["id"]}
        assert "successful charge" in (await shop.post("refunds", form)).error["message"]


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"payment_intent": "pi_nobody"}, 404, "resource_missing"),
        ({"charge": "ch_nobody"}, 404, "resource_missing"),
        ({}, 400, "parameter_missing"),
        ({"payment_intent": "pi_1", "charge": "ch_1"}, 400, "parameter_missing"),
        ({"payment_intent": "pi_1", "amount": "0"}, 400, "parameter_invalid_integer"),
    ],
)
async def test_bad_requests(form: dict[str, str], status: int, code: str) -> None:
    async with sandbox() as shop:
        answer = await shop.post("refunds", form)
        assert (answer.status, answer.error["code"]) == (status, code)


async def test_refunds_are_listed_by_intent_and_charge() -> None:
    async with sandbox() as shop:
        intents = [await _captured(shop) for _ in range(2)]
        for intent in intents:
            await shop.post("refunds", {"payment_intent": intent["id"]})
        by_intent = (await shop.get("refunds", payment_intent=intents[0]["id"])).body["data"]
        assert [refund["payment_intent"] for refund in by_intent] == [intents[0]["id"]]
        by_charge = (await shop.get("refunds", charge=intents[1]["latest_charge"])).body["data"]
        assert [refund["payment_intent"] for refund in by_charge] == [intents[1]["id"]]


async def test_notes_and_key_come_back_and_one_key_is_one_refund() -> None:
    async with sandbox() as shop:
        intent = await _captured(shop)
        form = {"payment_intent": intent["id"], "amount": "100", "metadata[n]": "1"}
        first = await shop.post("refunds", form, key="r1")
        again = await shop.post("refunds", form, key="r1")
        assert first.body == again.body
        assert (first.body["metadata"], again.headers["idempotent-replayed"]) == (
            {"n": "1"},
            "true",
        )
        await shop.post("refunds", form | {"metadata[n]": "2"}, key="r2")
        listed = (await shop.get("refunds", payment_intent=intent["id"], limit="1")).body
        assert ([refund["metadata"] for refund in listed["data"]], listed["has_more"]) == (
            [{"n": "2"}],
            True,
        )
        reused = await shop.post("refunds", form | {"amount": "200"}, key="r1")
        assert reused.error["type"] == "idempotency_error"


async def test_changed_notes_are_an_update() -> None:
    async with sandbox() as shop:
        intent = await _captured(shop)
        form = {"payment_intent": intent["id"], "metadata[n]": "1", "metadata[by]": "ann"}
        refund = (await shop.post("refunds", form)).body
        assert "refund.updated" not in await shop.kinds()
        path = f"refunds/{refund['id']}"
        updated = (await shop.post(path, {"metadata[n]": "2", "metadata[by]": ""})).body
        assert updated == refund | {"metadata": {"n": "2"}}
        newest = (await shop.get("events")).body["data"][0]
        assert (newest["type"], newest["data"]["object"]) == ("refund.updated", updated)
        assert (await shop.post(path, {"amount": "1"})).error["code"] == "parameter_unknown"
        assert (await shop.post("refunds/re_nobody", {"metadata[n]": "2"})).status == 404


@pytest.mark.parametrize(
    ("pending", "outcome", "events", "left"),
    [
        (100, "succeed", ["refund.updated"], 1000),
        (100, "fail", ["refund.updated", "refund.failed"], 1250),
        (0, "fail", ["refund.updated", "refund.failed"], 1250),
    ],
)
async def test_a_refund_may_be_known_only_later(
    pending: int, outcome: str, events: list[str], left: int
) -> None:
    async with sandbox() as shop:
        intent = await _captured(shop)
        await shop.faults(pending_refund_percent=pending)
        form = {"payment_intent": intent["id"], "amount": "250"}
        refund = (await shop.post("refunds", form)).body
        assert refund["status"] == ("pending" if pending else "succeeded")
        assert refund["pending_reason"] == ("processing" if pending else None)
        before = await shop.kinds()
        path = f"sandbox/refunds/{refund['id']}/complete"
        settled = (await shop.post(path, {"outcome": outcome})).body
        assert settled["status"] == ("succeeded" if outcome == "succeed" else "failed")
        assert (await shop.kinds())[len(before) :] == events
        assert (await shop.get("balance")).body["available"][0]["amount"] == left
        assert (await shop.post(path, {"outcome": "succeed"})).status == 400
        counted = (await shop.get("sandbox/summary")).body["refunds"]["count"]
        assert counted == (outcome == "succeed")
