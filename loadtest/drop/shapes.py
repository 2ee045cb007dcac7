"""The stages of a scenario, as Locust asks for them: how many users there are to be, each second.

In an open scenario Locust has one user a process, which lets shoppers in by the schedule.
"""

import time
from typing import TYPE_CHECKING

from locust import LoadTestShape
from locust.runners import MasterRunner

if TYPE_CHECKING:
    from loadtest.drop.run import Run

ENOUGH_S = 2.5
"""How long everybody must be gone before it is over: the last reports are in by then."""


class Stages(LoadTestShape):
    """Whatever scenario was chosen; ``run`` is set once that is known."""

    run: "Run"
    _gone_since: float | None = None

    def tick(self) -> tuple[int, float] | None:
        """How many users, and how fast they come; ``None`` ends it."""
        run, now_s = self.run, self.get_run_time()
        scenario = run.options.scenario
        stage = scenario.stage_at(now_s)
        if isinstance(self.runner, MasterRunner):
            run.fewest = min(run.fewest, self.runner.worker_count)
        if stage is None or self._all_gone(now_s):
            run.stopped_early = False
            return None
        if scenario.open:
            return run.processes, run.processes
        return stage.shoppers, stage.per_s

    def _all_gone(self, now_s: float) -> bool:
        """Whether the last have left, and all of it is reported."""
        if now_s < self.run.options.last_s or self.run.whole.shoppers:
            self._gone_since = None
            return False
        self._gone_since = self._gone_since or time.monotonic()
        return time.monotonic() - self._gone_since > ENOUGH_S
