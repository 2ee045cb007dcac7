"""Every metric the processes expose, with its labels, read off real registries."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from gateway.api.addresses import Limit
from gateway.api.hall import Hall
from gateway.checkout.desk import Desk
from gateway.checkout.payment import Payments
from gateway.checkout.phases import WHYS, Phase
from gateway.claims.table import Claims
from gateway.clock import SystemClock
from gateway.durability import Server
from gateway.errors import CloseCode, HoldfastError
from gateway.lane import Lane
from gateway.metrics.gateway import registry as registry_of_gateway
from gateway.metrics.relay import registry_of_relay
from gateway.metrics.sweep import registry_of_sweep
from gateway.pos.tally import Tally
from gateway.pulse import Pulse
from gateway.readiness import Readiness, State
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import Rooms, join
from gateway.settings import Settings
from gateway.sockets.door import Door
from gateway.sockets.listener import NewsListener
from gateway.sockets.tally import Tally as Sockets
from gateway.sweep import Sweep

SCRAPED = {"namespace", "pod", "job", "instance", "container", "service", "endpoint"}
"""Labels Prometheus adds to whatever it scrapes on Kubernetes."""


@dataclass
class Exposed:
    """Samples by name: the values seen of each label; and the families they belong to."""

    samples: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    families: dict[str, Metric] = field(default_factory=dict)

    def take(self, registry: CollectorRegistry) -> None:
        """Add what one process exposes."""
        for family in registry.collect():
            self.families[family.name] = family
            for sample in family.samples:
                labels = self.samples.setdefault(sample.name, defaultdict(set))
                for label, value in sample.labels.items():
                    labels[label].add(value)


def codes() -> list[str]:
    """The code of every error a client may meet, as metrics have it."""

    def below(kind: type[HoldfastError]) -> Iterable[str]:
        for one in kind.__subclasses__():
            yield one.code
            yield from below(one)

    return ["ok", "paused", "frozen", *sorted(set(below(HoldfastError)))]


def everything(claims: Claims | None = None, *, happened: bool = True) -> Exposed:
    """What a gateway, a relay and a sweep expose: once everything has happened, or at first."""
    settings, clock, exposed = Settings(), SystemClock(), Exposed()
    lane = Lane(settings)
    payments = Payments(settings, lane, clock)
    rooms = join(settings, clock, random.Random(1), lane, payments, claims)
    listener, door = NewsListener(rooms), Door(10)
    hall = Hall(10, head_s=10, body_s=30, slow_s=10)
    limit = Limit(0, clock)
    if happened:
        _happen(rooms, door, limit, listener.tally)
    desk = Desk(rooms.settler, settings, rooms.rng)
    readiness = Readiness(lane, rooms.durability, clock)
    readiness.last = State(())
    exposed.take(registry_of_gateway(rooms, desk, listener, door, hall, limit, readiness))
    exposed.take(registry_of_sweep(Sweep(rooms), Reconciler(rooms.settler)))
    numbers = registry_of_relay(lane, Pulse())
    Tally(numbers).of("acme", "till")
    exposed.take(numbers)
    return exposed


def _happen(rooms: Rooms, door: Door, limit: Limit, tally: Sockets) -> None:
    rooms.durability.servers["a"] = Server(
        version="8.0", replicas=1, in_cluster=False, knows_wait=True, config={}
    )
    for phase in Phase:
        for why in ("", "other", *WHYS):
            rooms.records.moved[phase, why] += 1
    for kind in ("reserve", "checkout", "extend", "release", "ask", "refresh"):
        for code in codes():
            tally.answered(kind, code, 0.01)
    for code in codes():
        door.refused[code] += 1
        limit.refused[code] += 1
    for close in CloseCode:
        tally.closed[close] += 1
    for number in (1000, 1001, 1005, 1006, 4000):
        tally.went(number)
    for ours in (1002, 1007, 1009, 1011):
        tally.went(ours, ours)
    tally.stock_told(1, 1)
    tally.values["dropped"] += 1
    tally.written["reply"] += 1
