"""How Redis answers; the only thing every process tells."""

from collections.abc import Iterable

from prometheus_client.core import Metric

from gateway.lane import Lane
from gateway.metrics.families import counter, gauge, histogram


def of_lane(lane: Lane) -> Iterable[Metric]:
    """How Redis answers."""
    yield gauge("holdfast_redis_waiting", "Requests waiting for Redis.", lane.waiting)
    yield counter("holdfast_redis_round_trips", "Round trips to Redis.", lane.round_trips)
    yield counter(
        "holdfast_redis_failures",
        "Round trips that brought no answer in time; they are repeated.",
        lane.times.failed,
    )
    yield histogram(
        "holdfast_redis_round_trip_seconds",
        "What a round trip takes; waited: something in it waited for replicas or a disk.",
        "kind",
        {"plain": lane.times.plain, "waited": lane.times.waited},
    )
