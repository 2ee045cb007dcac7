"""Finds card numbers where none belong: what we never receive we can never lose. Pure.

A shopper may type one into a question or a name. Such a frame is refused before anything of it is
kept.
"""

import re

_NUMBER = re.compile(r"(?<!\d)(?:3(?:[ -]?\d){13,14}|[2-6](?:[ -]?\d){15,18})(?!\d)")
"""American Express and Diners begin with 3; the others have 16 digits or more. Times in
milliseconds and telephone numbers are shorter, or begin otherwise."""


def card_numbers(text: str) -> list[str]:
    """The digits of everything in a text that looks like a card number and has its check digit."""
    found = (re.sub(r"[ -]", "", number) for number in _NUMBER.findall(text))
    return [digits for digits in found if _checks(digits)]


def _checks(digits: str) -> bool:
    """Luhn's check, ISO/IEC 7812-1 annex B."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0
