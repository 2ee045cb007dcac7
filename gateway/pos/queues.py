"""Work in many queues at once: one after the other within a queue, never waiting for another."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Work = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class SerialQueues:
    """Queues by name, each with a task while it has work; the tasks belong to a task group.

    Work that raises ends the task group, as any task of it would.
    """

    tasks: asyncio.TaskGroup
    _queues: dict[str, deque[Work]] = field(default_factory=dict)

    def add(self, name: str, work: Work) -> None:
        """Put work at the end of a queue."""
        queue = self._queues.get(name)
        if queue is not None:
            queue.append(work)
            return
        self._queues[name] = deque([work])
        self.tasks.create_task(self._work_off(name))

    def __len__(self) -> int:
        """How many queues have work."""
        return len(self._queues)

    async def _work_off(self, name: str) -> None:
        queue = self._queues[name]
        while queue:
            await queue.popleft()()
        del self._queues[name]
