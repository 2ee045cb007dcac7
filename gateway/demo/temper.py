"""What a shopper of the crowd is like: every whim is drawn from a seed. Pure."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

Lines = tuple[tuple[str, int], ...]
"""What goes into one hold: sku and units."""

_ARRIVE_WITHIN_S = 2.5
"""The host has just shown the product, and everybody comes at once."""
_POPULARITY = 0.8
"""Weight of the n-th product is n to the power of minus this: the first ones are the favourites."""
_SECOND_LINE = 0.15
_TWO_UNITS = 0.2

GOOD_CARD = "pm_card_visa"
SECOND_STEP_CARD = "pm_card_authenticationRequired"
DECLINED_CARDS = (
    "pm_card_visa_chargeDeclined",
    "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedExpiredCard",
)


class Plan(Enum):
    """What a shopper does with a hold."""

    PAY = auto()
    TRY_ANOTHER_CARD = auto()
    """The first card is declined."""
    ASK_THE_BANK = auto()
    """The card needs a second step, which the shopper completes."""
    FAIL_AT_THE_BANK = auto()
    """The shopper fails the second step, and pays with another card."""
    GIVE_BACK = auto()
    WALK_AWAY = auto()
    """Leaves with the unit in hand; it comes back when the hold lapses."""


_WEIGHTS = {
    Plan.PAY: 72,
    Plan.TRY_ANOTHER_CARD: 9,
    Plan.ASK_THE_BANK: 6,
    Plan.FAIL_AT_THE_BANK: 2,
    Plan.GIVE_BACK: 8,
    Plan.WALK_AWAY: 3,
}


@dataclass(frozen=True, slots=True)
class Temper:
    """A shopper's whims. Times are in seconds."""

    rng: random.Random

    def arrival_s(self) -> float:
        """How long after the crowd's start the shopper comes."""
        return self.rng.uniform(0, _ARRIVE_WITHIN_S)

    def look_s(self) -> float:
        """Looking around before reaching for something."""
        return min(5.0, 0.2 + self.rng.expovariate(1.0))

    def hesitate_s(self) -> float:
        """Between holding and paying."""
        return min(6.0, 0.3 + self.rng.expovariate(0.9))

    def rest_s(self) -> float:
        """Happy with what was bought, before wanting more."""
        return self.rng.uniform(1.5, 6.0)

    def react_s(self) -> float:
        """Before trying again after somebody was faster, or noticing that something came back."""
        return self.rng.uniform(0.1, 1.2)

    def find_card_s(self) -> float:
        """Getting another card out, or the phone with the bank's app."""
        return self.rng.uniform(0.5, 2.0)

    def plan(self) -> Plan:
        """What to do with a hold."""
        return self.rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]

    def bad_card(self) -> str:
        """A card that will be declined."""
        return self.rng.choice(DECLINED_CARDS)

    def basket(self, ranking: Sequence[str], stock: Mapping[str, int]) -> Lines:
        """What the shopper wants of what there is; empty when everything is sold out.

        Args:
            ranking: all products, the most popular first.
            stock: units available by sku.
        """
        wanted = {
            sku: rank**-_POPULARITY
            for rank, sku in enumerate(ranking, start=1)
            if stock.get(sku, 0) > 0
        }
        lines: dict[str, int] = {}
        for _ in range(1 + (self.rng.random() < _SECOND_LINE)):
            if not wanted:
                break
            sku = self.rng.choices(list(wanted), list(wanted.values()))[0]
            del wanted[sku]
            lines[sku] = min(stock[sku], 1 + (self.rng.random() < _TWO_UNITS))
        return tuple(lines.items())
