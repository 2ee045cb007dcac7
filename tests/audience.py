"""The viewers of one show in memory, who note what a fan-out tells them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

from gateway.sockets.direct import Encoded, encoded
from gateway.sockets.fanout import Fanout
from gateway.sockets.outbox import Outbox
from gateway.sockets.roster import Roster, Seat, SeatHolder
from gateway.sockets.tally import Tally

SHOW = "tonight"
PATIENCE_S = 5


@dataclass
class Shelf:
    """The stock."""

    epoch: int = 1
    version: int = 0
    items: dict[str, int] = field(default_factory=dict)


class Clock:
    """Redis' clock and ours; it stands."""

    def now_ms(self) -> int:
        return 1_000_500

    def monotonic_s(self) -> float:
        raise AssertionError


@dataclass
class Viewer:
    """One seat, whose peer can be slow."""

    seat: Seat
    name: str
    log: list[str]
    heard: list[dict[str, object]] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    items: dict[str, int] = field(default_factory=dict)

    def write(self, frame: bytes) -> None:
        said = json.loads(frame[frame.index(b"{") :])
        self.heard.append(said)
        if said["type"] == "stock":
            self.items |= said["items"]
            self.versions.append(said["version"])
        self.log.append(self.name)


class Crowd:
    """A shop with viewers."""

    def __init__(self, tick_s: float = 0.0) -> None:
        self.shelf, self.roster, self.tally = Shelf(), Roster(), Tally()
        self.fanout = Fanout(self.shelf, self.roster, self.tally, Clock(), tick_s)
        self.log: list[str] = []
        """Who was written to, in order."""
        self.viewers: list[Viewer] = []
        self.owed = 0
        """Versions that the viewers who have left were to be told."""
        self._came: dict[str, int] = {}

    def comes(self, *, direct: bool = True) -> Viewer:
        outbox = Outbox(self.snapshot, 1_000, lambda: None, self.tally)
        name = f"v{len(self.viewers)}"
        viewer = Viewer(Seat(SHOW, name, outbox, cast("SeatHolder", None)), name, self.log)
        if direct:
            outbox.free(viewer.write)
        self.roster.take(viewer.seat)
        self.viewers.append(viewer)
        return viewer

    def welcomes(self, viewer: Viewer) -> None:
        viewer.items = dict(self.shelf.items)
        self._came[viewer.name] = self.shelf.version
        viewer.seat.outbox.welcome(b'{"type":"welcome"}', self.shelf.version)
        self.log.clear()

    def many(self, number: int) -> list[Viewer]:
        viewers = [self.comes() for _ in range(number)]
        for viewer in viewers:
            self.welcomes(viewer)
        return viewers

    def goes(self, viewer: Viewer) -> None:
        self.fanout.leave(viewer.seat)
        self.owed += self.shelf.version - self._came.pop(viewer.name, self.shelf.version)

    def change(self, sku: str, available: int, *, urgent: bool = False, at_ms: int = 0) -> None:
        self.shelf.version += 1
        self.shelf.items[sku] = available
        self.fanout.changed((sku,), at_ms, urgent=urgent)

    def snapshot(self) -> Encoded:
        said = {"type": "stock", "version": self.shelf.version, "items": self.shelf.items}
        return encoded(json.dumps(said).encode(), "stock", self.shelf.version)

    async def rests(self) -> None:
        """Until nothing is to be told any more."""
        async with asyncio.timeout(PATIENCE_S):
            while self.fanout._walks or self.fanout._timer:
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def crowd(viewers: int, tick_s: float = 0.0) -> AsyncIterator[Crowd]:
    crowd = Crowd(tick_s)
    crowd.many(viewers)
    yield crowd
    await crowd.fanout.aclose()
    assert len(asyncio.all_tasks()) == 1


def stocks(viewer: Viewer) -> list[object]:
    return [one["items"] for one in viewer.heard if "items" in one]
