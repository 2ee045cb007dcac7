"""Stripe's webhook over a real socket, with Stripe's sandbox behind."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import stripe

from gateway.checkout.phases import Phase
from gateway.messages import Checkout, Payment
from gateway.model import Contact, Fulfillment, LineRequest
from tests.front_door import problem
from tests.integration.conftest import SHOW, Site
from tests.sales import eventually

PATH = "/v1/stripe/webhook"
CONTACT = {"email": "ann@example.org"}


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site.url, trust_env=False) as client:
        yield client


async def pays_with_a_second_step(site: Site) -> str:
    """Ann reserves and pays, and her bank has just agreed; return the order."""
    rooms, shop = site.rooms, site.shop
    lines = (LineRequest("tee", 1),)
    hold = (await rooms.holds.reserve(shop, "ann", SHOW, "k1", lines, Fulfillment())).hold
    card = Payment(payment_method="pm_card_authenticationRequired")
    checkout = Checkout(1, hold.id, hold.total, card, Contact(**CONTACT))
    order = await rooms.records.begin(shop, "ann", checkout)
    asked = await rooms.settler.settle(shop, order)
    assert asked.state == "requires_action"
    secret = asked.client_secret or ""
    intent = secret.partition("_secret_")[0]
    async with httpx.AsyncClient(base_url=site.stripe_url, trust_env=False) as bank:
        agreed = await bank.post(
            f"/v1/sandbox/payment_intents/{intent}/complete_action",
            data={"client_secret": secret, "outcome": "succeed"},
        )
    assert agreed.status_code == 200, agreed.text
    return order


async def phase(site: Site, order: str) -> Phase:
    record = await site.rooms.records.find(site.shop, order)
    assert record is not None
    return record.phase


def told(shop: str, order: str, kind: str = "amount_capturable_updated") -> bytes:
    metadata = {"env": "main", "shop": shop, "order": order, "hold": "hold_of_it", "attempt": "1"}
    body = {
        "type": f"payment_intent.{kind}",
        "livemode": False,
        "data": {"object": {"id": "pi_1", "metadata": metadata}},
    }
    return json.dumps(body).encode()


async def post(client: httpx.AsyncClient, body: bytes, secret: str) -> httpx.Response:
    header = stripe.WebhookSignature.generate_signature_header(
        body.decode(), secret, int(time.time())
    )
    headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": header}
    return await client.post(PATH, content=body, headers=headers)


async def test_a_payment_the_bank_agreed_to_is_settled_by_the_webhook(
    site: Site, client: httpx.AsyncClient
) -> None:
    await site.sells("tee", 1)
    secret = site.rooms.settings.stripe_webhook_secret
    order = await pays_with_a_second_step(site)
    forged = await post(client, told(site.shop, order), "whsec_of_somebody_else")
    problem(forged, 400, "invalid")
    assert await phase(site, order) is Phase.PAYING

    body = told(site.shop, order)
    answers = await asyncio.gather(*(post(client, body, secret) for _ in range(10)))
    assert {(one.status_code, one.text) for one in answers} == {(200, '{"received":true}')}

    async def captured() -> bool:
        return await phase(site, order) is Phase.CAPTURED

    await eventually(captured)
    key = {"Authorization": f"Bearer {site.rooms.tokens.sign_key(site.shop, ('pos',))}"}
    page = (await client.get("/v1/orders?wait_s=5", headers=key)).json()
    assert [event["subject"] for event in page["orders"]] == [order]
    one = await client.get(f"/v1/orders/{order}", headers=key)
    assert one.json() == page["orders"][0]
    assert one.json()["data"]["contact"] == CONTACT


async def test_an_order_nobody_knows_is_received(site: Site, client: httpx.AsyncClient) -> None:
    answer = await post(
        client, told(site.shop, "ord_unknown"), site.rooms.settings.stripe_webhook_secret
    )
    assert (answer.status_code, answer.json()) == (200, {"received": True})


async def test_a_body_no_event_has_is_not_read(site: Site, client: httpx.AsyncClient) -> None:
    secret = site.rooms.settings.stripe_webhook_secret
    problem(await post(client, b"x" * 1_100_000, secret), 413, "invalid")
    unsigned = await client.post(PATH, json={})
    problem(unsigned, 400, "invalid")
