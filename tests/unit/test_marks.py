"""What an intent says of itself can be read back, however much was bought."""

import msgspec
import pytest

from gateway.checkout import marks
from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.model import Contact, Fulfillment, Line, Money

LINE = Line("tee", 2, Money(1500, "EUR"), "main")


def record(*lines: Line) -> Record:
    first = iter(range(7, 10_000, 11))
    return Record(
        order="o_1",
        phase=Phase.COMMITTED,
        attempt=2,
        token="pm",
        token_kind="payment_method",
        hold="h_1",
        shopper="ann",
        show="tonight",
        amount=3000,
        currency="EUR",
        lines=lines,
        fulfillment=Fulfillment(),
        contact=Contact("ann@example.com", name="Ann"),
        attempt_at=1,
        budget_until=2,
        units=tuple((line.sku, line.location, next(first), line.quantity) for line in lines),
    )


def test_an_intent_says_whose_it_is() -> None:
    mark = marks.read(marks.of_attempt("main", "shop", record(LINE)))
    assert mark == marks.Mark("shop", "o_1", 2, "main", "h_1", "ann", "tonight")


@pytest.mark.parametrize("lines", [1, 7, 50])
def test_a_capture_says_which_units_it_paid_for(lines: int) -> None:
    many = tuple(
        Line(f"sku-{n}-{'x' * 50}", n + 1, Money(100 + n, "EUR"), f"place-{n}")
        for n in range(lines)
    )
    sold = record(*many)
    written = marks.of_units(sold)
    assert all(len(text) <= 500 for text in written.values())
    assert len(written) + len(marks.of_attempt("main", "shop", sold)) <= 50
    assert marks.read_units(written, "EUR") == marks.PaidFor(sold.units, many)


def test_nobody_learns_from_it_who_the_shopper_is() -> None:
    sold = record(LINE)
    written = msgspec.json.encode([marks.of_attempt("main", "s", sold), marks.of_units(sold)])
    assert b"@" not in written
    assert b"Ann" not in written


@pytest.mark.parametrize(
    "foreign",
    [{}, {"shop": "s"}, {"shop": "s", "order": "o", "attempt": "first"}, {"units_0": "[1"}],
)
def test_what_others_wrote_is_not_ours(foreign: dict[str, str]) -> None:
    assert marks.read(foreign) is None
    assert marks.read_units(foreign, "EUR") is None
