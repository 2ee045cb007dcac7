"""One run: what each process of it does, and what the master does besides.

A worker plays its share of the shoppers and reports what is new every second. The master, or the
only process, sets up the shop, releases the drops, shows progress, and at the end has the verdict.
Written for threads; under Locust they are greenlets.
"""

import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from loadtest.drop.arrivals import Arrival, share
from loadtest.drop.collect import Recorder, Whole
from loadtest.drop.guard import check, check_hosts, check_mode, may_go_to
from loadtest.drop.hosting import Host, memory_mib, split
from loadtest.drop.live_socket import Start, in_a_thread
from loadtest.drop.measured import Measured
from loadtest.drop.options import Options
from loadtest.drop.progress import EVERY_S, Progress, Say, to_terminal
from loadtest.drop.scenarios import MEMORY_GROWTH
from loadtest.drop.shop_api import Api, NoAnswer, Refused
from loadtest.drop.shopper import Shopper
from loadtest.drop.target import Target
from loadtest.drop.vitals import Vitals, look
from loadtest.drop.world import World

REPORT_EVERY_S = 1.0
_BEAT_S = 0.1
_MEMORY_EVERY_S = 5.0
_SETTLED_S = 10.0
"""After the first stage, before memory counts: caches are warm by then."""


@dataclass(slots=True)
class Run:
    """One process' part, and the whole where it is put together."""

    options: Options
    leads: bool
    """The master, or the only process."""
    plays: bool
    """A worker, or the only process."""
    start: Start = in_a_thread
    """Has a socket read."""
    recorder: Recorder = field(default_factory=Recorder)
    whole: Whole = field(default_factory=Whole)
    processes: int = 1
    """How many play."""
    index: int = 0
    """Which of them this one is."""
    say: Say = to_terminal
    name: str = field(default_factory=lambda: f"l{uuid.uuid4().hex[:10]}")
    """Sets this run's shoppers and movements apart from those of others."""
    world: World | None = None
    host: Host | None = None
    began_at: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    stopped_early: bool = True
    fewest: int = sys.maxsize
    """The fewest processes that played at any time."""
    vitals_before: Vitals | None = None
    """What the gateways said of themselves before it began."""
    _sandbox_url: str | None = None
    _memory: list[dict[str, float]] = field(default_factory=list)

    def prepares(self) -> None:
        """Check what must be so, and have the shop ready.

        Raises:
            NotAllowed: it must not be tested.
            NoAnswer, Refused: the shop cannot be set up.
        """
        options = self.options
        check_hosts(options.metrics_urls, options.allowed, "--metrics-url")
        config = check(options.urls, options.allowed)
        self._sandbox_url = self._sandbox(config)
        if self.leads:
            for url in options.urls:
                check_mode(url, options.admin_key)
            url = options.urls[0]
            admin, pos = Api(url, options.admin_key), Api(url, options.pos_key)
            self.host = Host(admin, pos, options.show, self.name)
            self.host.sets_up(options.skus)
            self.vitals_before = look(options.metrics_urls)
            if options.scenario.arithmetic:
                self.say(f"{options.scenario.name}: {options.scenario.arithmetic}\n")

    def _sandbox(self, config: dict[str, Any]) -> str | None:
        """Where the bank is answered, if that is reached from here; browsers may go another way."""
        url = config.get("sandbox_url")
        if not url or not may_go_to(url, self.options.allowed):
            return None
        try:
            Api(url).call("GET", "/")
        except NoAnswer:
            return None
        return str(url)

    def joins(self, name: str, processes: int, index: int, urls: Collection[str]) -> None:
        """A master begins: play a share of it, if ``urls``, which it has checked, are ours too."""
        self.name, self.processes, self.index = name, processes, index
        self.plays = tuple(urls) == self.options.urls
        self.begins()
        if not self.plays:
            self.recorder.problem(
                "A worker was told other hosts than the master, and so played nothing."
            )

    def begins(self) -> None:
        """The load begins now."""
        self.began_at = time.time()
        self.recorder.begin()
        self.over.clear()
        if self.plays:
            self.world = self._world()
            _start(self._beats)
        if self.leads:
            for work in (self._releases, self._shows_progress, self._watches_memory):
                _start(work)

    def _world(self) -> World:
        options, scenario = self.options, self.options.scenario
        return World(
            apis=tuple(Api(url, options.pos_key) for url in options.urls),
            show=options.show,
            wanted=frozenset(options.skus),
            manners=scenario.manners,
            recorder=self.recorder,
            start=self.start,
            may_dial=lambda url: may_go_to(url, options.allowed),
            socket_url=options.socket_url,
            sandbox_url=self._sandbox_url,
            prefix=f"{self.name}-{self.index}",
            seed=options.seed,
            closes_at_s=scenario.closes_at_s,
            storms_at_s=scenario.storms_at_s,
        )

    def lives(self) -> None:
        """One shopper who stays until the show closes."""
        if self.world:
            Shopper(self.world, *self.world.newcomer()).lingers()

    def lets_in(self) -> None:
        """Let this process' share of the shoppers in by the schedule, whatever becomes of them."""
        if not self.world:
            return
        for arrival in share(self.options.arrivals, self.index, self.processes):
            wait_s = arrival.at_s - self.world.now_s
            if wait_s > 0:
                time.sleep(wait_s)
            self.recorder.was_late((self.world.now_s - arrival.at_s) * 1000)
            _start(self._drops_in, arrival)

    def _drops_in(self, arrival: Arrival) -> None:
        if self.world:
            shopper = Shopper(self.world, *self.world.newcomer(arrival.shopper))
            shopper.drops_in(arrival.lines)

    def reports(self) -> None:
        """Put what this process has into the whole; for the only process."""
        self.whole.merge("here", self.recorder.take())

    def ends(self) -> tuple[Measured, Target]:
        """It is over: what was measured, and of what."""
        self.over.set()
        if self.plays:
            self.reports()
        if self.stopped_early:
            self.whole.problems.append("The run was stopped before its end.")
        if self.fewest < self.processes:
            lost = self.processes - self.fewest
            self.whole.problems.append(f"{lost} of {self.processes} load processes were lost.")
        if self.whole.shoppers:
            self.whole.problems.append(
                f"{self.whole.shoppers} shoppers had not finished when it was over."
            )
        self._judges_memory()
        self._warns()
        took_s = time.time() - self.began_at
        measured = self.whole.measured(self.options.scenario.name, self.began_at, took_s)
        options = self.options
        started = dict(self.host.started) if self.host else {}
        target = Target(
            url=options.urls[0],
            admin_key=options.admin_key,
            pos_key=options.pos_key,
            till_url=options.till_url,
            started_stock=started,
        )
        return measured, target

    def _warns(self) -> None:
        if not self.options.till_url:
            self.whole.notes.append(
                "No point of sale was looked at: whether it has every order is not in the verdict; "
                "see --till-url."
            )
        if "push stock" not in self.whole.steps and self.options.scenario.drops:
            self.whole.notes.append("No push said when it was decided: staleness is not known.")
        if self.vitals_before and not self.vitals_before.buckets:
            self.whole.notes.append(
                "No gateway told its metrics: what it knows of itself is not in the verdict; "
                "see --metrics-url."
            )

    def _beats(self) -> None:
        """Note how late this process is with what is due: it measures itself as well."""
        while not self.over.is_set():
            due = time.monotonic() + _BEAT_S
            time.sleep(_BEAT_S)
            self.recorder.was_late((time.monotonic() - due) * 1000)

    def _releases(self) -> None:
        """Release each drop when it is due."""
        scenario, host, options = self.options.scenario, self.host, self.options
        for drop in scenario.drops:
            if self.over.wait(max(0.0, drop.at_s - self._now_s)) or host is None:
                return
            try:
                host.drops(options.units or split(drop.units, options.skus))
            except (NoAnswer, Refused) as error:
                self.whole.problems.append(f"A drop could not be released: {error}.")

    def _shows_progress(self) -> None:
        progress = Progress()
        while not self.over.wait(EVERY_S):
            stage = self.options.scenario.stage_at(self._now_s)
            self.say(progress.line(self._now_s, stage, self.whole))

    def _watches_memory(self) -> None:
        scenario = self.options.scenario
        while scenario.watches_memory and not self.over.wait(_MEMORY_EVERY_S):
            if scenario.stages[0].until_s + _SETTLED_S < self._now_s < scenario.closes_at_s:
                seen = {url: memory_mib(url) for url in self.options.metrics_urls}
                self._memory.append({url: mib for url, mib in seen.items() if mib})

    def _judges_memory(self) -> None:
        if not self.options.scenario.watches_memory:
            return
        grown = [growth(self._memory, url) for url in self.options.metrics_urls]
        if not self._memory or None in grown:
            self.whole.problems.append(
                "A gateway did not say at /metrics how much memory it has; see --metrics-url."
            )
            return
        self.whole.figures[MEMORY_GROWTH] = round(max(one for one in grown if one is not None), 1)

    @property
    def _now_s(self) -> float:
        return time.time() - self.began_at


def growth(seen: list[dict[str, float]], url: str) -> float | None:
    """By how much a gateway grew, %: the median of the last quarter against that of the first."""
    values = [one[url] for one in seen if url in one]
    if len(values) < 4:
        return None
    quarter = len(values) // 4
    first, last = sorted(values[:quarter]), sorted(values[-quarter:])
    return 100 * (last[quarter // 2] / first[quarter // 2] - 1)


def _start(work: Callable[..., None], *words: object) -> None:
    threading.Thread(target=work, args=words, daemon=True).start()
