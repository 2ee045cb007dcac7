"""What a gateway tells: its sockets, the commands on them, and how fresh the stock it told was."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.admission import SAID, Admission
from gateway.api.addresses import Limit
from gateway.api.hall import Hall
from gateway.checkout.desk import Desk
from gateway.metrics.families import counter, counters, gauge, gauges, histogram
from gateway.metrics.process import registry_of_process
from gateway.metrics.rooms import of_rooms
from gateway.readiness import FAILINGS, Readiness
from gateway.rooms import Rooms
from gateway.sockets.door import Door
from gateway.sockets.listener import NewsListener
from gateway.sockets.tally import Tally

_NOBODY: dict[str, int] = {"full": 0, "draining": 0}
_NO_TICKETS: dict[str, int] = {"rate_limited": 0}
"""What is counted from the beginning: a count that appears with 1 was never seen to grow."""


def registry(
    rooms: Rooms,
    desk: Desk,
    listener: NewsListener,
    door: Door,
    hall: Hall,
    limit: Limit,
    readiness: Readiness,
) -> CollectorRegistry:
    """A registry of this process' own numbers and the interpreter's."""
    return registry_of_process(_Gateway(rooms, desk, listener, door, hall, limit, readiness))


@dataclass(eq=False, frozen=True, slots=True)
class _Gateway(Collector):
    rooms: Rooms
    desk: Desk
    listener: NewsListener
    door: Door
    hall: Hall
    limit: Limit
    readiness: Readiness

    def collect(self) -> Iterable[Metric]:
        """Read everything once."""
        yield gauge("holdfast_viewers", "Viewers connected here.", self.listener.viewers)
        yield gauge(
            "holdfast_payments_running", "Payments under way in this process.", self.desk.running
        )
        yield from _of_readiness(self.readiness)
        yield from _of_door(self.door)
        yield from _of_hall(self.hall)
        yield from _of_commands(self.listener.tally)
        yield from _of_sockets(self.listener.tally)
        yield from of_rooms(self.rooms)
        yield from _of_tickets(self.limit, self.rooms.admission)


def _of_readiness(readiness: Readiness) -> Iterable[Metric]:
    """What was answered at ``/readyz``; nothing before anybody has asked, for it is not known."""
    if readiness.last:
        yield gauges(
            "holdfast_not_ready",
            "1 for each reason why this process was not ready when it was asked last.",
            "reason",
            {word: float(word in readiness.last.failing) for word in FAILINGS},
        )


def _of_door(door: Door) -> Iterable[Metric]:
    """Who came in, and who did not."""
    yield gauge("holdfast_sockets", "Sockets open here.", door.open)
    yield gauge("holdfast_sockets_limit", "Sockets that may be open here.", door.most)
    yield gauge("holdfast_draining", "1 while this process sends its viewers away.", door.draining)
    yield counter("holdfast_accepted", "Upgrades made.", door.accepted)
    yield counters(
        "holdfast_refused",
        "Upgrades refused.",
        ("reason",),
        (((reason,), count) for reason, count in {**_NOBODY, **door.refused}.items()),
    )


def _of_hall(hall: Hall) -> Iterable[Metric]:
    """Who is connected without being a socket, and who had to go."""
    yield gauge("holdfast_connections", "Connections open here that are no sockets.", len(hall))
    yield counter("holdfast_connections_refused", "Connections that found no room.", hall.refused)
    yield counter(
        "holdfast_connections_cut",
        "Connections ended for what they did or did not do, or for a newcomer.",
        hall.cut,
    )


def _of_commands(tally: Tally) -> Iterable[Metric]:
    """What shoppers asked for, what they were told, and how soon."""
    yield counters(
        "holdfast_commands", "Commands answered.", ("type", "outcome"), tally.commands.items()
    )
    yield histogram(
        "holdfast_command_seconds",
        "From a command's frame until its answer is handed to the socket.",
        "type",
        tally.took,
    )


def _of_sockets(tally: Tally) -> Iterable[Metric]:
    """What was written, how late, and how sockets ended."""
    ours = ((("gateway", str(code)), count) for code, count in tally.closed.items())
    theirs = ((("peer", code), count) for code, count in tally.gone.items())
    yield counters(
        "holdfast_closes",
        "Sockets closed, by whom and with which code.",
        ("by", "code"),
        (*ours, *theirs),
    )
    yield counters(
        "holdfast_frames_written",
        "Frames written.",
        ("kind",),
        (((kind,), count) for kind, count in tally.written.items()),
    )
    yield counters(
        "holdfast_stock_values",
        "Versions of the stock for each viewer, by what became of them.",
        ("outcome",),
        (((outcome,), count) for outcome, count in tally.values.items()),
    )
    yield histogram(
        "holdfast_stock_staleness_seconds",
        "From when Redis decided until it was written; sold_out includes back in stock.",
        "kind",
        {"sold_out": tally.stale_urgent, "other": tally.stale_other},
    )
    yield histogram(
        "holdfast_event_loop_lag_seconds", "How late the event loop is.", "", {"": tally.loop_lag}
    )


def _of_tickets(limit: Limit, admission: Admission) -> Iterable[Metric]:
    """What became of those who asked for a ticket, and of those before a show with a limit."""
    yield counters(
        "holdfast_tickets_refused",
        "Requests for a ticket that were refused, by the code of the error.",
        ("reason",),
        (((code,), count) for code, count in {**_NO_TICKETS, **limit.refused}.items()),
    )
    yield counters(
        "holdfast_admission",
        "Answers to shoppers before a full show.",
        ("said",),
        (((word,), admission.said[word]) for word in SAID),
    )
