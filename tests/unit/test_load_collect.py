"""What shoppers report is added up, however many processes there are, and in bounded memory."""

import random

import msgspec
import pytest

from loadtest.drop.collect import LATE_MS, STALL_MS, Recorder, Whole, by_code
from loadtest.drop.histogram import Histogram
from loadtest.drop.measured import Measured


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def recorder() -> tuple[Recorder, Clock]:
    clock = Clock()
    made = Recorder(clock=clock)
    made.begin()
    return made, clock


def over_the_wire(report: object) -> dict[str, object]:
    """As a master reads what a worker sent: tuples become lists."""
    read: dict[str, object] = msgspec.msgpack.decode(msgspec.msgpack.encode(report))
    return read


def measured(whole: Whole) -> Measured:
    return whole.measured("smoke", 1_000.0, 10.0)


def test_a_percentile_is_never_too_low_and_at_most_two_percent_too_high() -> None:
    rng = random.Random(7)
    times = sorted(rng.lognormvariate(3, 2) for _ in range(5_000))
    histogram = Histogram()
    for took_ms in times:
        histogram.add(took_ms)
    for share in (0.5, 0.9, 0.99, 1.0):
        true = times[round(share * len(times)) - 1]
        assert true <= histogram.percentile(share) * 1.000001 <= true * 1.0201 + 0.06
    assert histogram.count == 5_000


def test_a_histogram_stays_small_whatever_comes() -> None:
    histogram = Histogram()
    for power in range(-30, 30):
        for part in range(100):
            histogram.add(2.0**power * (1 + part / 100))
    assert len(histogram.buckets) < 1_300
    assert histogram.max_ms > 2**29


def test_two_processes_add_up_to_what_one_would_have_said() -> None:
    together, one, two = (recorder()[0] for _ in range(3))
    rng = random.Random(3)
    for number in range(400):
        took_ms, code = rng.expovariate(0.01), rng.choice(("ok", "sold_out", "timeout"))
        for to in (together, (one, two)[number % 2]):
            to.answered("reserve", code, took_ms, wrong=code == "timeout")
    apart, whole = Whole(), Whole()
    whole.merge("here", over_the_wire(together.take()))
    for name, each in (("one", one), ("two", two)):
        apart.merge(name, over_the_wire(each.take()))
    assert measured(apart).steps == measured(whole).steps
    assert measured(apart).said == measured(whole).said
    assert apart.errors == by_code(apart.said, "reserve")["timeout"] > 0


def test_what_was_handed_over_is_not_handed_over_again() -> None:
    made, _ = recorder()
    made.answered("ticket", "ok", 3)
    whole = Whole()
    for _ in range(3):
        whole.merge("here", made.take())
    assert measured(whole).steps["ticket"].count == 1


def test_seconds_carry_answers_percentiles_and_how_many_shoppers_there_were() -> None:
    made, clock = recorder()
    whole = Whole()
    for second in range(100):
        clock.now_s = 1_000.0 + second
        made.shoppers = second
        made.answered("reserve", "ok", 10.0 + second)
        whole.merge("here", made.take())
    seconds = measured(whole).seconds
    assert [one.at_s for one in seconds] == list(range(100))
    assert [one.shoppers for one in seconds] == list(range(100))
    assert all(one.answers == {"reserve": 1} for one in seconds)
    assert seconds[50].p99_ms["reserve"] == pytest.approx(60.0, rel=0.02)
    assert measured(whole).shoppers == 99


def test_a_long_run_keeps_no_histogram_of_seconds_long_past() -> None:
    made, clock = recorder()
    whole = Whole()
    for second in range(2_000):
        clock.now_s = 1_000.0 + second
        made.answered("reserve", "ok", 10.0)
        whole.merge("here", made.take())
    assert len(whole._open) <= 31


def test_a_load_host_that_is_late_itself_is_a_problem_and_one_that_is_not_is_told() -> None:
    for late_ms, problems in ((LATE_MS / 10, 0), (LATE_MS * 2, 1)):
        made, _ = recorder()
        for _ in range(100):
            made.was_late(late_ms)
        whole = Whole()
        whole.merge("here", made.take())
        assert len(measured(whole).problems) == problems
        assert "late" in measured(whole).notes[0]


def test_one_long_standstill_is_a_problem_too() -> None:
    made, _ = recorder()
    for late_ms in [1.0] * 1_000 + [STALL_MS * 1.1]:
        made.was_late(late_ms)
    whole = Whole()
    whole.merge("here", made.take())
    assert measured(whole).problems


def test_the_quickest_answer_says_how_far_the_clocks_are_apart() -> None:
    made, _ = recorder()
    made.saw_clock(5_100.0, 1_000.0, 1_200.0)
    assert made.offset_ms == pytest.approx(4_000.0)
    made.saw_clock(5_010.0, 1_000.0, 1_010.0)
    assert made.offset_ms == pytest.approx(4_005.0)
    made.saw_clock(9_999.0, 1_000.0, 1_400.0)
    assert made.offset_ms == pytest.approx(4_005.0)


def test_a_difference_within_the_error_is_none() -> None:
    made, _ = recorder()
    made.saw_clock(1_009.0, 1_000.0, 1_010.0)
    assert made.offset_ms == 0.0


def test_what_was_measured_is_read_back_as_it_was_written() -> None:
    made, _ = recorder()
    made.answered("reserve", "ok", 3)
    made.answered("reserve", "sold_out", 4)
    made.pushed("push stock", 8)
    made.closed(1012)
    whole = Whole()
    whole.figures["memory growth, %"] = 1.5
    whole.merge("here", made.take())
    written = measured(whole)
    assert Measured.from_json(written.to_json()) == written


def test_whoever_listens_hears_every_answer() -> None:
    made, _ = recorder()
    heard: list[tuple[object, ...]] = []
    made.listener = lambda *said: heard.append(said)
    made.answered("reserve", "timeout", 15.0, wrong=True)
    assert heard == [("reserve", "timeout", 15.0, True)]
