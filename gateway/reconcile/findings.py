"""What one look at the books may repair, and what it found."""

from enum import Enum

from msgspec import Struct

from gateway.reconcile.differences import Difference


class Mend(Enum):
    """What a look may repair."""

    NOTHING = "only tell"
    SAFE = "whatever is safe without a person"
    ALL = "also what a person must ask for"


class Finding(Struct, frozen=True, omit_defaults=True):
    """One difference."""

    difference: Difference
    shop: str
    order: str
    intent: str | None = None
    repaired: bool = False
    entry: str | None = None
    """Its place in the order stream, where it is about that one event."""


class Reconciliation(Struct, frozen=True):
    """What one look found."""

    since_ms: int
    shops: int
    intents: int
    """Of ours, as Stripe listed them."""
    orders: int
    """Different orders that were compared: of those intents, and of the stream."""
    events: int
    differences: dict[str, int]
    repaired: int
    left: int
    seconds: float
    findings: tuple[Finding, ...]
    captures: int
    """Of those intents, the ones whose money is ours and was not given back whole."""
    captured: dict[str, int]
    """That money by currency, less what was given back; minor units."""
    silent: tuple[str, ...] = ()
    """Shops whose server did not answer: of these nothing is known."""
