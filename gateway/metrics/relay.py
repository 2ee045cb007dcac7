"""What a relay tells besides its tally: how Redis answers it, and whether it gets on."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.lane import Lane
from gateway.metrics.families import gauge
from gateway.metrics.lane import of_lane
from gateway.metrics.process import registry_of_process
from gateway.pulse import Pulse


def registry_of_relay(lane: Lane, turn: Pulse) -> CollectorRegistry:
    """A registry of this process' own numbers; the relay's tally is added to it."""
    return registry_of_process(_Relay(lane, turn))


@dataclass(eq=False, frozen=True, slots=True)
class _Relay(Collector):
    lane: Lane
    turn: Pulse

    def collect(self) -> Iterable[Metric]:
        """Read everything once."""
        yield gauge(
            "holdfast_relay_turn_age_seconds",
            "How long ago the relay last looked at all its shops.",
            self.turn.age_s,
        )
        yield from of_lane(self.lane)
