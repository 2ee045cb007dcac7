"""Ids look like Stripe's and fit wherever ours do."""

import random
import re

from gateway.sandbox.stripe.ids import Ids


def test_ids_are_prefixed_distinct_and_fit_our_own_rule() -> None:
    ids = Ids(random.Random(1))
    minted = {ids.new("pi") for _ in range(1000)}
    assert len(minted) == 1000
    assert all(re.fullmatch(r"pi_[A-Za-z0-9]{24}", identifier) for identifier in minted)


def test_a_secret_begins_with_its_intent() -> None:
    secret = Ids(random.Random(1)).secret("pi_1")
    assert re.fullmatch(r"pi_1_secret_[A-Za-z0-9]{25}", secret)
