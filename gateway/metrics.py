"""What Prometheus is told; read off the parts when it asks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.settings import Settings

if TYPE_CHECKING:  # The relay has numbers, too, and none of these.
    from gateway.checkout.desk import Desk
    from gateway.claims.table import Claims
    from gateway.lane import Lane
    from gateway.reconcile.reconciler import Reconciler
    from gateway.sockets.listener import NewsListener
    from gateway.sockets.tally import Tally


@dataclass(eq=False, frozen=True, slots=True)
class _Gateway(Collector):
    lane: "Lane"
    desk: "Desk"
    listener: "NewsListener"
    tally: "Tally"

    def collect(self) -> Iterable[Metric]:
        """Read everything once. Labels are words of ours, never what a client sent."""
        yield GaugeMetricFamily(
            "holdfast_viewers", "Viewers connected here.", self.listener.viewers
        )
        yield GaugeMetricFamily(
            "holdfast_payments_running", "Payments under way.", self.desk.running
        )
        yield GaugeMetricFamily(
            "holdfast_stripe_waiting",
            "Requests that wait for their turn to ask Stripe.",
            self.desk.settler.payments.provider.waiting,
        )
        yield CounterMetricFamily(
            "holdfast_redis_round_trips", "Round trips to Redis.", self.lane.round_trips
        )
        yield GaugeMetricFamily(
            "holdfast_redis_waiting", "Requests waiting for Redis.", self.lane.waiting
        )
        yield from _of_claims(self.desk.settler.claims)
        commands = CounterMetricFamily(
            "holdfast_commands", "Commands answered, by their outcome.", labels=("type", "outcome")
        )
        for (kind, outcome), count in self.tally.commands.items():
            commands.add_metric((kind, outcome), count)
        yield commands
        closes = CounterMetricFamily("holdfast_closes", "Sockets we closed.", labels=("code",))
        for close, count in self.tally.closed.items():
            closes.add_metric((str(int(close)),), count)
        yield closes
        refused = CounterMetricFamily("holdfast_refused", "Upgrades refused.", labels=("code",))
        for code, count in self.tally.refused.items():
            refused.add_metric((code,), count)
        yield refused


def _of_claims(claims: "Claims | None") -> Iterable[Metric]:
    """Nothing unless the mode is strict."""
    if claims:
        yield GaugeMetricFamily(
            "holdfast_claims_waiting", "Sales that wait to be claimed.", claims.waiting
        )
        yield CounterMetricFamily(
            "holdfast_claims_refused", "Claims of units another order has.", claims.conflicts
        )


def registry(
    lane: "Lane", desk: "Desk", listener: "NewsListener", tally: "Tally"
) -> CollectorRegistry:
    """A registry of this process' own numbers and the interpreter's."""
    made = registry_of_process()
    made.register(_Gateway(lane, desk, listener, tally))
    return made


@dataclass(eq=False, frozen=True, slots=True)
class _Reconciling(Collector):
    reconciler: "Reconciler"

    def collect(self) -> Iterable[Metric]:
        """Differences by name, and whether they were repaired."""
        differences = CounterMetricFamily(
            "holdfast_differences",
            "Differences between Redis, Stripe and the order stream.",
            labels=("difference", "repaired"),
        )
        for (difference, repaired), count in self.reconciler.found.items():
            differences.add_metric((difference, str(repaired).lower()), count)
        yield differences
        yield from _of_claims(self.reconciler.settler.claims)


def registry_of_sweep(reconciler: "Reconciler") -> CollectorRegistry:
    """A registry of what a sweep found."""
    made = registry_of_process()
    made.register(_Reconciling(reconciler))
    return made


def registry_of_process() -> CollectorRegistry:
    """A registry of the interpreter's own numbers."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    return made


def serve(settings: Settings, numbers: CollectorRegistry) -> None:
    """Answer Prometheus on a port of its own, in a thread, for processes that serve nothing else.

    Raises:
        OSError: the port is taken.
    """
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=settings.host, registry=numbers)
