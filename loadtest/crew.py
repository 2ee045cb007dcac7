"""Several workers at once: started together, measured together, and their sums.

Also the CPU of the servers behind them, from the first worker's start to the last one's end.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from loadtest.child import Child
from loadtest.crowd import Tally
from loadtest.servers import cpu_s
from loadtest.worker import Task


class Run(Struct):
    """One run of all workers."""

    decided: int
    held: int
    given_up: int
    wall_s: float
    cpu_s: float
    """Of all workers together."""
    server_cpu_s: float | None
    latencies_ms: list[float] = []

    @property
    def per_s(self) -> float:
        """Decided a second."""
        return self.decided / self.wall_s

    @property
    def cpu_us(self) -> float:
        """CPU of the gateway processes for one reservation, µs."""
        return self.cpu_s / max(1, self.decided) * 1e6

    @property
    def server_us(self) -> float | None:
        """CPU of the servers for one reservation, µs."""
        if self.server_cpu_s is None:
            return None
        return self.server_cpu_s / max(1, self.decided) * 1e6


def run(group: int, task: Task, processes: int, server_pids: list[int]) -> Run:
    """Have so many processes do a task at the same time.

    Raises:
        ChildFailed: one of them broke.
    """
    crew = [Child.start(group, ["-m", "loadtest.worker"]) for _ in range(processes)]
    try:
        for number, worker in enumerate(crew):
            worker.tell(msgspec.json.encode(_share(task, number)).decode())
        return _measure(crew, task, server_pids)
    finally:
        for worker in crew:
            worker.end()


def _share(task: Task, number: int) -> Task:
    return msgspec.structs.replace(task, crowd=number)


def _measure(crew: Sequence[Child], task: Task, server_pids: list[int]) -> Run:
    for worker in crew:
        worker.hear()
    for worker in crew:
        worker.tell("go")
    phases = task.do != "race"
    before = [worker.hear() for worker in crew] if phases else None
    servers_before = cpu_s(server_pids)
    after = [worker.hear() for worker in crew] if before else None
    servers_after = cpu_s(server_pids) if after else None
    tallies = [msgspec.json.decode(worker.hear(), type=Tally) for worker in crew]
    if servers_after is None:
        servers_after = cpu_s(server_pids)
    spent = None
    if servers_before is not None and servers_after is not None:
        spent = servers_after - servers_before
    return Run(
        decided=sum(tally.decided for tally in tallies),
        held=sum(tally.held for tally in tallies),
        given_up=sum(tally.given_up for tally in tallies),
        wall_s=max(tally.wall_s for tally in tallies),
        cpu_s=sum(tally.cpu_s for tally in tallies),
        server_cpu_s=spent,
        latencies_ms=sorted(one for tally in tallies for one in tally.latencies_ms),
    )
