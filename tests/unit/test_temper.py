"""What shoppers are like."""

import random
from collections import Counter

from gateway.demo.temper import DECLINED_CARDS, Plan, Temper
from gateway.sandbox.stripe.cards import TEST_METHODS


def tempers(count: int) -> list[Temper]:
    return [Temper(random.Random(seed)) for seed in range(count)]


def test_the_same_seed_has_the_same_whims() -> None:
    one, other = Temper(random.Random(7)), Temper(random.Random(7))
    stock = {"a": 3, "b": 2, "c": 1}
    for _ in range(50):
        assert one.basket(("a", "b", "c"), stock) == other.basket(("a", "b", "c"), stock)
        assert one.plan() is other.plan()


def test_nobody_wants_what_is_not_there() -> None:
    stock = {"a": 0, "b": 1, "c": 0}
    for temper in tempers(200):
        assert temper.basket(("a", "b", "c"), stock) == (("b", 1),)
        assert temper.basket(("a",), stock) == ()
        assert temper.basket((), {}) == ()


def test_baskets_are_small_and_of_different_things() -> None:
    stock = dict.fromkeys("abc", 10)
    for temper in tempers(200):
        lines = temper.basket(("a", "b", "c"), stock)
        assert 1 <= len(lines) == len(dict(lines)) <= 2
        assert all(1 <= units <= 2 for _, units in lines)


def test_the_first_products_are_the_favourites() -> None:
    stock = dict.fromkeys("abcd", 10)
    first = Counter(temper.basket(tuple("abcd"), stock)[0][0] for temper in tempers(1000))
    assert first["a"] > first["b"] > first["d"] > 0


def test_most_pay_and_every_plan_is_somebodys() -> None:
    plans = Counter(temper.plan() for temper in tempers(2000))
    assert set(plans) == set(Plan)
    assert plans[Plan.PAY] > 1000


def test_nobody_takes_for_ever() -> None:
    for temper in tempers(500):
        times = (temper.arrival_s(), temper.look_s(), temper.hesitate_s(), temper.rest_s())
        assert all(0 <= seconds <= 6 for seconds in times)


def test_the_sandbox_declines_the_bad_cards() -> None:
    assert all(TEST_METHODS[card].decline for card in DECLINED_CARDS)
