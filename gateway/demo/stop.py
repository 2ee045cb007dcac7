"""How the demo is told to stop: asked once, it ends in order; asked twice, at once."""

import asyncio
import os
import signal


class Stop:
    """Listens for Ctrl-C and SIGTERM while a task runs."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._task: asyncio.Task[object] | None = None
        self.asked = asyncio.Event()
        """Somebody wants it to end; soon."""

    def listen(self) -> None:
        """Begin to listen, for the current task."""
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if not self.asked.is_set():
            self.asked.set()
            return
        # The children first: a thread that waits for one of them would hold us up.
        os.killpg(self._group, signal.SIGKILL)
        if self._task:
            self._task.cancel()
