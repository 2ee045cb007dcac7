"""What a shopper is like: every whim is drawn from a seed. Pure."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

Lines = tuple[tuple[str, int], ...]
"""What goes into one hold: sku and units."""

GOOD_CARD = "pm_card_visa"
SECOND_STEP_CARD = "pm_card_authenticationRequired"
DECLINED_CARDS = (
    "pm_card_visa_chargeDeclined",
    "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedExpiredCard",
)
"""All of these exist only in Stripe's test mode and in its sandbox: no money can move."""
_TWO_UNITS = 0.1
_INSISTS = 0.3
"""How much of the wish to try again is left after each time somebody was faster."""


class Plan(Enum):
    """What a shopper does with a hold."""

    PAY = auto()
    TRY_ANOTHER_CARD = auto()
    """The first card is declined."""
    ASK_THE_BANK = auto()
    """The card needs a second step, which the shopper completes."""
    GIVE_UP_AT_THE_BANK = auto()
    """The shopper does not, and gives the unit back."""
    GIVE_BACK = auto()
    WALK_AWAY = auto()
    """Leaves with the unit in hand; it comes back when the hold lapses."""


_WEIGHTS = {
    Plan.PAY: 76,
    Plan.TRY_ANOTHER_CARD: 8,
    Plan.ASK_THE_BANK: 4,
    Plan.GIVE_UP_AT_THE_BANK: 2,
    Plan.GIVE_BACK: 7,
    Plan.WALK_AWAY: 3,
}


@dataclass(frozen=True, slots=True)
class Manners:
    """How the shoppers of a scenario behave. Times in seconds."""

    hesitate_s: float = 2.0
    """Between holding and paying, in the mean."""
    react_s: float = 1.2
    """At most, between seeing stock and asking for it."""
    stay_s: float = math.inf
    """How long a socket is kept, in the mean, before the shopper goes and comes back."""
    away_s: float = 1.0
    """How long until they come back, in the mean."""
    buys: float = 1.0
    """How likely somebody asks for a unit at all when it can be had."""
    second_device: float = 0.05
    """How likely somebody watches on two devices."""
    rest_s: float = 20.0
    """After a purchase, before the next wish."""


@dataclass(slots=True)
class Whims:
    """One shopper's."""

    rng: random.Random
    manners: Manners
    eagerness: float = 1.0
    """How likely the shopper tries, when it can be had."""

    def __post_init__(self) -> None:
        self.eagerness = self.manners.buys

    def tries(self) -> bool:
        """Whether to ask for it, now that it can be had."""
        return self.rng.random() < self.eagerness

    def beaten(self) -> None:
        """Somebody was faster."""
        self.eagerness *= _INSISTS

    def react_s(self) -> float:
        """Between seeing stock and asking for it: most are quick, for they have waited."""
        return self.manners.react_s * self.rng.random() ** 2

    def hesitate_s(self) -> float:
        """Between holding and paying."""
        mean_s = self.manners.hesitate_s
        return min(4 * mean_s, self.rng.expovariate(1 / mean_s)) if mean_s else 0.0

    def find_card_s(self) -> float:
        """Getting another card out, or the phone with the bank's app."""
        return self.rng.uniform(0.2, 0.8) * self.manners.hesitate_s

    def rest_s(self) -> float:
        """After a purchase."""
        return self.rng.uniform(0.5, 1.5) * self.manners.rest_s

    def stay_s(self) -> float:
        """How long this socket is kept."""
        mean_s = self.manners.stay_s
        return self.rng.expovariate(1 / mean_s) if math.isfinite(mean_s) else mean_s

    def away_s(self) -> float:
        """How long until the shopper comes back."""
        return self.rng.uniform(0, 2 * self.manners.away_s)

    def has_second_device(self) -> bool:
        """Whether to watch on two devices."""
        return self.rng.random() < self.manners.second_device

    def plan(self) -> Plan:
        """What to do with a hold."""
        return self.rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]

    def bad_card(self) -> str:
        """A card that will be declined."""
        return self.rng.choice(DECLINED_CARDS)

    def basket(self, wanted: Sequence[tuple[str, int]]) -> Lines:
        """What the shopper wants of these (sku, units left); empty when there is nothing."""
        there = [(sku, left) for sku, left in wanted if left > 0]
        if not there:
            return ()
        sku, left = self.rng.choice(there)
        return ((sku, min(left, 1 + (self.rng.random() < _TWO_UNITS))),)
