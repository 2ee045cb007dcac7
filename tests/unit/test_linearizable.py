"""The judge is judged: histories whose verdict is known, and a search without any cleverness.

Times are small numbers: a call from 1 to 4 overlaps one from 3 to 5, and comes before one from 6.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizable import Operation, Recorder, check, windows
from tests.one_sku import (
    Answer,
    Begin,
    Call,
    Commit,
    Extend,
    Find,
    Look,
    OneSku,
    Release,
    Reserve,
    Shelf,
)

Op = Operation[Call, Answer]

RULES = OneSku(limit=3, most_holds=2)
SHELF = Shelf(3)
ANN, BOB = ("ann", "k"), ("bob", "k")


def op(made: int, answered: int | None, call: Call, answer: Answer | None = None) -> Op:
    return Operation("c", call, made, answered, answer)


def again(one: Op) -> Op:
    """The same, sent more than once by the gateway."""
    return replace(one, repeated=True)


def left(units: int) -> Answer:
    return Answer("left", number=units)


def held(units: int, deadline: int = 0) -> Answer:
    return Answer("active", units, deadline=deadline)


def sold_from(first: int) -> Answer:
    return Answer("committed", 1, first)


SOLD, ORDERED = Answer("sold"), Answer("ordered")
BOTH_PAY = [
    *(op(n, n, Reserve(*name, 1), held(1)) for n, name in enumerate((ANN, BOB))),
    *(op(n, n, Begin(*name, 1), ORDERED) for n, name in enumerate((ANN, BOB), 2)),
    *(op(4, 5, Commit(*name), SOLD) for name in (ANN, BOB)),
]

EXPLAINED = {
    "nothing": [],
    "one after the other": [op(1, 2, Reserve(*ANN, 2), held(2)), op(3, 4, Look(), left(1))],
    "a look during a reservation sees the stock before": [
        op(1, 4, Reserve(*ANN, 2), held(2)),
        op(2, 3, Look(), left(3)),
    ],
    "a look during a reservation sees the stock after": [
        op(1, 4, Reserve(*ANN, 2), held(2)),
        op(2, 3, Look(), left(1)),
    ],
    "the later call came first": [
        op(1, 9, Reserve(*ANN, 2), Answer("sold_out", number=0)),
        op(2, 8, Reserve(*BOB, 3), held(3)),
    ],
    "the same key twice is one hold": [
        op(1, 3, Reserve(*ANN, 2), held(2)),
        op(2, 4, Reserve(*ANN, 2), held(2)),
        op(5, 6, Look(), left(1)),
    ],
    "a lost call took effect": [op(1, None, Reserve(*ANN, 2)), op(3, 4, Look(), left(1))],
    "a lost call took no effect": [op(1, None, Reserve(*ANN, 2)), op(3, 4, Look(), left(3))],
    "a lost call took effect much later": [
        op(1, None, Reserve(*ANN, 2)),
        op(3, 4, Look(), left(3)),
        op(5, 6, Look(), left(3)),
        op(7, 8, Look(), left(1)),
    ],
    "a repeated reservation was given back between its two copies": [
        again(op(1, 6, Reserve(*ANN, 2), Answer("released", 2))),
        op(2, 5, Release(*ANN), Answer("released", 2)),
    ],
    "either may be sold first": [
        *BOTH_PAY,
        op(6, 6, Find(*ANN), sold_from(2)),
        op(7, 7, Find(*BOB), sold_from(1)),
    ],
    "a deadline moves on": [
        op(1, 2, Reserve(*ANN, 1), held(1, 100)),
        op(3, 6, Extend(*ANN), held(1, 120)),
        op(4, 5, Reserve(*ANN, 1), held(1, 100)),
        op(7, 8, Reserve(*ANN, 1), held(1, 120)),
    ],
}

UNEXPLAINED = {
    "a stale read": [op(1, 2, Reserve(*ANN, 2), held(2)), op(3, 4, Look(), left(3))],
    "a look that goes back": [
        op(1, 9, Reserve(*ANN, 2), held(2)),
        op(2, 3, Look(), left(1)),
        op(4, 5, Look(), left(3)),
    ],
    "a lost update": [
        op(1, 3, Reserve(*ANN, 1), held(1)),
        op(2, 4, Reserve(*BOB, 1), held(1)),
        op(5, 6, Look(), left(2)),
    ],
    "an oversale": [op(1, 3, Reserve(*ANN, 2), held(2)), op(2, 4, Reserve(*BOB, 2), held(2))],
    "a duplicate effect": [
        op(1, 3, Reserve(*ANN, 1), held(1)),
        op(2, 4, Reserve(*ANN, 1), held(1)),
        op(5, 6, Look(), left(1)),
    ],
    "an effect before its call": [
        op(1, 2, Look(), left(1)),
        op(3, 4, Reserve(*ANN, 2), held(2)),
    ],
    "a lost call that was undone by nobody": [
        op(1, None, Reserve(*ANN, 2)),
        op(3, 4, Look(), left(1)),
        op(5, 6, Look(), left(3)),
    ],
    "a lost call that took effect twice": [
        op(1, None, Reserve(*ANN, 1)),
        op(3, 4, Look(), left(2)),
        op(5, 6, Look(), left(1)),
    ],
    "given back before its only copy": [
        op(1, 6, Reserve(*ANN, 2), Answer("released", 2)),
        op(2, 5, Release(*ANN), Answer("released", 2)),
    ],
    "sold out with the wrong number left": [
        op(1, 2, Reserve(*ANN, 2), held(2)),
        op(3, 4, Reserve(*BOB, 2), Answer("sold_out", number=2)),
    ],
    "a unit number twice": [
        *BOTH_PAY,
        op(6, 6, Find(*ANN), sold_from(1)),
        op(7, 7, Find(*BOB), sold_from(1)),
    ],
    "a unit number that is left out": [*BOTH_PAY, op(6, 6, Find(*ANN), sold_from(3))],
    "a sale that is refused when it comes again": [
        *BOTH_PAY,
        op(6, 7, Commit(*ANN), Answer("refused")),
    ],
    "a deadline that goes back": [
        op(1, 2, Reserve(*ANN, 1), held(1, 100)),
        op(3, 4, Extend(*ANN), held(1, 120)),
        op(5, 6, Reserve(*ANN, 1), held(1, 100)),
    ],
}


@pytest.mark.parametrize("history", EXPLAINED.values(), ids=EXPLAINED.keys())
def test_what_some_order_explains_is_good(history: list[Op]) -> None:
    assert check(RULES, SHELF, history).good


@pytest.mark.parametrize("history", UNEXPLAINED.values(), ids=UNEXPLAINED.keys())
def test_what_no_order_explains_is_wrong(history: list[Op]) -> None:
    verdict = check(RULES, SHELF, history)
    assert verdict.wrong
    assert not verdict.undecided


def test_the_verdict_names_the_window_and_its_calls() -> None:
    verdict = check(RULES, SHELF, UNEXPLAINED["a stale read"])
    assert verdict.windows == 2
    assert verdict.wrong.startswith("window 2 of 1 calls, 0 in order:\n[3..4] c: Look()")


def test_a_history_is_cut_where_no_answer_is_awaited() -> None:
    lost = op(4, None, Release(*ANN))
    history = [op(1, 3, Look()), op(2, 5, Look()), lost, op(6, 7, Look()), op(7, 8, Look())]
    assert [[one.made for one in window] for window in windows(history)] == [[1, 2, 4], [6, 7]]


def test_more_steps_than_allowed_are_no_verdict() -> None:
    crowd = [op(1, 9, Reserve(f"s{n}", "k", 1), held(1)) for n in range(8)]
    verdict = check(RULES, Shelf(8), crowd, most_nodes=100)
    assert verdict.undecided == "window 1 of 8 calls: more than 100 steps"
    assert not verdict.good
    assert not verdict.wrong


def test_more_open_calls_than_allowed_are_no_verdict() -> None:
    lost = [op(1, None, Release(f"s{n}", "k")) for n in range(100)]
    verdict = check(RULES, SHELF, [*lost, op(2, 3, Look(), left(3))])
    assert "calls without an answer" in verdict.undecided


async def test_what_is_raised_instead_of_an_answer_leaves_the_outcome_open() -> None:
    clock = iter(range(9))
    recorder = Recorder[Call, Answer](lambda: next(clock))

    async def answered() -> Answer:
        return left(3)

    async def lost() -> Answer:
        raise TimeoutError

    assert await recorder.record("ann", Look(), answered()) == left(3)
    with pytest.raises(TimeoutError):
        await recorder.record("bob", Look(), lost(), repeated=True)
    assert [str(one) for one in recorder.history] == [
        f"[0..1] ann: Look() -> {left(3)}",
        "[2..] bob: Look() -> unknown",
    ]
    assert [one.repeated for one in recorder.history] == [False, True]


# Against a search that has no memory, no windows and no short cuts.


def explained(state: Shelf, pending: Sequence[Op]) -> bool:
    """Try every order; unanswered calls anywhere or nowhere, repeated ones once more before."""
    if all(one.answered is None for one in pending):
        return True
    first_answer = min(one.answered for one in pending if one.answered is not None)
    for one in pending:
        if one.made > first_answer:
            continue
        rest = [other for other in pending if other is not one]
        after = RULES.step(state, one.call, one.answer)
        if after is not None and explained(after, rest):
            return True
        if one.repeated and one.answered is not None:
            before = RULES.step(state, one.call, None)
            assert before is not None
            if explained(before, [*rest, replace(one, repeated=False)]):
                return True
    return False


CALLS: list[Call] = [
    *(Reserve(*ANN, 1), Reserve(*ANN, 2), Reserve(*BOB, 2), Reserve("ann", "k2", 2)),
    *(Release(*ANN), Release(*BOB), Extend(*ANN), Begin(*ANN, 1), Begin(*BOB, 2)),
    *(Commit(*ANN), Commit(*BOB), Find(*ANN), Find(*BOB), Look(), Look()),
]
ANSWERS = sorted(
    {
        *(left(n) for n in range(4)),
        *(held(n) for n in range(1, 3)),
        *(Answer("released", n) for n in range(1, 3)),
        *(Answer("sold_out", number=n) for n in range(2)),
        *(sold_from(n) for n in range(1, 3)),
        *(SOLD, ORDERED, Answer("refused"), Answer("not_found"), Answer("no_order")),
    }
)


def drawn(rng: random.Random) -> tuple[Shelf, list[Op]]:
    """A shelf, and calls that came to it in some order; then one answer may be another's."""
    start = SHELF
    for call in rng.choices(CALLS, k=rng.randint(0, 6)):
        start, _ = RULES.run(start, call)
    state, history = start, []
    for at in range(0, 10 * rng.randint(1, 6), 10):
        call, lost, repeated = rng.choice(CALLS), rng.random() < 0.25, rng.random() < 0.25
        if repeated:
            state, _ = RULES.run(state, call)
        after, answer = RULES.run(state, call)
        state = after if not lost or rng.random() < 0.5 else state
        one = op(at - rng.randint(0, 25), None if lost else at + rng.randint(0, 25), call)
        history.append(replace(one, answer=None if lost else answer, repeated=repeated))
    answers = [one for one in history if one.answered is not None]
    if answers and rng.random() < 0.6:
        rng.choice(answers).answer = rng.choice(ANSWERS)
    return start, history


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_it_agrees_with_trying_every_order(seed: int) -> None:
    start, history = drawn(random.Random(seed))
    verdict = check(RULES, start, history)
    assert not verdict.undecided
    assert verdict.good == explained(start, history), "\n".join(map(str, history))
