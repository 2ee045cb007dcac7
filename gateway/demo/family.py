"""Valkey and the parts: started together, watched, and stopped in their order."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from gateway.demo.child import Child
from gateway.demo.parts import Part
from gateway.demo.refusal import Breakdown
from gateway.sandbox.valkey import EmbeddedValkey, ValkeyStartError

READY_WITHIN_S = 30.0
"""How long the parts may take to start; on two idle cores it takes them two seconds."""

_PROBE_EVERY_S = 0.03
_LOOK_EVERY_S = 0.1
_WRITERS = frozenset({"gateway", "relay", "sweep"})
"""They end first: what they still have to write, they can."""
_FOR_WRITERS = 0.65
"""The share of the time for stopping that they get."""


@dataclass(slots=True)
class Family:
    """All processes of a run, in the warden's group."""

    group: int
    logs: Path
    valkey: EmbeddedValkey
    children: list[Child] = field(default_factory=list)

    async def start_valkey(self) -> str:
        """Start Valkey; return its address.

        Raises:
            Breakdown: it does not start.
            ValkeyMissingError: there is none.
        """
        try:
            await asyncio.to_thread(self.valkey.start)
        except ValkeyStartError as error:
            raise Breakdown(str(error)) from None
        return self.valkey.url

    async def start(self, parts: Sequence[Part], client: httpx.AsyncClient) -> None:
        """Start parts side by side; return when those that say so are ready.

        The others come after them, for starting costs a core most of a second.

        Raises:
            Breakdown: one of them ended, or was not ready in time.
        """
        awaited = [part for part in parts if part.ready]
        started = [self.add(part) for part in awaited]
        await asyncio.gather(*(_ready(child, client) for child in started))
        for part in parts:
            if part not in awaited:
                self.add(part)

    def add(self, part: Part, *, piped: bool = False) -> Child:
        """Start one part more."""
        child = Child(part, self.group, self.logs, piped)
        child.start()
        self.children.append(child)
        return child

    async def first_to_fail(self) -> str:
        """Wait until a process ends by itself; say which, and its last words.

        One that ends with exit code 0 has done its work (the crowd goes when all is sold).
        """
        while True:
            for child in self.children:
                if child.code:
                    return child.how_it_ended()
            if not self.valkey.is_running:
                return "Valkey ended unexpectedly."
            await asyncio.sleep(_LOOK_EVERY_S)

    async def stop(self, within_s: float) -> None:
        """End all processes: asked first, killed when they take longer than ``within_s``."""
        ends_s = time.monotonic() + within_s
        writers = [child for child in self.children if child.part.name in _WRITERS]
        others = [child for child in self.children if child not in writers]
        await _stop(writers, within_s * _FOR_WRITERS)
        await _stop(others, ends_s - time.monotonic())
        await asyncio.to_thread(self.valkey.close)


async def _ready(child: Child, client: httpx.AsyncClient) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while not await _answers(child, client):
        if child.code is not None:
            raise Breakdown(child.how_it_ended())
        if time.monotonic() > deadline_s:
            raise Breakdown(
                f"The {child.part.name} was not ready within {READY_WITHIN_S:g} s."
                f"{child.last_words()}"
            )
        await asyncio.sleep(_PROBE_EVERY_S)


async def _answers(child: Child, client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await client.get(child.part.ready or "")).status_code < 500
    return False


async def _stop(children: list[Child], within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    for child in children:
        child.terminate()
    while any(child.is_running for child in children):
        if time.monotonic() > deadline_s:
            break
        await asyncio.sleep(_PROBE_EVERY_S)
    for child in children:
        child.kill()
