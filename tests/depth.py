"""How deep the tests go that could go on for hours: a sample by default, all of it when asked.

``HOLDFAST_TEST_DEEP=yes`` asks all of them at once, as ``.ci/run`` does; a variable of one's own,
such as ``HOLDFAST_TEST_SCHEDULES=1000``, asks one test for more, or for less.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")

DEEP = os.environ.get("HOLDFAST_TEST_DEEP") == "yes"

deep = pytest.mark.deep
"""Marks what goes deeper when asked, so that nothing else needs to be run again."""

only_deep = pytest.mark.only_deep
"""Marks what is too much, or means too little in small, to be played unless it is asked for."""


def many(name: str, few: int, deep: int) -> int:
    """How many there are: ``HOLDFAST_TEST_<name>``, or so few, or as many as deep is."""
    return int(os.environ.get(f"HOLDFAST_TEST_{name}", deep if DEEP else few))


def seeds(name: str, few: int, deep: int) -> Sequence[int]:
    """The seeds of so many, as in ``many``; a list such as ``7,`` names them."""
    asked = os.environ.get(f"HOLDFAST_TEST_{name}", "")
    if "," in asked:
        return [int(seed) for seed in asked.split(",") if seed]
    return range(many(name, few, deep))


def sample(everything: Sequence[T], every: int) -> Sequence[T]:
    """All of it when deep, else one in ``every``."""
    return everything if DEEP else everything[::every]
