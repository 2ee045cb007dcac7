"""Prices as people write them, to integers in a currency's minor unit, exactly."""

import re
from decimal import Decimal

from gateway.model import MAX_AMOUNT

# fmt: off
_NO_DECIMALS = frozenset([
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND",
    "VUV", "XAF", "XOF", "XPF",
])
# fmt: on
_THREE_DECIMALS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])
_FOUR_DECIMALS = frozenset(["CLF", "UYW"])

_PRICE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,8})?")


def decimals(currency: str) -> int:
    """How many decimals a price in this currency has, by ISO 4217."""
    if currency in _NO_DECIMALS:
        return 0
    if currency in _THREE_DECIMALS:
        return 3
    return 4 if currency in _FOUR_DECIMALS else 2


def minor_units(text: str, currency: str) -> int:
    """Read a price such as ``1299.5`` as an amount in the currency's minor unit.

    Raises:
        ValueError: with one sentence on what is wrong, for whoever wrote the price.
    """
    if not _PRICE.fullmatch(text):
        raise ValueError("it is not a plain number such as 1299.50")
    amount = Decimal(text).scaleb(decimals(currency))
    if amount != amount.to_integral_value():
        raise ValueError(f"a price in {currency} has at most {decimals(currency)} decimals")
    if amount > MAX_AMOUNT:
        raise ValueError("it is too large")
    return int(amount)
