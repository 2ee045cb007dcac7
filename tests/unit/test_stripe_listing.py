"""Lists page newest first, searches find, expansions replace ids."""

import pytest

from tests.stripe_inprocess import Answer, Sandbox, sandbox


async def _five(shop: Sandbox) -> list[str]:
    """Five intents a second apart, oldest first."""
    made = []
    for order in range(5):
        made.append((await shop.intent(**{"metadata[order]": str(order)}))["id"])
        shop.clock.now += 1
    return made


def _ids(answer: Answer) -> list[str]:
    return [resource["id"] for resource in answer.body["data"]]


async def test_pages_forwards_and_back() -> None:
    async with sandbox() as shop:
        newest_first = (await _five(shop))[::-1]
        first = await shop.get("payment_intents", limit="2")
        assert (_ids(first), first.body["has_more"]) == (newest_first[:2], True)
        assert first.body["url"] == "/v1/payment_intents"
        rest = await shop.get("payment_intents", starting_after=newest_first[1])
        assert (_ids(rest), rest.body["has_more"]) == (newest_first[2:], False)
        back = await shop.get("payment_intents", limit="2", ending_before=newest_first[3])
        assert (_ids(back), back.body["has_more"]) == (newest_first[1:3], True)


async def test_filters_by_time() -> None:
    async with sandbox() as shop:
        made = await _five(shop)
        start = int(shop.clock.now) - 5
        late = await shop.get("payment_intents", **{"created[gte]": str(start + 3)})
        assert _ids(late) == [made[4], made[3]]
        between = await shop.get(
            "payment_intents", **{"created[gt]": str(start), "created[lt]": str(start + 2)}
        )
        assert _ids(between) == [made[1]]
        assert _ids(await shop.get("payment_intents", created=str(start))) == [made[0]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "parameter_invalid_integer"),
        ({"limit": "101"}, "parameter_invalid_integer"),
        ({"starting_after": "pi_nobody"}, "resource_missing"),
        ({"starting_after": "pi_1", "ending_before": "pi_2"}, None),
        ({"colour": "red"}, "parameter_unknown"),
    ],
)
async def test_bad_pages(query: dict[str, str], code: str | None) -> None:
    async with sandbox() as shop:
        answer = await shop.get("payment_intents", **query)
        assert (answer.status, answer.error.get("code")) == (400, code)


async def test_searches_metadata_and_status_page_by_page() -> None:
    async with sandbox() as shop:
        made = await _five(shop)
        await shop.post(f"payment_intents/{made[3]}/capture")

        async def search(query: str, **more: str) -> Answer:
            return await shop.get("payment_intents/search", query=query, **more)

        assert _ids(await search("metadata['order']:'3'")) == [made[3]]
        assert _ids(await search('metadata["order"]:"3" AND status:"canceled"')) == []
        held = "status:'requires_capture'"
        first = await search(held, limit="3")
        assert (_ids(first), first.body["has_more"]) == ([made[4], made[2], made[1]], True)
        rest = await search(held, limit="3", page=first.body["next_page"])
        assert (_ids(rest), rest.body["next_page"]) == ([made[0]], None)
        assert (await search("amount>12")).status == 400


async def test_expands_one_resource_and_every_item_of_a_page() -> None:
    async with sandbox() as shop:
        intent = await shop.intent()
        path = f"payment_intents/{intent['id']}"
        shown = (await shop.get(path, **{"expand[0]": "latest_charge.payment_intent"})).body
        assert shown["latest_charge"]["id"] == intent["latest_charge"]
        assert shown["latest_charge"]["payment_intent"]["id"] == intent["id"]
        page = await shop.get("payment_intents", **{"expand[]": "data.latest_charge"})
        assert page.body["data"][0]["latest_charge"]["object"] == "charge"
        wrong = await shop.get(path, **{"expand[]": "colour"})
        assert wrong.status == 400


async def test_an_expansion_that_fails_undoes_the_effect() -> None:
    async with sandbox() as shop:
        intent = await shop.intent()
        path = f"payment_intents/{intent['id']}"
        refused = await shop.post(f"{path}/capture", {"expand[0]": "colour"}, key="k")
        assert refused.status == 400
        assert (await shop.get(path)).body["status"] == "requires_capture"


async def test_events_are_listed_by_type() -> None:
    async with sandbox() as shop:
        await shop.intent()
        page = (await shop.get("events", type="charge.succeeded")).body["data"]
        assert [event["type"] for event in page] == ["charge.succeeded"]
