"""Paths that are not Stripe's: faults, pages, and what nobody knows."""

import pytest

from gateway.sandbox.stripe.app import Settings
from tests.stripe_inprocess import sandbox

ORIGIN = {"Origin": "http://shop.example"}


async def test_faults_are_shown_and_replaced() -> None:
    async with sandbox() as shop:
        await shop.faults(latency_ms=5, webhooks={"shuffle": True})
        plan = (await shop.get("sandbox/faults")).body
        assert (plan["latency_ms"], plan["webhooks"]["shuffle"]) == (5, True)
        await shop.faults()
        assert (await shop.get("sandbox/faults")).body["latency_ms"] == 0


@pytest.mark.parametrize("body", [b'{"latency": 5}', b"{", b"[]", b'{"endpoint": "\xff"}'])
async def test_faults_with_a_mistake_are_refused_by_name(body: bytes) -> None:
    async with sandbox() as shop:
        answer = await shop.client.post("/v1/sandbox/faults", content=body)
        assert answer.status_code == 400
        assert "Invalid faults" in answer.json()["error"]["message"]


async def test_a_page_of_any_origin_may_complete_a_second_step_without_a_key() -> None:
    async with sandbox() as shop:
        waiting = await shop.intent(payment_method="pm_card_threeDSecure2Required")
        del shop.client.headers["Authorization"]
        path = f"/v1/sandbox/payment_intents/{waiting['id']}/complete_action"
        asked = await shop.client.options(
            path, headers={**ORIGIN, "Access-Control-Request-Method": "POST"}
        )
        assert asked.headers["access-control-allow-origin"] == "*"
        form = {"client_secret": waiting["client_secret"], "outcome": "succeed"}
        done = await shop.client.post(path, data=form, headers=ORIGIN)
        assert done.headers["access-control-allow-origin"] == "*"
        assert done.json()["status"] == "requires_capture"


async def test_a_page_of_any_origin_gets_tokens_of_test_cards_without_a_key_or_a_limit() -> None:
    async with sandbox(Settings(per_endpoint=1, per_account=1)) as shop:
        key = shop.client.headers.pop("Authorization")
        path, form = "/v1/sandbox/confirmation_tokens", {"payment_method": "pm_card_amex"}
        asked = await shop.client.options(
            path, headers={**ORIGIN, "Access-Control-Request-Method": "POST"}
        )
        assert asked.headers["access-control-allow-origin"] == "*"
        made = [await shop.client.post(path, data=form, headers=ORIGIN) for _ in range(3)]
        assert {reply.headers["access-control-allow-origin"] for reply in made} == {"*"}
        tokens = [reply.json()["id"] for reply in made]
        assert len(set(tokens)) == 3
        shop.client.headers["Authorization"] = key
        seen = (await shop.get(f"confirmation_tokens/{tokens[0]}")).body
        assert seen == made[0].json()


async def test_no_page_may_call_what_needs_a_secret_key() -> None:
    async with sandbox() as shop:
        answer = await shop.client.get("/v1/balance", headers=ORIGIN)
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/customers"), ("DELETE", "/v1/refunds"), ("POST", "/v1/balance"), ("GET", "/")],
)
async def test_what_nobody_knows_is_404(method: str, path: str) -> None:
    async with sandbox() as shop:
        answer = await shop.client.request(method, path)
        assert answer.status_code == 404
        assert f"({method}: {path})" in answer.json()["error"]["message"]
