"""What a sweep tells: what it found wrong, what it did, and what waits in all shops."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.backlog import Backlog
from gateway.metrics.families import counter, counters, gauge, gauges
from gateway.metrics.process import registry_of_process
from gateway.metrics.rooms import of_rooms
from gateway.reconcile.differences import Difference
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import Rooms
from gateway.sweep import Sweep


def registry_of_sweep(sweep: Sweep, reconciler: Reconciler) -> CollectorRegistry:
    """A registry of what a sweep found and did."""
    return registry_of_process(_Sweep(sweep, reconciler))


@dataclass(eq=False, frozen=True, slots=True)
class _Sweep(Collector):
    sweep: Sweep
    reconciler: Reconciler

    def collect(self) -> Iterable[Metric]:
        """Read everything once."""
        found = self.reconciler.found
        yield counters(
            "holdfast_differences",
            "Differences between Redis, Stripe and the order stream.",
            ("difference", "repaired"),
            (
                ((str(difference), str(repaired).lower()), found[difference, repaired])
                # All of them: a count that appears with 1 was never seen to grow.
                for difference, repaired in product(Difference, (True, False))
            ),
        )
        done = self.sweep.done
        yield counter("holdfast_holds_expired", "Holds that lapsed.", done["expired"])
        yield counters(
            "holdfast_sweep_payments",
            "Payments a sweep looked at.",
            ("outcome",),
            (((word,), done[word]) for word in ("settled", "failed")),
        )
        yield gauge(
            "holdfast_clocks_off",
            "Shops whose server's clock is off, so that no hold lapses.",
            len(self.sweep.jumped),
        )
        yield gauge(
            "holdfast_sweep_turn_age_seconds",
            "How long ago the sweep last got on with its round.",
            self.sweep.pulse.age_s,
        )
        yield from _of_backlog(self.sweep.backlog)
        yield from _of_servers(self.sweep.rooms)
        yield from of_rooms(self.sweep.rooms)


def _of_backlog(backlog: Backlog) -> Iterable[Metric]:
    """What waits in all shops; every sweep tells the same."""
    now = backlog.waiting
    yield gauge("holdfast_shops", "Shops that are looked after.", now.shops)
    yield gauge("holdfast_holds_active", "Holds that are active.", now.holds)
    yield gauge(
        "holdfast_hold_overdue_seconds",
        "By how long the oldest hold has outlived its deadline.",
        now.hold_overdue_s,
    )
    yield gauge("holdfast_payments_unsettled", "Payments that are not settled.", now.payments)
    yield gauges(
        "holdfast_payment_age_seconds",
        "For how long the oldest payment has been so; committed is sold, and not captured yet.",
        "phase",
        {"paying": now.paying_s, "committed": now.committed_s, "voiding": now.voiding_s},
    )
    yield gauge(
        "holdfast_orders_undelivered",
        "Orders that a webhook has not got yet, each webhook counted by itself.",
        now.undelivered,
    )
    yield gauge(
        "holdfast_orders_undelivered_age_seconds",
        "How old the oldest of them is.",
        now.undelivered_s,
    )
    yield gauge("holdfast_orders_parked", "Deliveries given up.", now.parked)
    yield gauge(
        "holdfast_stock_shortfall_units",
        "Units that are promised and not there.",
        now.shortfall_units,
    )
    yield gauge(
        "holdfast_backlog_age_seconds",
        "How old the oldest of these figures are.",
        backlog.read.age_s,
    )


def _of_servers(rooms: Rooms) -> Iterable[Metric]:
    """How the servers of Redis are, of several the worst; nothing of one that does not answer."""
    servers = [server for server in rooms.durability.servers.values() if server]
    if servers:
        yield gauge(
            "holdfast_redis_fullness_ratio",
            "Share of its memory that the fullest server uses; 0 where it has no limit.",
            max(server.fullness for server in servers),
        )
        yield gauge(
            "holdfast_redis_replicas",
            "Replicas of the primary that has the fewest.",
            min(server.replicas for server in servers),
        )
    yield gauge(
        "holdfast_redis_replicas_wanted",
        "Replicas a sale must be on; with fewer, checkout is paused.",
        rooms.settings.wait_replicas,
    )
