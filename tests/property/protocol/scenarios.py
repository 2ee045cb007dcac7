"""The small worlds that are explored, each for one kind of trouble.

One huge world would take hours and say no more: what goes wrong takes two runs, a fault or two, and
one other shopper at most.
"""

from tests.property.protocol.rules import Rules

ONE_CARD = ("requires_capture", "requires_payment_method", "requires_action")
"""A bank approves, declines, or asks for a second step."""

SCENARIOS = {
    "reserving": Rules(
        story="Two units; reservations, checkouts and releases are copied; a sweep is slow.",
        wants=(1, 1),
        on_hand=2,
        workers=1,
        crashes=False,
        copies=True,
        releases=True,
        time=True,
        late_sweep=True,
    ),
    "paying": Rules(
        story="One shopper; two runs crash anywhere; requests arrive late; Stripe breaks once;"
        " the hold is released or expires.",
        answers=ONE_CARD,
        lost_requests=True,
        releases=True,
        time=True,
        errors=1,
        relay=True,
    ),
    "breaking": Rules(
        story="Stripe answers 500 twice, with or without an effect, and replays it.",
        errors=2,
        releases=True,
        time=True,
    ),
    "declines": Rules(
        story="A second step fails; the page confirms the same intent anew; another card is tried;"
        " copies of the first checkout arrive late.",
        answers=ONE_CARD,
        cards=2,
        second_try=True,
        copies=True,
        releases=True,
        relay=True,
    ),
    "our queue": Rules(
        story="We keep the payment waiting before Stripe is asked.",
        workers=1,
        queue=2,
        time=True,
    ),
    "last unit": Rules(
        story="Two shoppers, one unit: approvals come after the deadline.",
        wants=(1, 1),
        workers=1,
        answers=("requires_capture", "requires_action"),
        time=True,
    ),
    "last unit, two runs": Rules(
        story="Two shoppers, one unit, two runs that overtake each other.",
        wants=(1, 1),
        answers=("requires_action",),
        time=True,
        crashes=False,
    ),
    "two units": Rules(
        story="One shopper wants one of two units, the other both.",
        on_hand=2,
        wants=(1, 2),
        workers=1,
        answers=("requires_action",),
        releases=True,
        time=True,
    ),
    "foreign intent": Rules(
        story="Another's intent bears the order's name; Stripe breaks, so that it may be found.",
        cards=2,
        copies=True,
        time=True,
        errors=1,
        foreign=True,
        reconcile=True,
    ),
    "pinned": Rules(
        story="Methods without manual capture: the bank may take the money at any moment.",
        on_hand=2,
        answers=("requires_action", "processing", "requires_capture"),
        releases=True,
        time=True,
        pinned=True,
    ),
    "pinned, second card": Rules(
        story="The same, and another card is tried.",
        workers=1,
        cards=2,
        answers=("requires_action", "processing"),
        releases=True,
        time=True,
        pinned=True,
    ),
    "failover": Rules(
        story="Two shoppers, one unit; the replica lags and is promoted; two runs go on with what"
        " they remember; what was lost is sent again.",
        wants=(1, 1),
        failovers=1,
        reconcile=True,
    ),
    "failover and deadline": Rules(
        story="One shopper; a failover around the deadline and a second step.",
        workers=1,
        answers=("requires_action",),
        time=True,
        failovers=1,
        reconcile=True,
    ),
    "failover and broken Stripe": Rules(
        story="One shopper; a failover, a 500, and requests that arrive late.",
        workers=1,
        lost_requests=True,
        errors=1,
        failovers=1,
        reconcile=True,
    ),
    "failover and second card": Rules(
        story="A failover loses attempts, and their numbers come again: two are authorized.",
        workers=1,
        cards=2,
        answers=("requires_capture", "requires_payment_method"),
        failovers=1,
        reconcile=True,
    ),
    "two failovers": Rules(
        story="One shopper pays and releases; the primary fails twice.",
        workers=1,
        releases=True,
        failovers=2,
        reconcile=True,
    ),
    "old primary": Rules(
        story="One shopper; after a failover two runs and the shopper may still talk to the old"
        " primary.",
        failovers=1,
        old_primary=True,
        reconcile=True,
    ),
    "old primary, two shoppers": Rules(
        story="Two shoppers, one unit; after a failover anybody may still talk to the old primary.",
        wants=(1, 1),
        workers=1,
        failovers=1,
        old_primary=True,
        reconcile=True,
    ),
}
