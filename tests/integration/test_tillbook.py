"""The till's book."""

from pathlib import Path

import msgspec
import pytest

from gateway.model import Money, OrderRefund
from gateway.orders import entry
from gateway.sandbox.tillbook import Book, Event
from tests.sales import event_of


def take(book: Book, order: str, version: int = 1) -> bool:
    body = entry.encode(event_of("acme", order, version))
    return book.take(msgspec.json.decode(body, type=Event), body.decode())


def test_an_event_that_comes_twice_counts_once() -> None:
    book = Book(":memory:")
    assert take(book, "o1")
    assert not take(book, "o1")
    assert book.summary() == {
        "orders": 1,
        "units": 2,
        "amount": {"USD": 3_900},
        "refunded": {},
        "duplicates": 1,
    }


def test_the_newest_version_wins_whatever_the_order_of_arrival() -> None:
    book = Book(":memory:")
    for version in (2, 3, 1):
        assert take(book, "o1", version)
    (event,) = book.orders()
    assert event["data"]["order_version"] == 3
    assert book.summary()["orders"] == 1


def test_an_order_counts_once_and_its_latest_version_says_what_was_refunded() -> None:
    book = Book(":memory:")
    first, second = take_refund(book, "o1", 2, 100), take_refund(book, "o1", 3, 100, 200)
    assert first
    assert second
    assert take(book, "o1")
    assert take(book, "o2")
    assert book.summary() == {
        "orders": 2,
        "units": 4,
        "amount": {"USD": 7_800},
        "refunded": {"USD": 300},
        "duplicates": 0,
    }
    assert {event["data"]["state"] for event in book.orders()} == {
        "confirmed",
        "partially_refunded",
    }


def take_refund(book: Book, order: str, version: int, *amounts: int) -> bool:
    event = event_of("acme", order, version)
    at = event.data.recorded_at
    refunds = tuple(
        OrderRefund(
            f"r_{number}", Money(amount, "USD"), restocked=False, reference="re", recorded_at=at
        )
        for number, amount in enumerate(amounts)
    )
    changed = msgspec.structs.replace(event.data, state="partially_refunded", refunds=refunds)
    body = entry.encode(entry.event("acme", changed))
    return book.take(msgspec.json.decode(body, type=Event), body.decode())


def test_newest_orders_come_first() -> None:
    book = Book(":memory:")
    for order in ("o1", "o2", "o3"):
        take(book, order)
    assert [event["subject"] for event in book.orders(2)] == ["o3", "o2"]


def test_what_was_taken_is_there_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "till.sqlite")
    book = Book(path)
    take(book, "o1")
    book.close()
    again = Book(path)
    assert not take(again, "o1")
    assert again.summary()["orders"] == 1
    again.close()


def test_an_erased_order_takes_its_contact_out_of_the_file(tmp_path: Path) -> None:
    event = event_of("acme", "o1", 2)
    erased = msgspec.structs.replace(event.data, order_version=3, contact=None, erased=True)
    body = entry.encode(entry.event("acme", erased))
    book = Book(str(tmp_path / "till.sqlite"))
    assert take(book, "o1", 2)
    assert b"ada@example.org" in on_disk(tmp_path)
    assert book.take(msgspec.json.decode(body, type=Event), body.decode())
    assert take(book, "o1", 1), "late"
    assert b"ada@example.org" not in on_disk(tmp_path)
    (kept,) = book.orders()
    assert (kept["data"]["order_version"], kept["data"]["contact"]) == (3, None)
    assert book.summary()["amount"] == {"USD": 3_900}
    book.close()


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("amount", [-1, 2**63, "1", 1.5])
def test_amounts_that_cannot_be_are_refused_before_they_reach_the_book(amount: object) -> None:
    event = msgspec.to_builtins(event_of("acme", "o1"))
    event["data"]["total"]["amount"] = amount
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(event, Event)
