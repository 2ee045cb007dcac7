"""Somebody at work at a gateway, whom a test moves on a step at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.seams import Effect, Gateway, T

STUCK_S = 20
"""No single step takes so long."""


class Actor:
    """Somebody at work at a gateway, parked before every effect until told to move on."""

    def __init__(self, gateway: Gateway, work: Callable[[], Awaitable[None]]) -> None:
        self.steps: list[str] = []
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._gate: asyncio.Future[None] | None = None
        self._stands = asyncio.Event()
        gateway.starts(self)

    @property
    def done(self) -> bool:
        return self._task is not None and self._task.done()

    async def passes(self, step: str, effect: Effect[T]) -> T:
        assert self._gate is None or self._gate.done(), "two steps at once: this is no sequence"
        self._gate = asyncio.get_running_loop().create_future()
        self.steps.append(step)
        self._stands.set()
        await self._gate
        return await effect()

    async def moves(self) -> None:
        """Do one step, until before the next one; the first time, only come to stand there."""
        self._stands.clear()
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())
            self._task.add_done_callback(lambda _: self._stands.set())
        elif self._gate:
            self._gate.set_result(None)
        async with asyncio.timeout(STUCK_S):
            await self._stands.wait()
        if self._task.done():
            self._task.result()

    async def finishes(self) -> None:
        """Do all that is left."""
        while not self.done:
            await self.moves()
