"""What uvicorn's WebSocket class waits with, in little memory: each socket has one of both."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent


class Inbox:
    """What ``asyncio.Queue`` is to the base class, in a tenth of its three kilobytes."""

    __slots__ = ("_messages", "_waiter")

    def __init__(self) -> None:
        self._messages: list[ASGIReceiveEvent] = []
        self._waiter: asyncio.Future[None] | None = None

    def put_nowait(self, message: "ASGIReceiveEvent") -> None:
        """Keep a message for whoever receives."""
        self._messages.append(message)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def empty(self) -> bool:
        """Whether no message is kept."""
        return not self._messages

    async def get(self) -> "ASGIReceiveEvent":
        """Wait for a message; for the one task that receives."""
        while not self._messages:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._messages.pop(0)


class Gate:
    """What ``asyncio.Event`` is to the base class, without its queue; it opens at first."""

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self._opened: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._opened is None

    def clear(self) -> None:
        """Close it."""
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()

    def set(self) -> None:
        """Open it."""
        if self._opened:
            self._opened.set_result(None)
            self._opened = None

    async def wait(self) -> None:
        """Wait until it is open."""
        if self._opened:
            await asyncio.shield(self._opened)
