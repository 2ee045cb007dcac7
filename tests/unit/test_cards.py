"""Card numbers are found; what only resembles one is let be."""

import pytest

from gateway.sandbox.stripe.cards import TEST_METHODS
from gateway.sockets.cards import card_numbers

# From the card schemes' documentation; the check digit is right, and nobody's account.
NUMBERS = [
    "4242424242424242",
    "4000056655665556",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "36227206271667",
    "6011111111111117",
    "3566002020360505",
    "6205500000000000004",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_found_however_they_are_written(number: str) -> None:
    spaced = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    for written in (number, spaced, spaced.replace(" ", "-"), f"card {number}, exp 12/34"):
        assert card_numbers(f'{{"text":"{written}"}}') == [number]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_check_digit_is_no_card(number: str) -> None:
    assert card_numbers(number[:-1] + str((int(number[-1]) + 1) % 10)) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k-1763755914123",
        "1763755914123456",
        "+49 170 1234567",
        "h_4mzb2ivxqkq6fuy7rn3yv7sn",
        "9007199254740991",
        "42424242424242424242424242424242",
        *TEST_METHODS,
    ],
)
def test_what_is_no_card_number(text: str) -> None:
    assert card_numbers(text) == []
