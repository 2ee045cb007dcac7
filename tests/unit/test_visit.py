"""The stock as a shopper's socket was told."""

from typing import Any

from gateway.demo.visit import Shelf


def told() -> Shelf:
    shelf = Shelf()
    shelf.welcome({"epoch": 1, "version": 5, "items": {"a": 3, "b": 1}})
    return shelf


def push(**changes: Any) -> dict[str, Any]:
    return {"epoch": 1, "version": 6, "items": {"a": 2}} | changes


def test_a_newer_push_changes_what_it_names() -> None:
    shelf = told()
    shelf.changed.clear()
    assert shelf.apply(push())
    assert shelf.items == {"a": 2, "b": 1}
    assert shelf.changed.is_set()


def test_an_older_push_changes_nothing() -> None:
    shelf = told()
    shelf.changed.clear()
    assert shelf.apply(push(version=5))
    assert shelf.items == {"a": 3, "b": 1}
    assert not shelf.changed.is_set()


def test_a_push_of_another_epoch_asks_for_a_new_socket() -> None:
    shelf = told()
    assert not shelf.apply(push(epoch=2))
    assert shelf.items == {"a": 3, "b": 1}
