"""What the relay did, and what it has before it, for Prometheus."""

from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.histogram import SLOW_BOUNDS_S

MOST_NAMED = 200
"""Webhooks that are told apart; those beyond are counted together, so that labels stay few."""
_REST = ("other", "other")
_LABELS = ("shop", "webhook")


class Tally:
    """The relay's figures, by shop and webhook.

    Args:
        most_named: webhooks that are told apart.
    """

    def __init__(self, registry: CollectorRegistry, most_named: int = MOST_NAMED) -> None:
        counter = partial(Counter, labelnames=_LABELS, registry=registry)
        gauge = partial(Gauge, labelnames=_LABELS, registry=registry)
        self.delivered = counter("holdfast_relay_delivered", "Events a POS has taken.")
        self.retried = counter("holdfast_relay_retried", "Deliveries to be tried again.")
        self.unreachable = counter("holdfast_relay_unreachable", "Deliveries that met nobody.")
        self.parked = counter("holdfast_relay_parked", "Deliveries given up.")
        self.skipped = counter("holdfast_relay_skipped", "Orders never captured: not delivered.")
        self.in_hand = gauge("holdfast_relay_in_hand", "Events read and not done.")
        self.parked_now = gauge("holdfast_relay_parked_now", "Deliveries parked just now.")
        self.took = Histogram(
            "holdfast_relay_delivery_seconds",
            "What a webhook takes to answer, whatever it says.",
            buckets=SLOW_BOUNDS_S,
            registry=registry,
        )
        self._most_named = most_named
        self._named: set[tuple[str, str]] = set()
        self._untold = Gauge("holdfast_relay_untold", "Of webhooks not told apart.", registry=None)

    def of(self, shop: str, webhook: str) -> "WebhookTally":
        """The figures of one webhook."""
        place = self._place(shop, webhook)
        # What several have just now cannot be told in one figure: each would overwrite the others'.
        alone = place != _REST
        return WebhookTally(
            delivered=self.delivered.labels(*place),
            retried=self.retried.labels(*place),
            unreachable=self.unreachable.labels(*place),
            parked=self.parked.labels(*place),
            skipped=self.skipped.labels(*place),
            in_hand=self.in_hand.labels(*place) if alone else self._untold,
            parked_now=self.parked_now.labels(*place) if alone else self._untold,
            took=self.took,
        )

    def leave(self, shop: str, webhook: str) -> None:
        """Say nothing more about what another relay may have in hand now."""
        if (shop, webhook) in self._named:
            self.in_hand.remove(shop, webhook)
            self.parked_now.remove(shop, webhook)

    def _place(self, shop: str, webhook: str) -> tuple[str, str]:
        if (shop, webhook) not in self._named:
            if len(self._named) >= self._most_named:
                return _REST
            self._named.add((shop, webhook))
        return shop, webhook


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
    took: Histogram
    """Of all webhooks."""
