"""What newcomers are shown is encoded once, and is what a plain encoding would be."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from gateway.messages import PreparedWelcome, Resume, StockFrame, Welcome, encode
from gateway.model import CatalogEntry, Money, Show
from gateway.sockets.board import Board


def entry(sku: str, price: int = 500) -> CatalogEntry:
    return CatalogEntry(sku, f"The {sku} — großartig", Money(price, "EUR"), {"Size": "M"})


TEE, CAP = entry("tee"), entry("cap")


@pytest.fixture
def board() -> Board:
    board = Board()
    board.restock(3, 7, {"tee": 2, "cap": 0})
    board.relist((CAP, TEE))
    return board


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
    board: Board, known: Resume | None, *, items: bool, catalog: bool
) -> None:
    if known and known.catalog_tag == "ours":
        known = msgspec.structs.replace(known, catalog_tag=board.catalog_tag)
    stock = board.stock
    own: dict[str, Any] = {
        "id": 1,
        "session": "s",
        "show": Show("tonight", "Tonight"),
        "holds": (),
        "orders": (),
        "now": "2026-11-21T20:11:54.123Z",
        "ping_s": 20,
        "token_ttl_s": 900,
        "catalog_tag": board.catalog_tag,
    }
    plain = Welcome(
        stock=stock if items else msgspec.structs.replace(stock, items={}),
        catalog=(CAP, TEE) if catalog else UNSET,
        **own,
    )
    prepared = PreparedWelcome(
        stock=board.stock_for(known), catalog=board.catalog_for(known), **own
    )
    assert encode(prepared) == encode(plain)
    assert msgspec.json.decode(encode(prepared), type=Welcome) == plain


def test_what_has_not_changed_is_not_encoded_again(board: Board) -> None:
    stock, catalog, snapshot = board.stock_for(None), board.catalog_for(None), board.snapshot()
    assert board.stock_for(Resume(1, 1)) is stock
    assert board.catalog_for(None) is catalog
    assert board.snapshot() is snapshot
    board.change(8, {"tee": 1})
    assert board.relist((CAP, TEE)) == ()
    assert board.catalog_for(None) is catalog
    assert board.stock_for(None) is not stock
    assert board.snapshot() == encode(StockFrame(epoch=3, version=8, items={"tee": 1, "cap": 0}))


def test_what_changed_is_told_with_what_it_was(board: Board) -> None:
    assert board.change(8, {"tee": 1, "cap": 0, "hat": 4}) == {"tee": 2, "hat": None}
    assert (board.version, board.items) == (8, {"tee": 1, "cap": 0, "hat": 4})


@pytest.mark.parametrize("dearer", [True, False])
def test_a_changed_catalogue_has_another_tag(board: Board, *, dearer: bool) -> None:
    before = board.catalog_tag
    board.add((entry("tee", 501) if dearer else entry("hat"),))
    assert board.catalog_tag != before
    assert board.catalog_for(Resume(3, 7, before)) is not UNSET
    assert board.relist((CAP, TEE)) == ((TEE,) if dearer else ())
    assert board.catalog_tag == before


def test_the_tag_is_the_same_wherever_the_same_is_known_and_may_be_sent_back(board: Board) -> None:
    other = Board()
    other.add((TEE,))
    other.add((CAP,))
    assert other.catalog_tag == board.catalog_tag
    assert board.catalog_tag.isalpha()
    sent = f'{{"epoch":3,"version":7,"catalog_tag":"{board.catalog_tag}"}}'
    assert msgspec.json.decode(sent, type=Resume) == Resume(3, 7, board.catalog_tag)
