"""What Prometheus is told about a gateway process; read off the parts when it asks."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.checkout.desk import Desk
from gateway.lane import Lane
from gateway.sockets.listener import NewsListener
from gateway.sockets.tally import Tally


@dataclass(eq=False, frozen=True, slots=True)
class _Gateway(Collector):
    lane: Lane
    desk: Desk
    listener: NewsListener
    tally: Tally

    def collect(self) -> Iterable[Metric]:
        """Read everything once. Labels are words of ours, never what a client sent."""
        yield GaugeMetricFamily(
            "holdfast_viewers", "Viewers connected here.", self.listener.viewers
        )
        yield GaugeMetricFamily(
            "holdfast_payments_running", "Payments under way.", self.desk.running
        )
        yield CounterMetricFamily(
            "holdfast_redis_round_trips", "Round trips to Redis.", self.lane.round_trips
        )
        yield GaugeMetricFamily(
            "holdfast_redis_waiting", "Requests waiting for Redis.", self.lane.waiting
        )
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


def registry(lane: Lane, desk: Desk, listener: NewsListener, tally: Tally) -> CollectorRegistry:
    """A registry of this process' own numbers and the interpreter's."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    made.register(_Gateway(lane, desk, listener, tally))
    return made
