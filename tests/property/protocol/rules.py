"""What one small world has in it, and which guards of the protocol are on."""

from typing import NamedTuple

from tests.property.protocol.guards import Guard


class Rules(NamedTuple):
    """A scenario. Whatever is not named here does not happen in it."""

    story: str = ""
    on_hand: int = 1
    wants: tuple[int, ...] = (1,)
    """How many units each shopper wants; there are as many shoppers."""
    workers: int = 2
    """Runs of ``settle`` that may be under way at once: frames, webhooks, sweeps, all alike."""
    cards: int = 1
    """Payment methods a shopper has to try."""
    answers: tuple[str, ...] = ("requires_capture",)
    """What a bank may say at once."""
    releases: bool = False
    """Shoppers may give their hold back."""
    time: bool = False
    """Deadlines pass."""
    queue: int = 0
    """Ticks our own queue may keep a payment waiting before Stripe is asked."""
    copies: bool = False
    """Late copies of old requests arrive."""
    crashes: bool = True
    """Any run may end between any two of its steps. A lost reply is the same thing: the step took
    effect and who took it does not know."""
    lost_requests: bool = False
    """A request for an intent may arrive after whoever sent it has given up."""
    errors: int = 0
    """500s of Stripe, with or without an effect, each replayed under its key."""
    second_try: bool = False
    """The page may confirm a failed intent anew with its secret, as long as it is not cancelled."""
    foreign: bool = False
    """Another's intent bears the order's name, with another amount."""
    pinned: bool = False
    """Methods without manual capture are turned on."""
    late_sweep: bool = False
    """A sweep reads what is due, and acts on it at any time later."""
    relay: bool = False
    """The POS is given its events as a step of its own."""
    reconcile: bool = False
    """Strays are looked for. Without data loss the protocol must hold without it."""
    failovers: int = 0
    old_primary: bool = False
    """After a failover, somebody may still talk to the old primary."""
    without: Guard | None = None
    """The one guard that is off."""

    def on(self, guard: Guard) -> bool:
        """Whether a guard is on."""
        return guard is not self.without

    @property
    def lossless(self) -> bool:
        """Whether all of the truth about an order is in Redis and in its own intents."""
        return not self.failovers and not self.foreign


HOLD_TICKS = 1
BUDGET_TICKS = 2
GRACE_TICKS = 1
