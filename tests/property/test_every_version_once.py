"""Whatever viewers do, every version of the stock is accounted for, once for each of them."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audience import PATIENCE_S, Crowd, Viewer

STEPS = st.sampled_from(["comes", "welcomes", "goes", "change", "urgent", "slow", "reads", "turn"])


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 1_000)), max_size=60), direct=st.booleans())
def test_each_version_is_delivered_conflated_or_dropped_once_for_each_viewer(
    steps: list[tuple[str, int]], *, direct: bool
) -> None:
    """And whoever stays knows the stock as it is, whatever happened meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.sockets.fanout.SLICE", 2)
        asyncio.run(Play(direct=direct).plays(steps))


class Play:
    """Viewers who come and go, read and do not, while the stock changes."""

    def __init__(self, *, direct: bool) -> None:
        self.it, self.direct = Crowd(), direct
        self.early: list[Viewer] = []
        self.present: list[Viewer] = []
        self.reads: dict[str, asyncio.Event] = {}
        self.writers: list[asyncio.Task[None]] = []

    async def plays(self, steps: list[tuple[str, int]]) -> None:
        for step, number in steps:
            await self.step(step, number)
        for viewer in self.present:
            self.reads_again(viewer)
        await self.it.rests()
        for viewer in self.present:
            async with asyncio.timeout(PATIENCE_S):
                await viewer.seat.outbox.drained()
            assert viewer.items == self.it.shelf.items
            assert viewer.versions == sorted(set(viewer.versions))
            self.it.goes(viewer)
        tally = self.it.tally
        assert sum(tally.values.values()) == self.it.owed
        assert tally.values["delivered"] == tally.written["stock"]
        for writer in self.writers:
            writer.cancel()
        await asyncio.gather(*self.writers, return_exceptions=True)
        await self.it.fanout.aclose()

    async def step(self, step: str, number: int) -> None:
        if step in {"change", "urgent"}:
            self.it.change(f"sku{number % 3}", number, urgent=step == "urgent")
        elif step == "comes":
            self.comes()
        elif step == "turn":
            await asyncio.sleep(0)
        elif step == "welcomes":
            if self.early:
                viewer = self.early.pop(number % len(self.early))
                self.present.append(viewer)
                self.it.welcomes(viewer)
        elif seated := self.present or self.early:
            viewer = seated[number % len(seated)]
            if step == "goes":
                seated.remove(viewer)
                self.it.goes(viewer)
            elif step == "slow":
                viewer.seat.outbox.full()
                self.reads[viewer.name].clear()
            else:
                self.reads_again(viewer)

    def comes(self) -> None:
        viewer = self.it.comes(direct=self.direct)
        reads = self.reads[viewer.name] = asyncio.Event()
        reads.set()

        async def write(text: str) -> None:
            await reads.wait()
            viewer.write(text.encode())

        self.writers.append(asyncio.create_task(viewer.seat.outbox.run(write)))
        self.early.append(viewer)

    def reads_again(self, viewer: Viewer) -> None:
        self.reads[viewer.name].set()
        if self.direct:
            viewer.seat.outbox.free(viewer.write)
