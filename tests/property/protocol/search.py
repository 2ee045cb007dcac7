"""Visits every world that can be reached, breadth first: a counterexample is a shortest one."""

import gc
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeVar

W = TypeVar("W")

MOST_WORLDS = 100_000
"""A scenario that is larger than this is not a small world."""


class By(Enum):
    """Who takes a step."""

    US = "our own processes; as long as they can change anything the world is not at rest"
    WORLD = "time, banks, the network, replication: what can be relied on to happen at last"
    SHOPPER = "what people may do, or not"
    FAULT = "what need not happen"


class Change(NamedTuple, Generic[W]):
    """One step of somebody."""

    by: By
    label: str
    world: W


class Game(Protocol[W]):
    """What is explored. Worlds are values: equal ones have the same future."""

    def begin(self) -> W:
        """The first world."""

    def changes(self, world: W) -> Iterator[Change[W]]:
        """Everything that can happen next and makes a difference."""

    def canonical(self, world: W) -> W:
        """The world that stands for all that are the same but for names."""

    def complaints(self, world: W) -> Iterator[str]:
        """What is wrong, at whatever moment."""

    def at_rest(self, world: W) -> Iterator[str]:
        """What is wrong when nothing is under way."""

    def ends(self, world: W) -> Iterator[str]:
        """What has been reached here, so that a test can demand that it can be."""


@dataclass(slots=True)
class Found:
    """What an exploration found."""

    worlds: int = 0
    steps: int = 0
    resting: int = 0
    ends: set[str] = field(default_factory=set)
    complaint: str = ""
    trace: list[str] = field(default_factory=list)
    """How it comes about, and the world in which it shows."""

    def __str__(self) -> str:
        """A trace to read."""
        lines = [f"  {number:2}. {label}" for number, label in enumerate(self.trace, 1)]
        return "\n".join([self.complaint, *lines])


def explore(game: Game[W]) -> Found:
    """Visit everything; stop at the first world that is wrong."""
    with _no_collector():
        return _Explorer(game).explore()


@contextmanager
def _no_collector() -> Iterator[None]:
    """Worlds have no cycles; looking for some among a hundred thousand takes most of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Explorer(Generic[W]):
    def __init__(self, game: Game[W]) -> None:
        self.game = game
        self.found = Found()
        start = game.canonical(game.begin())
        self.numbers = {start: 0}
        self.came_from = [0]
        self.before: list[list[int]] = [[]]
        self.resting: list[int] = []
        self.frontier = deque([start])

    def explore(self) -> Found:
        while self.frontier and not self.found.complaint:
            if len(self.numbers) > MOST_WORLDS:
                raise AssertionError(f"more than {MOST_WORLDS} worlds")
            self.visit(self.frontier.popleft())
        self.found.worlds, self.found.resting = len(self.numbers), len(self.resting)
        if not self.found.complaint:
            self.check_that_all_come_to_rest()
        return self.found

    def visit(self, world: W) -> None:
        number, under_way = self.numbers[world], False
        self.found.ends.update(self.game.ends(world))
        if wrong := next(self.game.complaints(world), None):
            self.complain(wrong, number)
            return
        for change in self.game.changes(world):
            self.found.steps += 1
            under_way = under_way or change.by is By.US
            self.reach(number, change)
        if under_way:
            return
        self.resting.append(number)
        if wrong := next(self.game.at_rest(world), None):
            self.complain(f"at rest: {wrong}", number)

    def reach(self, number: int, change: Change[W]) -> None:
        after = self.game.canonical(change.world)
        known = self.numbers.setdefault(after, len(self.numbers))
        if known == len(self.came_from):
            self.came_from.append(number)
            self.before.append([])
            self.frontier.append(after)
        if change.by in (By.US, By.WORLD):
            self.before[known].append(number)

    def check_that_all_come_to_rest(self) -> None:
        """From everywhere, rest is reached by our own steps and what can be relied on."""
        reaches = bytearray(len(self.came_from))
        todo = list(self.resting)
        for number in todo:
            reaches[number] = 1
        while todo:
            for before in self.before[todo.pop()]:
                if not reaches[before]:
                    reaches[before] = 1
                    todo.append(before)
        stuck = reaches.find(0)
        if stuck >= 0:
            self.complain("this can never come to rest", stuck)

    def complain(self, wrong: str, number: int) -> None:
        """Keep the way to a world, replayed without renaming, so that a stays a."""
        self.found.complaint = wrong
        path = [number]
        while path[-1]:
            path.append(self.came_from[path[-1]])
        worlds, world = list(self.numbers), self.game.begin()
        for step in reversed(path[:-1]):
            change = next(
                one
                for one in self.game.changes(world)
                if self.game.canonical(one.world) == worlds[step]
            )
            self.found.trace.append(change.label)
            world = change.world
        self.found.trace.append(f"and now: {world}")
