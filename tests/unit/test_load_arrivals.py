"""Arrivals follow a rate or a recorded show, and are shared out so that each is played once."""

import itertools
import json

import pytest

from loadtest.drop.arrivals import Arrival, BadArrivals, asked_for, from_rates, recorded, share


def line(at_ms: int, sku: str = "tee", quantity: int = 1, shopper: str = "") -> str:
    said: dict[str, object] = {"at_ms": at_ms, "lines": [{"sku": sku, "quantity": quantity}]}
    return json.dumps(said | ({"shopper": shopper} if shopper else {}))


def test_a_steady_rate_is_steady() -> None:
    times = [one.at_s for one in from_rates(((0, 10), (5, 10)))]
    assert len(times) == pytest.approx(50, abs=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap == pytest.approx(0.1, abs=0.002) for gap in gaps)


def test_a_rising_rate_brings_its_area() -> None:
    assert len(from_rates(((0, 0), (4, 100)))) == pytest.approx(200, abs=1)
    assert from_rates(((0, 0),)) == []


def test_a_recorded_show_comes_as_it_came() -> None:
    arrivals = recorded([line(0), "", line(1_500, "cap", 2, "s1")], after_s=5)
    assert arrivals == [Arrival(5.0, (("tee", 1),)), Arrival(6.5, (("cap", 2),), "s1")]
    assert asked_for(arrivals) == {"tee": 1, "cap": 2}


def test_it_comes_several_times_over_and_faster() -> None:
    text = [line(number * 1_000, shopper=f"s{number}") for number in range(10)]
    arrivals = recorded(text, times=3, speed=2)
    assert len(arrivals) == 30
    assert arrivals == sorted(arrivals, key=lambda one: one.at_s)
    assert arrivals[-1].at_s <= 4.5 + 0.25
    assert len({one.shopper for one in arrivals}) == 30
    assert arrivals == recorded(text, times=3, speed=2)


@pytest.mark.parametrize(
    "bad",
    ["{", "[]", '{"at_ms": 1}', '{"at_ms": 1, "lines": []}', line(-1), line(1, quantity=0),
     '{"at_ms": "x", "lines": [{"sku": "a", "quantity": 1}]}'],
)  # fmt: skip
def test_a_line_that_is_no_arrival_is_named(bad: str) -> None:
    with pytest.raises(BadArrivals, match="Line 2"):
        recorded([line(0), bad])


def test_nothing_to_replay_is_said() -> None:
    with pytest.raises(BadArrivals):
        recorded(["", "\n"])


def test_processes_share_the_arrivals_and_none_is_played_twice() -> None:
    arrivals = from_rates(((0, 7), (3, 7)))
    shares = [share(arrivals, index, 3) for index in range(3)]
    together = sorted((one for each in shares for one in each), key=lambda one: one.at_s)
    assert together == arrivals
