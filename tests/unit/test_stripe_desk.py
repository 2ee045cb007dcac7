"""What every endpoint has in common: keys, limits, headers, replays, faults."""

import asyncio

import pytest

from gateway.sandbox.stripe.app import Settings
from gateway.sandbox.stripe.desk import MAX_BODY
from gateway.sandbox.stripe.objects import API_VERSION
from tests.stripe_inprocess import PAID, UNLIMITED, sandbox

CREATE = "POST /v1/payment_intents"


async def test_every_reply_names_its_request_and_version() -> None:
    async with sandbox() as shop:
        ids = set()
        for path in ("balance", "payment_intents/pi_nobody"):
            answer = await shop.get(path)
            ids.add(answer.headers["request-id"])
            assert answer.headers["stripe-version"] == API_VERSION
        assert len(ids) == 2
        asked = await shop.client.get("/v1/balance", headers={"Stripe-Version": "2024-01-01"})
        assert asked.headers["stripe-version"] == "2024-01-01"


@pytest.mark.parametrize("authorization", [None, "Bearer sk_live_0123456789abcdefghij"])
async def test_without_a_test_key_nothing_opens(authorization: str | None) -> None:
    async with sandbox(authorization=authorization) as shop:
        for path in ("balance", "sandbox/summary", "sandbox/faults", "payment_intents"):
            answer = await shop.get(path)
            assert (answer.status, answer.error["type"]) == (401, "invalid_request_error")


async def test_the_default_limit_is_25_a_second_an_endpoint() -> None:
    async with sandbox(Settings()) as shop:
        answers = [await shop.get("balance") for _ in range(30)]
        assert [answer.status for answer in answers] == [200] * 25 + [429] * 5
        assert answers[-1].error["code"] == "rate_limit"
        assert answers[-1].headers["stripe-rate-limited-reason"] == "endpoint-rate"
        assert (await shop.get("account")).status == 200
        shop.clock.now += 1
        assert (await shop.get("balance")).status == 200


async def test_a_429_is_not_recorded_and_the_key_works_afterwards() -> None:
    async with sandbox(Settings(per_endpoint=1, per_account=0)) as shop:
        await shop.post("payment_intents", PAID, key="first")
        assert (await shop.post("payment_intents", PAID, key="second")).status == 429
        shop.clock.now += 1
        answer = await shop.post("payment_intents", PAID, key="second")
        assert answer.status == 200
        assert "idempotent-replayed" not in answer.headers


async def test_a_replay_is_the_first_reply_and_no_second_effect() -> None:
    async with sandbox() as shop:
        first = await shop.post("payment_intents", PAID, key="k")
        second = await shop.post("payment_intents", PAID, key="k")
        assert second.body == first.body
        assert second.headers["idempotent-replayed"] == "true"
        assert second.headers["original-request"] == first.headers["request-id"]
        assert second.headers["request-id"] != first.headers["request-id"]
        assert len((await shop.get("payment_intents")).body["data"]) == 1


async def test_a_decline_and_a_state_error_are_replayed() -> None:
    async with sandbox() as shop:
        declined = PAID | {"payment_method": "pm_card_chargeDeclined"}
        for _ in range(2):
            answer = await shop.post("payment_intents", declined, key="d")
            assert answer.status == 402
        assert answer.headers["idempotent-replayed"] == "true"
        path = f"payment_intents/{answer.error['payment_intent']['id']}/capture"
        for _ in range(2):
            answer = await shop.post(path, key="c")
            assert answer.error["code"] == "payment_intent_unexpected_state"
        assert answer.headers["idempotent-replayed"] == "true"


async def test_a_validation_error_is_not_recorded() -> None:
    async with sandbox() as shop:
        for bad in ({"amount": "1"}, {"amount": "x"}, {"colour": "red"}):
            answer = await shop.post("payment_intents", PAID | bad, key="k")
            assert answer.status == 400
        assert (await shop.post("payment_intents", PAID, key="k")).status == 200


async def test_a_key_with_other_parameters_changes_nothing() -> None:
    async with sandbox() as shop:
        await shop.post("payment_intents", PAID, key="k")
        other = await shop.post("payment_intents", PAID | {"amount": "9999"}, key="k")
        assert (other.status, other.error["type"]) == (400, "idempotency_error")
        assert len((await shop.get("payment_intents")).body["data"]) == 1


async def test_while_the_first_is_under_way_the_second_is_409() -> None:
    async with sandbox() as shop:
        await shop.faults(latency_ms=100, endpoint=CREATE)
        answers = await asyncio.gather(
            *(shop.post("payment_intents", PAID, key="k") for _ in range(3))
        )
        assert sorted(answer.status for answer in answers) == [200, 409, 409]
        await shop.faults()
        replay = await shop.post("payment_intents", PAID, key="k")
        assert (replay.status, replay.headers["idempotent-replayed"]) == (200, "true")


@pytest.mark.parametrize("effect", [True, False])
async def test_a_500_is_recorded_whether_it_worked_or_not(effect: bool) -> None:  # noqa: FBT001 - the parameter of the test
    async with sandbox() as shop:
        await shop.faults(error_500_percent=100, error_500_effect=effect, times=1)
        for _ in range(2):
            answer = await shop.post("payment_intents", PAID, key="k")
            assert (answer.status, answer.error["type"]) == (500, "api_error")
        assert answer.headers["idempotent-replayed"] == "true"
        intents = (await shop.get("payment_intents")).body["data"]
        assert [intent["status"] for intent in intents] == ["requires_capture"] * effect


async def test_a_lost_reply_has_had_its_effect() -> None:
    async with sandbox() as shop:
        await shop.faults(lose_reply_percent=100, times=2, endpoint=CREATE)
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await shop.post("payment_intents", PAID, key="k")
        answer = await shop.post("payment_intents", PAID, key="k")
        assert answer.headers["idempotent-replayed"] == "true"
        assert len((await shop.get("payment_intents")).body["data"]) == 1


async def test_a_lock_is_a_429_without_a_limit() -> None:
    async with sandbox() as shop:
        await shop.faults(lock_percent=100, times=1)
        answer = await shop.post("payment_intents", PAID, key="k")
        assert (answer.status, answer.error["code"]) == (429, "lock_timeout")
        assert "stripe-rate-limited-reason" not in answer.headers
        assert (await shop.post("payment_intents", PAID, key="k")).status == 200


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"amount": 1}', "application/json"),
        (b"amount=\xff", "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * MAX_BODY, "application/x-www-form-urlencoded"),
    ],
)
async def test_bodies_that_are_no_form_are_refused(content: bytes, kind: str) -> None:
    async with sandbox(UNLIMITED) as shop:
        answer = await shop.client.post(
            "/v1/payment_intents", content=content, headers={"Content-Type": kind}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
