"""What Prometheus is told; read off the parts when it asks."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.admission import SAID
from gateway.settings import Settings, SettingsError, variable

if TYPE_CHECKING:  # The relay has numbers, too, and none of these.
    from gateway.admission import Admission
    from gateway.checkout.desk import Desk
    from gateway.claims.table import Claims
    from gateway.reconcile.reconciler import Reconciler
    from gateway.recovery.recovery import Recovery
    from gateway.rooms import Rooms
    from gateway.sockets.door import Door
    from gateway.sockets.listener import NewsListener
    from gateway.sockets.tally import Histogram, Tally


@dataclass(eq=False, frozen=True, slots=True)
class _Gateway(Collector):
    rooms: "Rooms"
    desk: "Desk"
    listener: "NewsListener"
    door: "Door"
    tally: "Tally"

    def collect(self) -> Iterable[Metric]:
        """Read everything once. Labels are words of ours, never what a client sent."""
        yield GaugeMetricFamily(
            "holdfast_viewers", "Viewers connected here.", self.listener.viewers
        )
        yield GaugeMetricFamily("holdfast_sockets", "Sockets open here.", self.door.open)
        yield CounterMetricFamily("holdfast_accepted", "Upgrades made.", self.door.accepted)
        yield GaugeMetricFamily(
            "holdfast_payments_running", "Payments under way.", self.desk.running
        )
        yield GaugeMetricFamily(
            "holdfast_stripe_waiting",
            "Requests that wait for their turn to ask Stripe.",
            self.desk.settler.payments.provider.waiting,
        )
        yield CounterMetricFamily(
            "holdfast_redis_round_trips", "Round trips to Redis.", self.rooms.lane.round_trips
        )
        yield GaugeMetricFamily(
            "holdfast_redis_waiting", "Requests waiting for Redis.", self.rooms.lane.waiting
        )
        yield from _of_claims(self.rooms.claims)
        yield _of_recovery(self.rooms.recovery)
        yield _of_admission(self.rooms.admission)
        commands = CounterMetricFamily(
            "holdfast_commands", "Commands answered, by their outcome.", labels=("type", "outcome")
        )
        for (kind, outcome), count in self.tally.commands.items():
            commands.add_metric((kind, outcome), count)
        yield commands
        refused = CounterMetricFamily("holdfast_refused", "Upgrades refused.", labels=("reason",))
        for reason, count in self.door.refused.items():
            refused.add_metric((reason,), count)
        yield refused
        yield from _of_sockets(self.tally)


def _of_sockets(tally: "Tally") -> Iterable[Metric]:
    """What was written, how late, and how sockets ended."""
    closes = CounterMetricFamily(
        "holdfast_closes", "Sockets closed, by whom and with which code.", labels=("by", "code")
    )
    for close, count in tally.closed.items():
        closes.add_metric(("gateway", str(int(close))), count)
    for code, count in tally.gone.items():
        closes.add_metric(("peer", code), count)
    yield closes
    written = CounterMetricFamily("holdfast_frames_written", "Frames written.", labels=("kind",))
    for kind, count in tally.written.items():
        written.add_metric((kind,), count)
    yield written
    values = CounterMetricFamily(
        "holdfast_stock_values",
        "Versions of the stock for each viewer, by what became of them.",
        labels=("outcome",),
    )
    for outcome, count in tally.values.items():
        values.add_metric((outcome,), count)
    yield values
    yield _histogram(
        "holdfast_stock_staleness_seconds",
        "From when Redis decided until it was written; sold_out includes back in stock.",
        {"sold_out": tally.stale_urgent, "other": tally.stale_other},
    )
    yield _histogram(
        "holdfast_event_loop_lag_seconds", "How late the event loop is.", {"": tally.loop_lag}
    )


def _histogram(name: str, documentation: str, kinds: "Mapping[str, Histogram]") -> Metric:
    """A histogram by ``kind``, or of one that has no name."""
    named = any(kinds)
    made = HistogramMetricFamily(name, documentation, labels=("kind",) if named else ())
    for kind, histogram in kinds.items():
        bounds = (*map(str, histogram.bounds_s), "+Inf")
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        made.add_metric((kind,) if named else (), buckets, histogram.sum_s)
    return made


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
    rooms: "Rooms", desk: "Desk", listener: "NewsListener", door: "Door", tally: "Tally"
) -> CollectorRegistry:
    """A registry of this process' own numbers and the interpreter's."""
    made = registry_of_process()
    made.register(_Gateway(rooms, desk, listener, door, tally))
    return made


@dataclass(eq=False, frozen=True, slots=True)
class _Sweep(Collector):
    rooms: "Rooms"
    reconciler: "Reconciler"
    jumped: Collection[str]

    def collect(self) -> Iterable[Metric]:
        """What was found wrong, and what became of it."""
        differences = CounterMetricFamily(
            "holdfast_differences",
            "Differences between Redis, Stripe and the order stream.",
            labels=("difference", "repaired"),
        )
        for (difference, repaired), count in self.reconciler.found.items():
            differences.add_metric((difference, str(repaired).lower()), count)
        yield differences
        yield from _of_claims(self.rooms.claims)
        yield _of_recovery(self.rooms.recovery)
        yield GaugeMetricFamily(
            "holdfast_clocks_off",
            "Shops whose server's clock is off, so that no hold lapses.",
            len(self.jumped),
        )


def registry_of_sweep(
    rooms: "Rooms", reconciler: "Reconciler", jumped: Collection[str]
) -> CollectorRegistry:
    """A registry of what a sweep found; ``jumped`` are the shops whose clock is off."""
    made = registry_of_process()
    made.register(_Sweep(rooms, reconciler, jumped))
    return made


def _of_admission(admission: "Admission") -> Metric:
    """What became of those who asked for a ticket of a show with a limit."""
    said = CounterMetricFamily(
        "holdfast_admission", "Answers to shoppers before a full show.", labels=("said",)
    )
    for word in SAID:
        said.add_metric((word,), admission.said[word])
    return said


def _of_recovery(recovery: "Recovery") -> Metric:
    """Shops that had to be frozen, those served again, and the sales that were written again."""
    done = CounterMetricFamily(
        "holdfast_recovery", "Shops frozen and thawed, sales restored.", labels=("what",)
    )
    for what in ("frozen", "thawed", "restored"):
        done.add_metric((what,), recovery.done[what])
    return done


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
        SettingsError: nothing can listen there, for the port is taken, say.
    """
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, addr=settings.host, registry=numbers)
    except OSError as error:
        where, why = f"{settings.host}:{settings.metrics_port}", os.strerror(error.errno or 0)
        raise SettingsError(
            f"{variable('metrics_port')} cannot be used: {where}: {why.lower()}."
        ) from None
