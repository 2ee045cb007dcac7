"""The errors of the contract: one code each, and a status and a close code that mean the same."""

import pathlib
import re

import pytest

from gateway import errors
from gateway.checkout.provider import Broken, Silent
from gateway.errors import CloseCode, HoldfastError

ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, HoldfastError) and error is not HoldfastError
]
# The wire contract, word for word.
CODES = """bad_frame unknown_type invalid unauthenticated forbidden not_found sold_out
    limit_exceeded hold_expired hold_already_committed hold_already_released total_changed
    completion_in_progress payment_declined idempotency_key_reused show_not_live
    rate_limited overloaded unavailable"""
CLOSE_CODES = {1012, 1013, 4001, 4008, 4009, 4029, 4500, 4501, 4502, 4504, 4506, 4510}


def test_the_codes_are_those_of_the_contract() -> None:
    assert {error.code for error in ERRORS} >= set(CODES.split())
    kinds = [error for error in ERRORS if not issubclass(error, (errors.Frozen, errors.Paused))]
    assert len({error.code for error in kinds}) == len(kinds)


def test_the_close_codes_are_those_of_the_contract() -> None:
    assert {int(code) for code in CloseCode} >= CLOSE_CODES


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_can_be_said_over_http(error: type[HoldfastError]) -> None:
    assert re.fullmatch("[a-z_]+", error.code)
    assert 400 <= error.status < 600
    assert error.__doc__


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_carries_its_sentence_and_its_facts(error: type[HoldfastError]) -> None:
    raised = error("Something happened.", sku="tee", available=0)
    assert (raised.message, str(raised)) == ("Something happened.", "Something happened.")
    assert raised.facts == {"sku": "tee", "available": 0}


def test_the_tree_in_the_docstring_names_every_error() -> None:
    tree = pathlib.Path(errors.__file__).read_text(encoding="utf-8").split('"""')[1]
    for error in ERRORS:
        assert error.__name__ in tree


@pytest.mark.parametrize(
    "error",
    [errors.Frozen(), errors.Paused(), Silent(), Silent(401), Broken(replayed=True)],
    ids=repr,
)
def test_what_shoppers_are_told_of_an_outage_is_not_what_operators_are(
    error: HoldfastError,
) -> None:
    assert str(error) != error.message
    assert not re.search(r"\b(we|moment|keep trying)\b", str(error))


def test_no_log_line_has_a_sentence_that_is_for_shoppers() -> None:
    """``str()`` of an error is for operators; its ``message`` is what a client is told."""
    for module in pathlib.Path(errors.__file__).parent.rglob("*.py"):
        told = re.findall(r"log\.\w+\([^()]*\berror\.message\b", module.read_text(encoding="utf-8"))
        assert not told, f"{module.name}: {told}"
