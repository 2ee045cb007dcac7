"""The model is of the code that runs: their tables are the same, and every guard has its place."""

import ast
import functools
import re
from pathlib import Path

import pytest

from gateway.checkout import phases, settle
from gateway.checkout.phases import Phase
from gateway.scripts import load
from tests.property.protocol import scripts, steps
from tests.property.protocol.guards import Guard

ROOT = Path(__file__).parents[3]


def lua_edges() -> dict[str, set[str]]:
    """The table of edges as ``order_move.lua`` has it."""
    table = re.search(r"local EDGES = \{\n(.*?)\n\}", load("order_move").text, re.DOTALL)
    assert table
    rows = re.findall(r"(\w+) = \{(.*?)\}", table[1])
    return {phase: set(re.findall(r"(\w+) = true", row)) for phase, row in rows}


def test_the_edges_are_those_of_the_script() -> None:
    assert lua_edges() == scripts.EDGES


def test_the_phases_are_those_of_the_code() -> None:
    assert {*steps.RESTING, *scripts.EDGES} - {""} == {phase.value for phase in Phase}
    assert set(steps.RESTING) - {""} == {phase.value for phase in phases.RESTING}


@pytest.mark.parametrize(
    "name",
    ["hold_reserve", "pay_begin", "order_move", "hold_commit", "hold_again", "hold_expire",
     "hold_release", "order_fail"],
)  # fmt: skip
def test_every_script_that_moves_a_payment_is_in_the_model(name: str) -> None:
    assert load(name).text
    assert callable(getattr(scripts, name))


@pytest.mark.parametrize(
    "name", ["pay_begin", "hold_commit", "hold_again", "hold_expire", "hold_release", "order_fail"]
)
def test_the_scripts_write_no_other_phases_than_the_model(name: str) -> None:
    writes = re.findall(r"HSET'[^\n]*?'phase', '(\w+)'", load(name).text)
    assert set(writes) == PHASES_WRITTEN[name]


PHASES_WRITTEN = {
    "pay_begin": {"paying"},
    "hold_commit": {"committed"},
    "hold_again": {"committed"},
    "hold_expire": {"voiding", "voided"},
    "hold_release": {"voiding", "voided"},
    "order_fail": {"failed"},
}
"""As in ``scripts``; ``order_move`` writes what its caller says, along ``EDGES``."""


def test_a_run_knows_the_same_recovery_points() -> None:
    """``settle`` has a step for just those phases at which a run begins in the models.

    From ``captured`` on it is about refunds, which are a game of their own.
    """
    text = Path(settle.__file__).read_text(encoding="utf-8")
    named = set(re.findall(r"Phase\.(\w+): self\.", text))
    assert {Phase[name].value for name in named} == {*scripts.EDGES, "captured"}


@functools.cache
def functions(file: str) -> set[str]:
    """The names of the functions in a file of the gateway."""
    return {
        node.name
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("guard", Guard, ids=lambda guard: guard.name)
def test_every_guard_has_its_place_in_the_code(guard: Guard) -> None:
    file, _, name = guard.place.partition(":")
    assert (ROOT / file).is_file()
    if name:
        assert name in functions(file), f"{guard.name}: {guard.why}"
    assert guard.why.endswith(".")
