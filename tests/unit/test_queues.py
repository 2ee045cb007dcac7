"""Queues side by side."""

import asyncio
from functools import partial

import pytest

from gateway.pos.queues import SerialQueues


async def test_work_of_one_queue_is_done_in_order_and_one_at_a_time() -> None:
    seen: list[str] = []

    async def work(number: int) -> None:
        seen.append(f"begin {number}")
        await asyncio.sleep(0)
        seen.append(f"end {number}")

    async with asyncio.TaskGroup() as tasks:
        queues = SerialQueues(tasks)
        for number in (1, 2, 3):
            queues.add("a", partial(work, number))
    assert seen == ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]


async def test_a_queue_that_waits_keeps_up_no_other() -> None:
    gate, seen = asyncio.Event(), list[str]()

    async def wait() -> None:
        await gate.wait()
        seen.append("a")

    async def go() -> None:
        seen.append("b")
        gate.set()

    async with asyncio.TaskGroup() as tasks:
        queues = SerialQueues(tasks)
        queues.add("a", wait)
        queues.add("b", go)
    assert seen == ["b", "a"]


async def test_an_empty_queue_is_forgotten_and_can_be_used_again() -> None:
    seen: list[int] = []

    async def work(number: int) -> None:
        seen.append(number)

    async with asyncio.TaskGroup() as tasks:
        queues = SerialQueues(tasks)
        queues.add("a", partial(work, 1))
        assert len(queues) == 1
        while queues:
            await asyncio.sleep(0)
        queues.add("a", partial(work, 2))
    assert seen == [1, 2]


async def test_work_that_raises_ends_the_group() -> None:
    async def fail() -> None:
        raise RuntimeError("a fault")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            SerialQueues(tasks).add("a", fail)
    assert caught.group_contains(RuntimeError, match="a fault")
