"""Card numbers are found however they are written; what only resembles one is let be."""

import csv
import random
import time
from pathlib import Path

import pytest

from gateway.cards import card_numbers, holds_card_number, refuse_card_numbers
from gateway.errors import Invalid
from gateway.sandbox.stripe.cards import TEST_METHODS

DATA = Path(__file__).parents[3] / "shared" / "data"

# From the card schemes' documentation; the check digit is right, and nobody's account.
NUMBERS = [
    "4242424242424242",
    "4000056655665556",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "36227206271667",
    "30569309025904",
    "6011111111111117",
    "3566002020360505",
    "6205500000000000004",
    "6759649826438453",
]
FULL_WIDTH = str.maketrans("0123456789", "".join(map(chr, range(0xFF10, 0xFF1A))))
ARABIC = str.maketrans("0123456789", "".join(map(chr, range(0x660, 0x66A))))


def in_fours(number: str, gap: str) -> str:
    return gap.join(number[at : at + 4] for at in range(0, len(number), 4))


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_found_however_they_are_written(number: str) -> None:
    gaps = (" ", "-", ".", "_", " - ", "\n", "\t", "\u00a0", "\u2009", "\u2013", "\u200b", "\u00b7")
    for written in (
        number,
        *(in_fours(number, gap) for gap in gaps),
        " ".join(number),
        number.translate(FULL_WIDTH),
        in_fours(number, "\u3000").translate(FULL_WIDTH),
        number.translate(ARABIC),
        f"card {number}, exp 12/34",
        f"2 {number} 12 34",
        f"{in_fours(number, ' ')} 12 34 123",
        f"k{number}x",
        f"-{number}.0",
    ):
        assert number in card_numbers(f'{{"text":"{written}"}}'), written


@pytest.mark.parametrize(
    "written",
    ["3782 822463 10005", "3622 720627 1667", "4242424 242424242", "62055 00000 00000 0004"],
)
def test_the_groups_may_be_any(written: str) -> None:
    assert holds_card_number(written)


def test_several_in_one_text_are_all_found() -> None:
    assert set(card_numbers("4242 4242 4242 4242 5555 5555 5555 4444")) >= set(NUMBERS[0:3:2])
    assert list(card_numbers(f"{NUMBERS[0]}, {NUMBERS[4]}")) == [NUMBERS[0], NUMBERS[4]]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_check_digit_is_no_card(number: str) -> None:
    assert not holds_card_number(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k-1763755914123",
        "1763755914123456",
        "4006381333931 4006381333948",
        "+49 170 1234567",
        "+34 600 123 456",
        "h_4mzb2ivxqkq6fuy7rn3yv7sn",
        "9007199254740991",
        "42424242424242424242424242424242",
        "4222222222222",
        "sizes 36 38 40 42 44 46 48 50",
        "4.242424242424242",
        "0.4242424242424242",
        "4242-20261121-4248",
        "5101-2026-11-21-0044",
        "2026-11-21T20:11:54.123Z",
        "42424242-4242-4242-8242-42424242424a",
        "4242424242424242abcdef0042424242",
        *TEST_METHODS,
    ],
)
def test_what_is_no_card_number(text: str) -> None:
    assert not holds_card_number(text)


@pytest.mark.parametrize(
    "dressed_up",
    [
        "42424242-4242-4242-0000-000000000000",
        "4242424242424242-a",
        "deadbeef-4242424242424242",
        "000000000000-4242424242424242-20261121",
        "h_4242424242424242",
        "1.4242.4242.4242.4242",
    ],
)
def test_a_card_number_may_not_be_dressed_up(dressed_up: str) -> None:
    assert holds_card_number(dressed_up)


def test_the_refusal_does_not_repeat_it() -> None:
    refuse_card_numbers("4242")
    with pytest.raises(Invalid) as refused:
        refuse_card_numbers("4242 4242 4242 4242")
    assert not any(char.isdigit() for char in refused.value.message)


@pytest.mark.parametrize(
    "name", ["catalogs/apparel.csv", "catalogs/home-and-garden.csv", "store-morning.csv"]
)
def test_real_catalogues_and_a_real_morning_hold_none(name: str) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not there")
    text = (DATA / name).read_text("utf-8-sig")
    assert not holds_card_number(text)
    assert not any(holds_card_number(cell) for row in csv.reader(text.splitlines()) for cell in row)


def test_no_barcode_of_a_shop_is_one() -> None:
    draw = random.Random(7)
    for length in (8, 12, 13):
        for _ in range(2_000):
            digits = [draw.randrange(10) for _ in range(length - 1)]
            weighed = sum(digit * (3, 1)[at % 2] for at, digit in enumerate(reversed(digits)))
            barcode = "".join(map(str, [*digits, -weighed % 10]))
            assert not holds_card_number(barcode)


@pytest.mark.parametrize(
    "piece", ["4 ", "6 ", "4444 ", "4---", "-", "1.", "36 38 40 42 44 46 48 ", "0a", "\uff14 "]
)
def test_a_long_text_takes_time_by_its_length_only(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.process_time()
        list(card_numbers(text))
        return time.process_time() - began

    seconds(10_000)
    assert seconds(400_000) < 40 * 5 * max(seconds(10_000), 0.002)
