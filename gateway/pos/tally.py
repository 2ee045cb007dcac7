"""What the relay did, and what it has before it, for Prometheus."""

from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

_LABELS = ("shop", "webhook")


class Tally:
    """The relay's figures, by shop and webhook."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, labelnames=_LABELS, registry=registry)
        gauge = partial(Gauge, labelnames=_LABELS, registry=registry)
        self.delivered = counter("holdfast_relay_delivered", "Events a POS has taken.")
        self.retried = counter("holdfast_relay_retried", "Deliveries to be tried again.")
        self.unreachable = counter("holdfast_relay_unreachable", "Deliveries that met nobody.")
        self.parked = counter("holdfast_relay_parked", "Deliveries given up.")
        self.skipped = counter("holdfast_relay_skipped", "Orders never captured: not delivered.")
        self.in_hand = gauge("holdfast_relay_in_hand", "Events read and not done.")
        self.parked_now = gauge("holdfast_relay_parked_now", "Deliveries parked just now.")

    def of(self, shop: str, webhook: str) -> "WebhookTally":
        """The figures of one webhook."""
        return WebhookTally(
            delivered=self.delivered.labels(shop, webhook),
            retried=self.retried.labels(shop, webhook),
            unreachable=self.unreachable.labels(shop, webhook),
            parked=self.parked.labels(shop, webhook),
            skipped=self.skipped.labels(shop, webhook),
            in_hand=self.in_hand.labels(shop, webhook),
            parked_now=self.parked_now.labels(shop, webhook),
        )

    def leave(self, shop: str, webhook: str) -> None:
        """Say nothing more about what another relay may have in hand now."""
        self.in_hand.remove(shop, webhook)
        self.parked_now.remove(shop, webhook)


@dataclass(frozen=True, slots=True)
class WebhookTally:
    """The figures of one webhook."""

    delivered: Counter
    retried: Counter
    unreachable: Counter
    parked: Counter
    skipped: Counter
    in_hand: Gauge
    parked_now: Gauge
