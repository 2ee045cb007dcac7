"""What a shopper does, apart from any gateway: when they wait, try again, come back and go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from loadtest.drop.collect import Recorder
from loadtest.drop.frames import Message, Shelf
from loadtest.drop.live_socket import Away
from loadtest.drop.shop_api import Api
from loadtest.drop.shopper import MOST_TRIES, GivesUp, Shopper
from loadtest.drop.whims import Manners
from loadtest.drop.world import World

LINES = (("tee", 1),)
HOLD = {"id": "h1", "state": "active", "total": {"amount": 1, "currency": "EUR"}}
AWAY = Away("disconnected")


@dataclass
class Stocked:
    """Time does not pass here."""

    waits: int = 0

    def wait(self, _: float) -> None:
        self.waits += 1


@dataclass
class Live:
    """A socket that answers what it is told to."""

    answers: list[Message | Away]
    asked: list[Message]
    open: bool = True
    shelf: Shelf = field(default_factory=lambda: Shelf(1, 1, {"tee": 0}))
    stocked: Stocked = field(default_factory=Stocked)
    checkouts: dict[str, Message] = field(default_factory=dict)
    learned: list[tuple[str, int]] = field(default_factory=list)

    def ask(self, command: Message) -> Message:
        self.asked.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, Away):
            self.open = False
            raise answer
        return answer

    def hear_checkout(self, _: str, __: float) -> Message:
        return cast("Message", self.answers.pop(0))

    def learns(self, sku: str, left: int) -> None:
        self.learned.append((sku, left))

    def close(self) -> None:
        self.open = False


@dataclass
class Door:
    """Lets a shopper in, again and again."""

    answers: list[Message | Away]
    asked: list[Message] = field(default_factory=list)
    entered: list[Shelf | None] = field(default_factory=list)

    def enter(self, known: Shelf | None = None) -> Live:
        self.entered.append(known)
        return Live(self.answers, self.asked)


Made = Callable[..., tuple[Shopper, Door]]


@pytest.fixture
def shopper(monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr("loadtest.drop.shopper.time.sleep", lambda _: None)

    def made(*answers: Message | Away, storms_at_s: tuple[float, ...] = ()) -> tuple[Shopper, Door]:
        recorder = Recorder()
        recorder.begin()
        world = World(
            apis=(Api("http://127.0.0.1:1"),),
            show="tonight",
            wanted=frozenset({"tee"}),
            manners=Manners(second_device=0),
            recorder=recorder,
            may_dial=lambda _: True,
            storms_at_s=storms_at_s,
        )
        one, door = Shopper(world, *world.newcomer()), Door(list(answers))
        one.entrance = cast("Any", door)
        return one, door

    return made


def said(one: Shopper) -> dict[tuple[str, str], int]:
    return {(step, code): count for step, code, count in one.world.recorder.take()["said"]}


def test_a_lost_answer_is_asked_for_again_under_the_same_key(shopper: Made) -> None:
    one, door = shopper(AWAY, {"type": "hold", "hold": HOLD})
    assert one._reserve(LINES) == HOLD
    first, second = door.asked
    assert first == second
    assert len(door.entered) == 2
    assert door.entered[1] is not None
    assert said(one) == {("reserve", "disconnected"): 1, ("reserve", "ok"): 1}


def test_every_wish_has_a_key_of_its_own(shopper: Made) -> None:
    hold = {"type": "hold", "hold": HOLD}
    one, door = shopper(hold, hold)
    one._reserve(LINES)
    one._reserve(LINES)
    assert len({command["key"] for command in door.asked}) == 2


def test_not_now_is_asked_again_and_never_is_not(shopper: Made) -> None:
    busy = {"type": "error", "code": "overloaded", "retry_after_ms": 1}
    one, door = shopper(*[busy] * MOST_TRIES)
    with pytest.raises(GivesUp):
        one._reserve(LINES)
    assert len(door.asked) == MOST_TRIES
    other, door = shopper({"type": "error", "code": "invalid"})
    with pytest.raises(GivesUp):
        other._reserve(LINES)
    assert len(door.asked) == 1
    assert said(other) == {("reserve", "invalid"): 1}


def test_sold_out_is_an_answer_and_is_believed(shopper: Made) -> None:
    answer = {"type": "error", "code": "sold_out", "sku": "tee", "available": 0}
    one, _ = shopper(answer)
    assert one._reserve(LINES) is None
    assert cast("Live", one._live).learned == [("tee", 0)]
    assert [wrong for _, wrong in one.world.recorder.take()["steps"].values()] == [0]


def test_a_payment_is_measured_once_when_its_end_is_known(shopper: Made) -> None:
    states = [{"type": "checkout", "state": state} for state in ("queued", "processing")]
    one, door = shopper(*states, {"type": "checkout", "state": "confirmed"})
    one._pay(HOLD, "pm_card_visa")
    assert len(door.asked) == 1
    assert said(one) == {("checkout", "confirmed"): 1}


def test_a_declined_card_is_followed_by_another_and_then_by_giving_back(shopper: Made) -> None:
    declined = {"type": "checkout", "state": "declined"}
    one, door = shopper(declined, declined, {"type": "hold", "hold": HOLD})
    one._pay(HOLD, "pm_bad", "pm_worse")
    assert [command["type"] for command in door.asked] == ["checkout", "checkout", "release"]
    assert said(one) == {("checkout", "declined"): 2, ("release", "ok"): 1}


def test_a_storm_that_came_while_nobody_looked_is_not_missed(shopper: Made) -> None:
    one, door = shopper(storms_at_s=(5.0, 10.0))
    one._shops()
    for storms, now_s in ((1, 5.1), (2, 11.0)):
        one.world.began_s -= now_s - one.world.now_s
        left = cast("Live", one._live)
        waits = left.stocked.waits
        one._shops()
        assert left.stocked.waits == waits
        one._shops()
        assert len(door.entered) == 1 + storms
