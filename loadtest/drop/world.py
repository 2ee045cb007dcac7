"""What the shoppers of one process share: where the show is, when things happen, who counts."""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtest.drop.collect import Recorder
from loadtest.drop.frames import Reading
from loadtest.drop.live_socket import Start, in_a_thread
from loadtest.drop.shop_api import Api
from loadtest.drop.whims import Manners, Whims


@dataclass(slots=True)
class World:
    """One process' share of the load."""

    apis: tuple[Api, ...]
    """Of the gateways, taken in turn."""
    show: str
    wanted: frozenset[str]
    """The skus the load is about."""
    manners: Manners
    recorder: Recorder
    may_dial: Callable[[str], bool]
    """Whether a socket's address is one this load may go to."""
    socket_url: str | None = None
    """Where sockets are opened; ``None`` is where tickets say."""
    start: Start = in_a_thread
    """Has a socket read."""
    sandbox_url: str | None = None
    """Where the bank can be told yes; only sandboxes have such an address."""
    prefix: str = "load"
    """Begins each shopper's name, and so sets runs and processes apart."""
    seed: int = 1
    began_s: float = field(default_factory=time.monotonic)
    closes_at_s: float = 60.0
    """When shoppers begin nothing new any more, since the run began."""
    storms_at_s: tuple[float, ...] = ()
    """When all lose their sockets at once, and come back."""
    _readings: dict[str, Reading] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def now_s(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.began_s

    @property
    def closing(self) -> bool:
        """Whether it is too late to begin anything."""
        return self.now_s >= self.closes_at_s

    @property
    def storms(self) -> int:
        """How many there have been."""
        return sum(at_s <= self.now_s for at_s in self.storms_at_s)

    def next_moment_s(self) -> float:
        """How long until everybody has to look up: the next storm, or the end."""
        now_s = self.now_s
        moments = (*self.storms_at_s, self.closes_at_s)
        return min((at_s - now_s for at_s in moments if at_s > now_s), default=0.0)

    def reading(self, url: str) -> Reading:
        """What is read of one gateway."""
        return self._readings.setdefault(url, Reading())

    def newcomer(self, name: str | None = None) -> tuple[str, Whims, Api]:
        """Another shopper's name and whims, and the gateway to go to."""
        number = next(self._numbers)
        name = f"{self.prefix}-{name or number}"
        rng = random.Random(f"{self.seed}-{name}")  # noqa: S311  no secret comes of it
        return name, Whims(rng, self.manners), self.apis[number % len(self.apis)]
