"""Resources are kept, found in order, and changed all together or not at all."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sandbox.stripe.store import Kept, Reply, Store, Where


def _refund(number: int, intent: str = "pi_1", amount: int = 100) -> dict[str, object]:
    return {
        "id": f"re_{number}",
        "object": "refund",
        "created": 1000 + number,
        "status": "succeeded",
        "payment_intent": intent,
        "currency": "usd",
        "amount": amount,
    }


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    yield store
    store.close()


def test_finds_by_id_and_kind(store: Store) -> None:
    store.add(_refund(1))
    assert store.get("refund", "re_1") == _refund(1)
    assert store.any("re_1") == _refund(1)
    assert store.get("charge", "re_1") is None
    assert store.any("re_2") is None


def test_finds_newest_first_by_column_and_member(store: Store) -> None:
    for number, intent in enumerate(("pi_1", "pi_2", "pi_1")):
        store.add(_refund(number, intent, amount=100 + number))
    of_intent = [Where("kind", "refund"), Where("payment_intent", "pi_1")]
    assert [found["id"] for found in store.find(of_intent, 10)] == ["re_2", "re_0"]
    assert [found["id"] for found in store.find(of_intent, 1, oldest_first=True)] == ["re_0"]
    assert [found["id"] for found in store.find([Where("amount", 101, "lt")], 10)] == ["re_0"]


def test_forgets_the_oldest_of_a_kind_that_nobody_used(store: Store) -> None:
    for number, intent in enumerate((None, "pi_1", None, None)):
        token = {"id": f"ctoken_{number}", "object": "confirmation_token", "created": 1000}
        store.add({**token, "payment_intent": intent})
    store.add({"id": "pm_1", "object": "payment_method", "created": 1000})
    for _ in range(2):
        store.forget_unspent("confirmation_token", 2)
        kept = [found["id"] for found in store.find([], 10)]
        assert kept == ["pm_1", "ctoken_3", "ctoken_2", "ctoken_1"]


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    store.add(_refund(1))

    def change_and_fail() -> None:
        with store.transaction():
            store.change(_refund(1), status="failed")
            store.add(_refund(1))

    with pytest.raises(sqlite3.IntegrityError):
        change_and_fail()
    assert store.any("re_1") == _refund(1)


def test_a_change_replaces_members(store: Store) -> None:
    store.change(store.add(_refund(1)), status="failed")
    assert store.find([Where("status", "failed")], 10) == [_refund(1) | {"status": "failed"}]


def test_tallies_by_status_and_currency(store: Store) -> None:
    store.add(_refund(1, amount=100))
    store.add(_refund(2, amount=50))
    assert store.tally("refund", "amount") == [("succeeded", "usd", 2, 150)]


def test_replies_are_recalled_until_forgotten(store: Store) -> None:
    kept = Kept("/v1/refunds", "f", Reply(402, b"{}", {"A": "b"}))
    store.record("key", kept, made=100)
    assert store.recall("key") == kept
    store.forget_replies(made_before=100)
    assert store.recall("key") == kept
    store.forget_replies(made_before=101)
    assert store.recall("key") is None


def test_a_file_keeps_the_money(tmp_path: Path) -> None:
    path = str(tmp_path / "money.db")
    first = Store(path)
    first.add(_refund(1))
    first.close()
    second = Store(path)
    assert second.any("re_1") == _refund(1)
    second.close()
