"""What may be charged."""

import pytest

from gateway.sandbox.stripe import money
from gateway.sandbox.stripe.refusal import RefusedError


@pytest.mark.parametrize(
    ("amount", "currency"), [(50, "usd"), (50, "USD"), (50, "jpy"), (30, "gbp"), (1, "uah")]
)
def test_takes_amounts_from_the_least(amount: int, currency: str) -> None:
    assert money.check(amount, currency) == currency.lower()


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (49, "usd", "amount_too_small"),
        (money.MOST + 1, "eur", "amount_too_large"),
        (100, "xxx", None),
        (100, "us", None),
    ],
)
def test_refuses_the_rest(amount: int, currency: str, code: str | None) -> None:
    with pytest.raises(RefusedError) as refused:
        money.check(amount, currency)
    assert refused.value.error.get("code") == code


@pytest.mark.parametrize(
    ("amount", "currency", "spelt"),
    [(1205, "usd", "$12.05"), (1250, "jpy", "¥1250"), (7, "eur", "€0.07"), (99, "sek", "0.99 SEK")],
)
def test_spells_amounts(amount: int, currency: str, spelt: str) -> None:
    assert money.spell(amount, currency) == spelt
