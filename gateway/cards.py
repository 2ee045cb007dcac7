"""Finds card numbers where none belong: what we never receive we can never lose. Pure.

A shopper may type one into a question or a name; a program may send one in a field that was meant
for an id. Such a message is refused before anything of it is kept, logged or answered.

Found is a number of a length and a beginning that cards have, with a right check digit, made of
whole groups of digits: ``4242424242424242``, ``4242 4242-4242.4242``, and the same in the digits of
any script. One in ten other numbers that look so is taken for a card as well; what of ours and of
our callers could look so is named in ``_NO_CARD``. Barcodes of up to 13 digits, and times in
milliseconds or microseconds, never do.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, pairwise

from gateway.errors import Invalid

_CARDS = {
    b"2": ((16, rb"2[2-7]"),),
    b"3": ((14, rb"30[0-5]|3095|3[689]"), (15, rb"3[47]"), (16, rb"35[2-8]")),
    b"4": ((16, b"4"), (19, b"4")),
    b"5": ((16, b"5"), (17, rb"5[06-8]"), (18, rb"5[06-8]"), (19, rb"5[06-8]")),
    b"6": ((16, b"6"), (17, b"6"), (18, b"6"), (19, b"6")),
    b"8": ((16, rb"8[12]"),),
    b"9": ((16, b"9792"),),
}
"""By the first digit, how many digits there are and how they begin: Mastercard and Mir; Diners
Club, American Express, JCB; Visa; Mastercard and Maestro; Discover, UnionPay and Maestro; RuPay;
Troy. Visa's of 13 digits are no longer issued, and one in ten barcodes would pass for one."""

_GAPS = b" \t\n\v\f\r._-"
"""What may stand between two digits of one number, up to three of them."""

_ENOUGH = b"0" * 14
_SHAPE = bytes(48 if 48 <= code <= 57 else 120 for code in range(256))
"""Every digit as a 0 and everything else as an x, in which enough digits are found quickly."""

_RUN = re.compile(rb"[0-9]++(?:[\s._-]{0,3}+[0-9]++)*+")
_GROUP = re.compile(rb"[0-9]+")

_NO_CARD = re.compile(
    rb"""
    (?<![0-9a-z]) (?:
        (?=[-0-9]{0,35}[a-f])
        [0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}
      | (?=(?:[0-9]*[a-f]){4}) [0-9a-f]{24,}
      | 20[0-9]{2} ([-._]?) (?:0[1-9]|1[0-2]) \1 (?:0[1-9]|[12][0-9]|3[01])
    ) (?![0-9a-z])
    | (?<![0-9.]) [0-9]{1,3} \. [0-9]{12,}+
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""A UUID, a hash or another random number in hexadecimal, a date, a number with a fraction. Without
the letters asked for, a card number could be dressed up as one of the first two."""

_LIST = 6
"""So many numbers, each larger than the one before, are a list: of sizes, or of years."""

_LONG = re.compile(r"[0-9](?:[\s._-]{0,3}[0-9]){11,}")
"""What may be one, in a text that is known to hold one."""

_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212"
_DOTS = "\u00b7\u2022\u30fb"
_UNSEEN = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_OTHER_GAPS = str.maketrans(_DASHES + _DOTS, "-" * len(_DASHES + _DOTS), _UNSEEN)

_CANDIDATES = {
    first[0]: [(length, re.compile(beginning)) for length, beginning in cards]
    for first, cards in _CARDS.items()
}
_VALUES = bytes(code % 48 % 10 for code in range(256))
_DOUBLED = bytes(sum(divmod(2 * value, 10)) for value in _VALUES)


def refuse_card_numbers(text: str) -> None:
    """Let a text pass that holds no card number.

    Raises:
        Invalid: it holds one; the message does not repeat it.
    """
    if holds_card_number(text):
        raise Invalid("Card numbers are never sent here; the payment form takes them.")


def holds_card_number(text: str) -> bool:
    """Whether something in a text looks like a card number and has its check digit."""
    return next(card_numbers(text), None) is not None


def without_card_numbers(text: str, instead: str) -> str:
    """A text that may be kept: if it holds a card number, all its long numbers are replaced."""
    if not holds_card_number(text):
        return text
    return _LONG.sub(instead, text if text.isascii() else _in_ascii(text))


def card_numbers(text: str) -> Iterator[str]:
    """The digits of everything in a text that looks like a card number."""
    raw = (text if text.isascii() else _in_ascii(text)).encode("ascii", "replace")
    if _ENOUGH in raw.translate(_SHAPE, _GAPS):
        for run in _RUN.findall(_NO_CARD.sub(b"#", raw)):
            for digits in _in_run(_GROUP.findall(run)):
                yield digits.decode()


def _in_ascii(text: str) -> str:
    """The text with the digits, spaces and dashes of other scripts as ours."""
    known = unicodedata.normalize("NFKC", text).translate(_OTHER_GAPS)
    return _OTHER_DIGIT.sub(lambda digit: str(int(digit[0])), re.sub(r"\s", " ", known))


def _in_run(groups: list[bytes]) -> Iterator[bytes]:
    """The card numbers among groups of digits that follow each other.

    Sums from the beginning make the check of each candidate a subtraction, or a long text of
    digits would take long.
    """
    digits = b"".join(groups)
    starts = [0, *accumulate(map(len, groups))]
    ends, sums = set(starts), (_sums(digits, 0), _sums(digits, 1))
    for start in starts[:-1]:
        for length, beginning in _CANDIDATES.get(digits[start], ()):
            end = start + length
            sum_to = sums[end % 2]
            if end not in ends or (sum_to[end] - sum_to[start]) % 10:
                continue
            if beginning.match(digits, start) and not _is_list(groups, starts, start, end):
                yield digits[start:end]


def _sums(digits: bytes, parity: int) -> list[int]:
    """Luhn's sums (ISO/IEC 7812-1 annex B) up to each digit, every second one doubled."""
    values = bytearray(digits.translate(_VALUES))
    values[parity::2] = digits.translate(_DOUBLED)[parity::2]
    return [0, *accumulate(values)]


def _is_list(groups: list[bytes], starts: list[int], start: int, end: int) -> bool:
    first, after = bisect_left(starts, start), bisect_left(starts, end)
    numbers = [int(group) for group in groups[first:after]]
    return len(numbers) >= _LIST and all(one < two for one, two in pairwise(numbers))
