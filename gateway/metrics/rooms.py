"""What a gateway and a sweep tell alike: Stripe, payments, claims, recovery, and Redis."""

from collections.abc import Iterable
from itertools import product

from prometheus_client.core import Metric

from gateway.checkout.phases import Phase
from gateway.checkout.provider import OUTCOMES, Provider
from gateway.checkout.turns import Endpoint
from gateway.claims.table import Claims
from gateway.metrics.families import counter, counters, gauge, histogram
from gateway.metrics.lane import of_lane
from gateway.recovery.recovery import Recovery
from gateway.rooms import Rooms


def of_rooms(rooms: Rooms) -> Iterable[Metric]:
    """Everything below."""
    yield from of_lane(rooms.lane)
    yield from _of_stripe(rooms.payments.provider)
    yield from _of_payments(rooms)
    yield from _of_claims(rooms.claims)
    yield from _of_recovery(rooms.recovery)


def _of_stripe(provider: Provider) -> Iterable[Metric]:
    """How Stripe answers, and how long one waits to ask it."""
    yield gauge(
        "holdfast_stripe_waiting",
        "Requests that wait for their turn to ask Stripe.",
        provider.waiting,
    )
    yield gauge(
        "holdfast_stripe_silences",
        "Requests in a row that Stripe has left without an answer.",
        provider.silences,
    )
    yield counters(
        "holdfast_stripe_requests",
        "Requests to Stripe, by what became of them; too_much is status 429, broken is 5xx.",
        ("endpoint", "outcome"),
        (
            ((str(endpoint), outcome), provider.asked.answers[endpoint, outcome])
            for endpoint, outcome in product(Endpoint, OUTCOMES)
        ),
    )
    yield histogram(
        "holdfast_stripe_request_seconds",
        "What a request to Stripe takes, without the queue before it.",
        "endpoint",
        {str(endpoint): took for endpoint, took in provider.asked.took.items()},
    )


def _of_payments(rooms: Rooms) -> Iterable[Metric]:
    """How purchases end."""
    moved = {(Phase.CAPTURED, ""): 0, **rooms.records.moved}
    yield counters(
        "holdfast_purchases",
        "Purchases this process has moved on: captured is a confirmed sale.",
        ("outcome", "reason"),
        (((str(phase), why), count) for (phase, why), count in moved.items()),
    )
    yield counters(
        "holdfast_refunds",
        "Refunds this process has ended.",
        ("outcome",),
        (((word,), rooms.refunds.ended[word]) for word in ("done", "failed")),
    )


def _of_claims(claims: Claims | None) -> Iterable[Metric]:
    """Nothing unless the mode is strict."""
    if claims:
        yield gauge("holdfast_claims_waiting", "Sales that wait to be claimed.", claims.waiting)
        yield counter(
            "holdfast_claims_refused", "Claims of units another order has.", claims.conflicts
        )


def _of_recovery(recovery: Recovery) -> Iterable[Metric]:
    """Shops that had to be frozen, those served again, and the sales that were written again."""
    yield gauge(
        "holdfast_shops_frozen",
        "Shops that sell nothing while they are rebuilt, as far as is known here.",
        len(recovery.frozen),
    )
    yield counters(
        "holdfast_recovery",
        "Shops frozen and thawed, sales restored.",
        ("what",),
        (((what,), recovery.done[what]) for what in ("frozen", "thawed", "restored")),
    )
