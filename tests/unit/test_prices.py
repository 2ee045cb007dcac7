"""Prices to minor units, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import MAX_AMOUNT
from gateway.shows.prices import decimals, minor_units


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("50", "USD", 5000),
        ("9.99", "EUR", 999),
        ("0.29", "USD", 29),
        ("1299.5", "GBP", 129_950),
        ("4.3500000", "USD", 435),
        ("0", "USD", 0),
        ("1000", "JPY", 1000),
        ("1000.00", "JPY", 1000),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("1000000000.00", "USD", MAX_AMOUNT),
    ],
)
def test_a_price_is_read_exactly_in_its_currency(text: str, currency: str, amount: int) -> None:
    assert minor_units(text, currency) == amount


@pytest.mark.parametrize(
    ("text", "currency", "why"),
    [
        ("", "USD", "plain number"),
        ("-1", "USD", "plain number"),
        ("$5", "USD", "plain number"),
        ("9,99", "EUR", "plain number"),
        ("1e3", "USD", "plain number"),
        ("NaN", "USD", "plain number"),
        ("٣", "USD", "plain number"),
        ("5\n", "USD", "plain number"),
        (".5", "USD", "plain number"),
        ("9.999", "USD", "at most 2 decimals"),
        ("10.5", "JPY", "at most 0 decimals"),
        ("1000000000.01", "USD", "too large"),
    ],
)
def test_what_is_no_price_says_why(text: str, currency: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        minor_units(text, currency)


@given(st.integers(0, MAX_AMOUNT), st.sampled_from(["USD", "JPY", "KWD", "CLF"]))
def test_every_amount_survives_being_written_and_read(amount: int, currency: str) -> None:
    places = decimals(currency)
    whole, part = divmod(amount, 10**places)
    text = f"{whole}.{part:0{places}}" if places else str(whole)
    assert minor_units(text, currency) == amount
