"""Garbage: the long look waits until it is calm, but not for ever."""

import asyncio
import gc
import weakref

import pytest

from gateway import garbage
from gateway.garbage import Garbage


class Node:
    """Refers to itself, so that only a look for cycles frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_while_it_is_calm_it_looks_as_often_as_by_default() -> None:
    found = Garbage(answered=lambda: 0)
    assert not found.is_due(9)
    assert found.is_due(10)


def test_while_shoppers_are_busy_it_waits() -> None:
    answered = 0
    found = Garbage(answered=lambda: answered)
    answered = 500
    assert not found.is_due(49)
    assert found.is_due(10)  # nobody has asked for anything since


def test_it_does_not_wait_for_ever() -> None:
    answered = iter(range(1_000, 10_000, 1_000))
    found = Garbage(answered=lambda: next(answered))
    assert not found.is_due(49)
    assert found.is_due(50)


async def test_it_takes_over_and_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LOOKS_EVERY_S", 0.001)
    monkeypatch.setattr(garbage, "_OWED", 0)
    before = gc.get_threshold()
    looking = asyncio.create_task(Garbage(answered=lambda: 0).run())
    async with asyncio.timeout(30):
        while gc.get_threshold() == before:
            await asyncio.sleep(0)
        node = Node()
        gc.collect(1)  # It is old now.
        freed = asyncio.Event()
        weakref.finalize(node, freed.set)
        del node
        await freed.wait()
    assert gc.get_threshold()[:2] == before[:2]
    assert gc.get_threshold()[2] > before[2]
    assert not any(one is Garbage for one in gc.get_objects()), "what stays is looked through"
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert gc.get_threshold() == before
    assert any(one is Garbage for one in gc.get_objects())
