"""The crowd's process, seen from the supervisor: what it reports."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import msgspec

from gateway.demo.child import Child
from gateway.demo.counts import Counts
from gateway.demo.refusal import Breakdown

_GATHERED_WITHIN_S = 20.0


@dataclass(slots=True)
class CrowdWatch:
    """Listens to a crowd's reports; ``counts`` is the newest."""

    child: Child
    counts: Counts = field(default_factory=Counts)
    _reported: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: asyncio.Task[None] | None = None

    async def gathers(self) -> None:
        """Begin to listen; return when the first shoppers are on their way.

        Raises:
            Breakdown: nobody comes.
        """
        self._listening = asyncio.create_task(self._listen())
        reported = asyncio.create_task(self._reported.wait())
        await asyncio.wait(
            {self._listening, reported},
            timeout=_GATHERED_WITHIN_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        reported.cancel()
        if not self._reported.is_set():
            raise Breakdown(f"The crowd did not gather.{self.child.last_words()}")

    async def last_report(self) -> None:
        """Take in all reports of a crowd that has ended."""
        if self._listening:
            await self._listening

    async def _listen(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self.child.output
        )
        async for line in reader:
            with contextlib.suppress(msgspec.DecodeError):
                self.counts = msgspec.json.decode(line, type=Counts)
                self._reported.set()
