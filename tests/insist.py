"""Asks as every client does: the same again, until the answer is not *unavailable*."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.errors import Unavailable

DEADLINE_S = 30.0
EVERY_S = 0.02

T = TypeVar("T")


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer; fail when there is none within the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(EVERY_S)
