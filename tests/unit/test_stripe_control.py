"""The figures add up."""

from tests.stripe_inprocess import sandbox


async def test_the_summary_counts_and_sums() -> None:
    async with sandbox() as shop:
        for _ in range(2):
            intent = await shop.intent()
            await shop.post(f"payment_intents/{intent['id']}/capture")
        await shop.post("refunds", {"payment_intent": intent["id"], "amount": "250"})
        await shop.intent(amount="700", currency="eur")
        canceled = await shop.intent()
        await shop.post(f"payment_intents/{canceled['id']}/cancel")
        summary = (await shop.get("sandbox/summary")).body
        assert summary["payment_intents"] == {
            "canceled": 1,
            "requires_capture": 1,
            "succeeded": 2,
        }
        assert summary["captured"] == {"count": 2, "amount": {"usd": 2500}}
        assert summary["open_authorizations"] == {"count": 1, "amount": {"eur": 700}}
        assert summary["refunds"] == {"count": 1, "amount": {"usd": 250}}
        available = (await shop.get("balance")).body["available"]
        assert {fund["currency"]: fund["amount"] for fund in available} == {"eur": 0, "usd": 2250}


async def test_an_empty_sandbox_has_a_balance_and_an_account() -> None:
    async with sandbox() as shop:
        assert (await shop.get("balance")).body["available"][0]["amount"] == 0
        assert (await shop.get("account")).body["charges_enabled"] is True
        assert (await shop.get("sandbox/summary")).body["payment_intents"] == {}
