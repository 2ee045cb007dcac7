"""A payment method looks the same wherever it is seen."""

import stripe

from gateway.sandbox.stripe.cards import TEST_METHODS
from gateway.sandbox.stripe.instruments import as_charged, card_method, ideal_method
from tests.stripe_contract import violations


def test_every_method_is_one_the_sdk_knows() -> None:
    methods = [card_method("pm_1", card, 1000) for card in TEST_METHODS.values()]
    for method in (*methods, ideal_method("pm_2", 1000)):
        assert violations(method) == []
        assert method["type"] in method


def test_a_charge_shows_what_it_was_paid_with() -> None:
    card = card_method("pm_1", TEST_METHODS["pm_card_amex"], 1000)
    charged = as_charged(card, 700, "ch_0123456789abcdef0123")
    assert charged["card"]["brand"] == "amex"
    assert charged["card"]["amount_authorized"] == 700
    details = as_charged(ideal_method("pm_2", 1000), 700, "ch_0123456789abcdef0123")
    assert set(details["ideal"]) == set(stripe.Charge.PaymentMethodDetails.Ideal.__annotations__)


def test_equal_cards_have_equal_fingerprints() -> None:
    visa, other = (TEST_METHODS[name] for name in ("pm_card_visa", "pm_card_amex"))
    prints = [card_method("pm_1", card, 1)["card"]["fingerprint"] for card in (visa, visa, other)]
    assert prints[0] == prints[1] != prints[2]
