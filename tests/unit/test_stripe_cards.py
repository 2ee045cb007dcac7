"""The table of test cards is consistent."""

from gateway.sandbox.stripe.cards import BY_LAST4, TEST_METHODS


def test_the_last_four_digits_tell_the_behaviour() -> None:
    for name, card in TEST_METHODS.items():
        assert BY_LAST4[card.last4] == card, name


def test_both_spellings_of_a_decline_mean_the_same_card() -> None:
    for name, card in TEST_METHODS.items():
        if name.startswith("pm_card_chargeDeclined"):
            assert TEST_METHODS[name.replace("pm_card_", "pm_card_visa_")] is card
