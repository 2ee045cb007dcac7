"""The real SDK, its async client, over a real socket: it cannot tell the difference."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import stripe

from gateway.sandbox.stripe.app import Settings
from gateway.sandbox.stripe.faults import FaultPlan
from gateway.sandbox.stripe.server import serving
from tests.bank import Bank
from tests.depth import only_deep
from tests.stripe_contract import violations
from tests.stripe_inprocess import PAID
from tests.stripe_seed import seed

DEADLINE_S = 5.0
READ_S = 8.0
UNLIMITED = Settings(per_endpoint=0, per_account=0)
CAPTURE = "POST /v1/payment_intents/{id}/capture"


@asynccontextmanager
async def sdk(
    url: str, key: str = "sk_test_x", retries: int = 0
) -> AsyncIterator[stripe.StripeClient]:
    """The SDK's client as the gateway uses it, its connections closed at the end."""
    transport = stripe.HTTPXClient()
    yield stripe.StripeClient(
        key, base_addresses={"api": url}, http_client=transport, max_network_retries=retries
    )
    await transport.close_async()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def sandbox(
    settings: Settings = UNLIMITED, retries: int = 0
) -> AsyncIterator[stripe.StripeClient]:
    async with serving(settings) as url, sdk(url, retries=retries) as client:
        yield client


def _wanted(method: str = "pm_card_visa") -> stripe.params.PaymentIntentCreateParams:
    return {
        "amount": 1250,
        "currency": "usd",
        "capture_method": "manual",
        "confirm": True,
        "payment_method": method,
        "allowed_payment_method_types": ["card"],
        "metadata": {"order": "7"},
        "shipping": {"name": "Ann", "address": {"line1": "1 High St", "city": "Ulm"}},
    }


async def test_authorize_capture_refund() -> None:
    async with sandbox() as client:
        intents = client.v1.payment_intents
        intent = await intents.create_async(_wanted(), {"idempotency_key": "hf/test/7/pi/1"})
        assert (intent.status, intent.amount_capturable) == ("requires_capture", 1250)
        assert intent.metadata["order"] == "7"
        captured = await intents.capture_async(intent.id, {"amount_to_capture": 1000})
        assert (captured.status, captured.amount_received) == ("succeeded", 1000)
        refund = await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 400})
        assert (refund.status, refund.amount) == ("succeeded", 400)
        shown = await intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
        assert isinstance(shown.latest_charge, stripe.Charge)
        assert shown.latest_charge.amount_refunded == 400
        balance = await client.v1.balance.retrieve_async()
        assert balance.available[0].amount == 600


async def test_every_object_over_the_wire_is_what_the_sdk_promises() -> None:
    async with sandbox() as client:
        token = await client.v1.test_helpers.confirmation_tokens.create_async(
            {"payment_method": "pm_card_mastercard", "return_url": "https://shop.example/"}
        )
        intent = await client.v1.payment_intents.create_async(
            {
                "amount": 700,
                "currency": "eur",
                "confirm": True,
                "confirmation_token": token.id,
            }
        )
        await client.v1.refunds.create_async({"payment_intent": intent.id})
        events = await client.v1.events.list_async()
        charges = await client.v1.charges.list_async({"payment_intent": intent.id})
        account = await client.v1.accounts.retrieve_current_async()
        resources: list[stripe.StripeObject] = [token, intent, account]
        for resource in [*resources, *events.data, *charges.data]:
            assert violations(resource.to_dict(for_json=True)) == []


async def test_a_token_made_by_a_page_without_a_key_pays_once() -> None:
    async with (
        serving(UNLIMITED) as url,
        sdk(url) as client,
        httpx.AsyncClient(base_url=url, trust_env=False) as page,
    ):
        form = {"payment_method": "pm_card_authenticationRequired"}
        made = (await page.post("/v1/sandbox/confirmation_tokens", data=form)).json()
        assert violations(made) == []
        wanted = _wanted()
        del wanted["payment_method"]
        wanted["confirmation_token"] = made["id"]
        intent = await client.v1.payment_intents.create_async(wanted)
        assert intent.next_action is not None
        assert intent.next_action.type == "use_stripe_sdk"
        answer = {"client_secret": str(intent.client_secret), "outcome": "succeed"}
        path = f"/v1/sandbox/payment_intents/{intent.id}/complete_action"
        assert (await page.post(path, data=answer)).json()["status"] == "requires_capture"
        with pytest.raises(stripe.InvalidRequestError):
            await client.v1.payment_intents.create_async(wanted)


async def test_a_decline_is_a_card_error() -> None:
    async with sandbox() as client:
        with pytest.raises(stripe.CardError) as raised:
            await client.v1.payment_intents.create_async(
                _wanted("pm_card_chargeDeclinedInsufficientFunds")
            )
        error = raised.value.error
        assert raised.value.code == "card_declined"
        assert error is not None
        assert error.decline_code == "insufficient_funds"
        assert error.payment_intent is not None
        assert error.payment_intent.status == "requires_payment_method"
        assert error.payment_intent.last_payment_error is not None


async def test_a_second_step_waits_for_the_shopper() -> None:
    async with sandbox() as client:
        wanted = _wanted("pm_card_threeDSecure2Required")
        wanted["return_url"] = "https://shop.example/back"
        intent = await client.v1.payment_intents.create_async(wanted)
        assert intent.status == "requires_action"
        assert intent.next_action is not None
        assert intent.next_action.type == "redirect_to_url"
        canceled = await client.v1.payment_intents.cancel_async(
            intent.id, {"cancellation_reason": "abandoned"}
        )
        assert canceled.status == "canceled"


async def test_refusals_are_the_sdks_exceptions() -> None:
    async with sandbox() as client:
        intents = client.v1.payment_intents
        with pytest.raises(stripe.InvalidRequestError) as unknown:
            await intents.retrieve_async("pi_nobody")
        assert (unknown.value.http_status, unknown.value.code) == (404, "resource_missing")
        paid = await intents.create_async(_wanted())
        await intents.capture_async(paid.id)
        with pytest.raises(stripe.InvalidRequestError) as state:
            await intents.cancel_async(paid.id)
        assert state.value.code == "payment_intent_unexpected_state"
        await intents.create_async(_wanted(), {"idempotency_key": "k"})
        with pytest.raises(stripe.IdempotencyError):
            await intents.create_async(_wanted("pm_card_mastercard"), {"idempotency_key": "k"})


async def test_a_live_key_is_refused() -> None:
    async with serving(UNLIMITED) as url, sdk(url, "sk_live_0123456789abcdefghij") as client:
        with pytest.raises(stripe.AuthenticationError, match="live key"):
            await client.v1.balance.retrieve_async()


async def test_the_limit_raises_and_says_why() -> None:
    now_s, few = time.time(), Settings(per_endpoint=3, per_account=0)
    async with serving(few, clock=lambda: now_s) as url, sdk(url) as client:
        for _ in range(3):
            await client.v1.payment_intents.create_async(_wanted())
        with pytest.raises(stripe.RateLimitError) as raised:
            await client.v1.payment_intents.create_async(_wanted())
        now_s += 1
        await client.v1.payment_intents.create_async(_wanted())
        assert raised.value.headers is not None
        assert raised.value.headers["stripe-rate-limited-reason"] == "endpoint-rate"


async def test_a_reply_lost_three_times_is_one_charge() -> None:
    plan = FaultPlan(lose_reply_percent=100, times=3, endpoint=CAPTURE)
    async with sandbox(Settings(per_endpoint=0, per_account=0, faults=plan)) as client:
        intent = await client.v1.payment_intents.create_async(_wanted())
        for _ in range(3):
            with pytest.raises(stripe.APIConnectionError):
                await client.v1.payment_intents.capture_async(
                    intent.id, options={"idempotency_key": "c"}
                )
        captured = await client.v1.payment_intents.capture_async(
            intent.id, options={"idempotency_key": "c"}
        )
        assert captured.amount_received == 1250
        last = captured.last_response
        assert last is not None
        assert last.headers["idempotent-replayed"] == "true"


async def test_the_sdks_own_retry_finds_the_recorded_reply() -> None:
    plan = FaultPlan(lose_reply_percent=100, times=1, endpoint=CAPTURE)
    settings = Settings(per_endpoint=0, per_account=0, faults=plan)
    async with sandbox(settings, retries=1) as client:
        intent = await client.v1.payment_intents.create_async(_wanted())
        captured = await client.v1.payment_intents.capture_async(intent.id)
        assert captured.status == "succeeded"


async def test_lists_page_through_the_sdk() -> None:
    async with sandbox() as client:
        made = [(await client.v1.payment_intents.create_async(_wanted())).id for _ in range(5)]
        page = await client.v1.payment_intents.list_async({"limit": 2, "created": {"gte": 1}})
        listed = [intent.id async for intent in page.auto_paging_iter()]
        assert listed == made[::-1]
        found = await client.v1.payment_intents.search_async({"query": "metadata['order']:'7'"})
        assert len(found.data) == 5


def _by_ideal() -> stripe.params.PaymentIntentCreateParams:
    return {
        "amount": 1250,
        "currency": "eur",
        "capture_method": "automatic",
        "confirm": True,
        "payment_method_data": {"type": "ideal"},
        "payment_method_options": {"card": {"capture_method": "manual"}},
        "allowed_payment_method_types": ["card", "ideal"],
        "return_url": "https://shop.example/back",
    }


async def test_a_payment_without_manual_capture_from_the_page_to_the_refund() -> None:
    async with (
        serving(UNLIMITED) as url,
        sdk(url) as client,
        httpx.AsyncClient(base_url=url, trust_env=False) as page,
    ):
        intents = client.v1.payment_intents
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await intents.create_async({**_by_ideal(), "capture_method": "manual"})
        assert refused.value.code == "payment_intent_incompatible_payment_method"
        intent = await intents.create_async(_by_ideal())
        assert intent.next_action is not None
        assert intent.next_action.redirect_to_url is not None
        path = f"/v1/sandbox/payment_intents/{intent.id}/complete_action"
        for outcome, status in (("process", "processing"), ("succeed", "succeeded")):
            answer = {"client_secret": str(intent.client_secret), "outcome": outcome}
            await page.post(path, data=answer)
            now = await intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
            assert now.status == status
            assert violations(now.to_dict(for_json=True)) == []
        wanted: stripe.params.RefundCreateParams = {
            "payment_intent": intent.id,
            "metadata": {"n": "1"},
        }
        made = [
            await client.v1.refunds.create_async(wanted, {"idempotency_key": "r1"})
            for _ in range(2)
        ]
        assert made[0].id == made[1].id
        listed = await client.v1.refunds.list_async({"payment_intent": intent.id})
        assert [refund.metadata for refund in listed.data] == [made[0].metadata]
        updated = await client.v1.refunds.update_async(made[0].id, {"metadata": {"n": "2"}})
        assert violations(updated.to_dict(for_json=True)) == []
        kinds = [event.type for event in (await client.v1.events.list_async()).data]
        assert kinds[:3] == ["refund.updated", "charge.refunded", "refund.created"]


async def test_an_outage_is_a_connection_error_and_leaves_nothing() -> None:
    down = Settings(per_endpoint=0, per_account=0, faults=FaultPlan(down=True))
    async with serving(down) as url, sdk(url, retries=1) as client:
        with pytest.raises(stripe.APIConnectionError):
            await client.v1.payment_intents.create_async(_wanted(), {"idempotency_key": "k"})
        bank = Bank(url)
        assert (await bank.summary())["payment_intents"] == {}
        await bank.fails()
        made = await client.v1.payment_intents.create_async(_wanted(), {"idempotency_key": "k"})
        assert made.last_response is not None
        assert "idempotent-replayed" not in made.last_response.headers


async def test_whoever_gives_up_on_a_request_nobody_answers_may_ask_again() -> None:
    async with (
        serving(UNLIMITED) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, auth=("sk_test_x", "")) as shop,
    ):
        bank = Bank(url)
        await bank.fails(hang_percent=100, times=1)
        key = {"Idempotency-Key": "k"}
        with pytest.raises(httpx.ReadTimeout):
            await shop.post("/v1/payment_intents", data=PAID, headers=key, timeout=0.1)
        assert (await bank.summary())["payment_intents"] == {}
        deadline = time.monotonic() + DEADLINE_S
        while (answer := await shop.post("/v1/payment_intents", data=PAID, headers=key)).is_error:
            assert answer.status_code == httpx.codes.CONFLICT
            assert time.monotonic() < deadline
        assert "idempotent-replayed" not in answer.headers
        assert (await bank.summary())["payment_intents"] == {"requires_capture": 1}


@pytest.fixture(scope="module")
def many_intents(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A sandbox's file, and the ids in it; to write it takes longer than to read it."""
    path = str(tmp_path_factory.mktemp("sandbox") / "money.db")
    return path, seed(path, 10_000, lambda number: {"order": str(number)})


@only_deep
@pytest.mark.parametrize("more", [{}, {"expand[]": "data.latest_charge"}])
async def test_ten_thousand_intents_are_read_in_no_time(
    more: dict[str, str], many_intents: tuple[str, list[str]]
) -> None:
    path, made = many_intents
    settings = Settings(data=path, per_endpoint=0, per_account=0)
    async with (
        serving(settings) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, auth=("sk_test_x", "")) as shop,
    ):
        began = time.process_time()
        listed: list[str] = []
        query = {"limit": "100"} | more
        while True:
            page = (await shop.get("/v1/payment_intents", params=query)).json()
            listed += [intent["id"] for intent in page["data"]]
            if not page["has_more"]:
                break
            query["starting_after"] = listed[-1]
        assert listed == made[::-1]
        # Ours included, and several times what an idle machine needs.
        assert time.process_time() - began < READ_S
