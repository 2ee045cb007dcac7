"""What newcomers are shown is encoded once, and is what a plain encoding would be."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from gateway.messages import PreparedWelcome, Resume, StockFrame, Welcome, encode
from gateway.model import CatalogEntry, Money, Show
from gateway.sockets.showcase import Showcase


def entry(sku: str, price: int = 500) -> CatalogEntry:
    return CatalogEntry(sku, f"The {sku} — großartig", Money(price, "EUR"), {"Size": "M"})


TEE, CAP = entry("tee"), entry("cap")


@pytest.fixture
def showcase() -> Showcase:
    showcase = Showcase()
    showcase.restock(3, 7, {"tee": 2, "cap": 0})
    showcase.relist((CAP, TEE))
    return showcase


@pytest.mark.parametrize(
    ("known", "items", "catalog"),
    [
        (None, True, True),
        (Resume(3, 6), True, True),
        (Resume(2, 7), True, True),
        (Resume(3, 7), False, True),
        (Resume(3, 7, "another"), False, True),
        (Resume(1, 1, "ours"), True, False),
        (Resume(3, 7, "ours"), False, False),
    ],
)
def test_a_welcome_is_as_if_encoded_plainly_and_leaves_out_what_is_known(
    showcase: Showcase, known: Resume | None, *, items: bool, catalog: bool
) -> None:
    if known and known.catalog_tag == "ours":
        known = msgspec.structs.replace(known, catalog_tag=showcase.catalog_tag)
    stock = showcase.stock
    own: dict[str, Any] = {
        "id": 1,
        "session": "s",
        "show": Show("tonight", "Tonight"),
        "holds": (),
        "orders": (),
        "now": "2026-11-21T20:11:54.123Z",
        "ping_s": 20,
        "token": "t",
        "token_ttl_s": 900,
        "catalog_tag": showcase.catalog_tag,
    }
    plain = Welcome(
        stock=stock if items else msgspec.structs.replace(stock, items={}),
        catalog=(CAP, TEE) if catalog else UNSET,
        **own,
    )
    prepared = PreparedWelcome(
        stock=showcase.stock_for(known), catalog=showcase.catalog_for(known), **own
    )
    assert encode(prepared) == encode(plain)
    assert msgspec.json.decode(encode(prepared), type=Welcome) == plain


def test_what_has_not_changed_is_not_encoded_again(showcase: Showcase) -> None:
    stock, catalog, snapshot = (
        showcase.stock_for(None),
        showcase.catalog_for(None),
        showcase.snapshot(),
    )
    assert showcase.stock_for(Resume(1, 1)) is stock
    assert showcase.catalog_for(None) is catalog
    assert showcase.snapshot() is snapshot
    showcase.change(8, {"tee": 1})
    assert showcase.relist((CAP, TEE)) == ()
    assert showcase.catalog_for(None) is catalog
    assert showcase.stock_for(None) is not stock
    assert showcase.snapshot() == encode(StockFrame(epoch=3, version=8, items={"tee": 1, "cap": 0}))


def test_what_changed_is_told_with_what_it_was(showcase: Showcase) -> None:
    assert showcase.change(8, {"tee": 1, "cap": 0, "hat": 4}) == {"tee": 2, "hat": None}
    assert (showcase.version, showcase.items) == (8, {"tee": 1, "cap": 0, "hat": 4})


def test_what_was_read_with_news_to_come_is_told_when_the_news_comes(showcase: Showcase) -> None:
    """Whoever knew version 7 already has not been told what was read beside it."""
    showcase.restock(3, 7, {"tee": 1, "cap": 0}, exact_from=9)
    assert showcase.change(8, {"tee": 1}).keys() == {"tee"}
    assert showcase.change(9, {"cap": 0}).keys() == {"cap"}
    assert showcase.change(10, {"tee": 1, "cap": 0}) == {}


@pytest.mark.parametrize("dearer", [True, False])
def test_a_changed_catalogue_has_another_tag(showcase: Showcase, *, dearer: bool) -> None:
    before = showcase.catalog_tag
    showcase.add((entry("tee", 501) if dearer else entry("hat"),))
    assert showcase.catalog_tag != before
    assert showcase.catalog_for(Resume(3, 7, before)) is not UNSET
    assert showcase.relist((CAP, TEE)) == ((TEE,) if dearer else ())
    assert showcase.catalog_tag == before


def test_the_tag_is_the_same_wherever_the_same_is_known_and_may_be_sent_back(
    showcase: Showcase,
) -> None:
    other = Showcase()
    other.add((TEE,))
    other.add((CAP,))
    assert other.catalog_tag == showcase.catalog_tag
    assert showcase.catalog_tag.isalpha()
    sent = f'{{"epoch":3,"version":7,"catalog_tag":"{showcase.catalog_tag}"}}'
    assert msgspec.json.decode(sent, type=Resume) == Resume(3, 7, showcase.catalog_tag)
