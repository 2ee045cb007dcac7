"""Events say what happened, to what, and at whose request."""

from tests.stripe_inprocess import PAID, sandbox


async def test_an_event_names_its_request_and_shows_the_object_as_it_was() -> None:
    async with sandbox() as shop:
        answer = await shop.post("payment_intents", PAID, key="hf/test/1/pi/1")
        await shop.post(f"payment_intents/{answer.body['id']}/capture")
        events = (await shop.get("events", limit="100")).body["data"][::-1]
        created, _, authorized = events[:3]
        assert created["request"] == {
            "id": answer.headers["request-id"],
            "idempotency_key": "hf/test/1/pi/1",
        }
        assert created["data"]["object"]["status"] == "requires_confirmation"
        assert authorized["data"]["object"] == answer.body
        assert (await shop.get(f"events/{created['id']}")).body == created


async def test_the_walk_of_a_payment() -> None:
    async with sandbox() as shop:
        intent = await shop.intent()
        await shop.post(f"payment_intents/{intent['id']}/capture")
        await shop.post("refunds", {"payment_intent": intent["id"]})
        canceled = await shop.intent()
        await shop.post(f"payment_intents/{canceled['id']}/cancel")
        authorized = [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.amount_capturable_updated",
        ]
        assert await shop.kinds() == [
            *authorized,
            "charge.captured",
            "payment_intent.succeeded",
            "refund.created",
            "charge.refunded",
            *authorized,
            "payment_intent.canceled",
        ]


async def test_a_replay_and_a_refusal_write_no_event() -> None:
    async with sandbox() as shop:
        await shop.post("payment_intents", PAID, key="k")
        before = await shop.kinds()
        await shop.post("payment_intents", PAID, key="k")
        await shop.post("payment_intents/pi_nobody/capture")
        assert await shop.kinds() == before
