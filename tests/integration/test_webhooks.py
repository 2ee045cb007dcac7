"""The webhooks a shop has set."""

import pytest

from gateway.errors import Invalid, LimitExceeded
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.pos.webhooks import MOST_WEBHOOKS, Webhook, WebhookBook
from tests.sales import sell

TILL = Webhook("https://pos.example.org/orders", "whsec_" + "QUJD" * 8)


@pytest.fixture
def book(lane: Lane, shop: str) -> WebhookBook:
    return WebhookBook(lane, shop)


async def test_webhooks_are_kept_by_name(book: WebhookBook) -> None:
    quiet = Webhook(TILL.url, TILL.secret, active=False)
    await book.put("till", TILL)
    await book.put("books", quiet)
    assert await book.all() == {"till": TILL, "books": quiet}


async def test_putting_again_replaces(book: WebhookBook) -> None:
    await book.put("till", TILL)
    other = Webhook("https://other.example.org/", TILL.secret)
    await book.put("till", other)
    assert await book.all() == {"till": other}


async def test_a_shop_has_only_so_many_and_may_change_each(book: WebhookBook) -> None:
    for number in range(MOST_WEBHOOKS):
        await book.put(f"till-{number}", TILL)
    with pytest.raises(LimitExceeded):
        await book.put("one-more", TILL)
    await book.put("till-0", Webhook(TILL.url, TILL.secret, active=False))
    await book.remove("till-1")
    await book.put("one-more", TILL)
    assert len(await book.all()) == MOST_WEBHOOKS


@pytest.mark.parametrize("name", ["", "a b", "a:b", "{a}", "a" * 65, "till\n"])
async def test_a_name_is_an_id(book: WebhookBook, name: str) -> None:
    with pytest.raises(Invalid):
        await book.put(name, TILL)


async def test_one_that_cannot_be_read_does_not_hide_the_others(
    book: WebhookBook, lane: Lane, shop: str
) -> None:
    await book.put("till", TILL)
    await lane.command("HSET", ShopKeys(shop).webhooks, "broken", "{")
    assert await book.all() == {"till": TILL}


async def test_removing_takes_the_group_and_the_parked_deliveries_along(
    book: WebhookBook, lane: Lane, shop: str
) -> None:
    keys = ShopKeys(shop)
    await book.put("till", TILL)
    await sell(lane, shop, "o1")
    await lane.command("XGROUP", "CREATE", keys.orders, "till", "0")
    await lane.command("HSET", keys.parked("till"), "1-0", "{}")
    await lane.command("SADD", keys.redrive("till"), "o1")
    assert await book.remove("till")
    assert await book.all() == {}
    assert await lane.command("XINFO", "GROUPS", keys.orders) == []
    assert await lane.command("EXISTS", keys.parked("till"), keys.redrive("till")) == 0


async def test_what_is_not_there_cannot_be_removed(book: WebhookBook) -> None:
    assert not await book.remove("till")
