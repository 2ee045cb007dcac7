"""The recovery points, and the words they are counted by."""

import pytest

from gateway.checkout.phases import why_in_few_words


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, ""),
        ({"reason": "expired"}, "expired"),
        ({"decline_code": "insufficient_funds"}, "insufficient_funds"),
        ({"decline_code": "a_code_of_next_year"}, "other"),
        ({"intent": "pi_1", "client_secret": "secret"}, ""),
    ],
)
def test_why_an_order_moves_is_told_in_few_words(fields: dict[str, str], word: str) -> None:
    assert why_in_few_words(fields) == word
