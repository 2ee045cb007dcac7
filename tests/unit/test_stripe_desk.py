"""What every endpoint has in common: keys, limits, headers, replays, faults."""

import asyncio

import pytest

from gateway.sandbox.stripe import faults
from gateway.sandbox.stripe.app import Settings
from gateway.sandbox.stripe.desk import MAX_BODY
from gateway.sandbox.stripe.idempotency import KEPT_FOR_S
from gateway.sandbox.stripe.objects import API_VERSION
from tests.stripe_inprocess import PAID, UNLIMITED, Answer, sandbox

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


@pytest.mark.parametrize("plan", [{"cut_percent": 100}, {"down": True}])
async def test_an_outage_leaves_nothing_behind_and_the_key_free(plan: dict[str, object]) -> None:
    async with sandbox() as shop:
        await shop.faults(**plan)
        for path in ("payment_intents", "payment_intents/pi_nobody/capture"):
            with pytest.raises(ConnectionResetError):
                await shop.post(path, PAID, key="k")
        assert (await shop.get("sandbox/summary")).body["payment_intents"] == {}
        await shop.faults()
        answer = await shop.post("payment_intents", PAID | {"amount": "700"}, key="k")
        assert (answer.status, answer.body["amount"]) == (200, 700)
        assert "idempotent-replayed" not in answer.headers


async def test_a_request_nobody_answers_holds_its_key_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faults, "HANG_S", 0.2)
    async with sandbox() as shop:
        await shop.faults(hang_percent=100)
        answers = await asyncio.gather(
            *(shop.post("payment_intents", PAID, key="k") for _ in range(2)),
            return_exceptions=True,
        )
        (refused,) = (answer for answer in answers if isinstance(answer, Answer))
        assert (refused.status, refused.error["code"]) == (409, "idempotency_key_in_use")
        assert [type(answer) for answer in answers if answer is not refused] == [
            ConnectionResetError
        ]
        await shop.faults()
        answer = await shop.post("payment_intents", PAID, key="k")
        assert answer.status == 200
        assert "idempotent-replayed" not in answer.headers
        assert len((await shop.get("payment_intents")).body["data"]) == 1


@pytest.mark.parametrize("effect", [True, False])
async def test_a_500_is_replayed_for_a_day(effect: bool) -> None:  # noqa: FBT001 - the parameter of the test
    async with sandbox() as shop:
        intent = await shop.intent()
        path = f"payment_intents/{intent['id']}/capture"
        await shop.faults(error_500_percent=100, error_500_effect=effect, times=1)
        assert (await shop.post(path, key="k")).status == 500
        shop.clock.now += KEPT_FOR_S
        replay = await shop.post(path, key="k")
        assert (replay.status, replay.headers["idempotent-replayed"]) == (500, "true")
        status = (await shop.get(f"payment_intents/{intent['id']}")).body["status"]
        assert status == ("succeeded" if effect else "requires_capture")
        shop.clock.now += 1
        assert (await shop.post(path, key="k")).status == (400 if effect else 200)


async def test_other_parameters_are_400_after_a_500_too() -> None:
    async with sandbox() as shop:
        await shop.faults(error_500_percent=100, error_500_effect=False, times=1)
        await shop.post("payment_intents", PAID, key="k")
        other = await shop.post("payment_intents", PAID | {"amount": "9999"}, key="k")
        assert (other.status, other.error["type"]) == (400, "idempotency_error")


async def test_a_slow_reply_has_had_its_effect_and_is_replayed_meanwhile() -> None:
    async with sandbox() as shop:
        await shop.faults(reply_delay_ms=60_000, endpoint=CREATE)
        slow = asyncio.create_task(shop.post("payment_intents", PAID, key="k"))
        while not (await shop.get("payment_intents")).body["data"]:
            await asyncio.sleep(0)
        await shop.faults()
        replay = await shop.post("payment_intents", PAID, key="k")
        assert replay.headers["idempotent-replayed"] == "true"
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
