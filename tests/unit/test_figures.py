"""Amounts, bars and lines of the demo's board."""

from gateway.demo.counts import Counts
from gateway.demo.figures import bar, figures, money, room_for
from gateway.demo.reading import Product, Reading

LAMP = Product("lamp", "Lamp", available=3, held=2, sold=5)
READING = Reading(7, 2, 5, 4, 5, {"USD": 123450}, (LAMP,), ())


def test_a_bar_is_as_long_as_it_should_be_and_shows_the_last_unit() -> None:
    for product in (LAMP, Product("x", "X", 1, 1, 998), Product("y", "Y", 0, 0, 4)):
        sold, held, left = bar(product, cells=20)
        assert len(sold + held + left) == 20
        assert bool(held) == bool(product.held)
        assert bool(left) == bool(product.available)
    assert bar(Product("none", "None", 0, 0, 0)) == ("", "", "")


def test_money_is_written_with_the_currencys_decimals() -> None:
    assert money({"USD": 123450}) == "1,234.50 USD"
    assert money({"JPY": 1200, "EUR": 5}) == "0.05 EUR + 1,200 JPY"
    assert money({}) == "0"


def test_the_figures_fit_in_a_line_and_name_errors_only_when_there_are() -> None:
    line = figures(READING, Counts())
    assert line == ("7 viewers, 2 holds, 5 orders, 1,234.50 USD taken, 4 at the till, 3 units left")
    assert figures(READING, Counts(unexpected={"x": 2})) == f"{line}, 2 errors"


def test_a_small_terminal_shows_some_products_and_counts_the_others() -> None:
    products = (LAMP,) * 30
    shown, hidden = room_for(products, height=30)
    assert (len(shown), hidden) == (10, 20)
    assert len(room_for(products, height=5)[0]) == 3
    assert room_for((LAMP,), height=60) == ((LAMP,), 0)
