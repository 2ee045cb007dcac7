"""The token bucket."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.limits import Bucket


def test_a_full_bucket_pays_for_a_burst() -> None:
    bucket = Bucket.full(10, 3, now_s=0)
    assert [bucket.take(1, 0) for _ in range(4)] == [0, 0, 0, 100]


def test_a_refusal_costs_nothing_and_says_how_long_to_wait() -> None:
    bucket = Bucket.full(10, 1, now_s=0)
    bucket.take(1, 0)
    assert bucket.take(1, 0.05) == 50
    assert bucket.take(1, 0.05) == 50
    assert bucket.take(1, 0.1) == 0


def test_it_never_holds_more_than_the_burst() -> None:
    bucket = Bucket.full(10, 2, now_s=0)
    assert [bucket.take(1, 1_000) for _ in range(3)] == [0, 0, 100]


def test_what_costs_more_than_it_holds_takes_all_of_it() -> None:
    bucket = Bucket.full(10, 2, now_s=0)
    assert bucket.take(500, 0) == 0
    assert bucket.take(500, 0) == 200
    assert bucket.take(500, 0.2) == 0


def test_the_wait_is_at_least_a_millisecond() -> None:
    bucket = Bucket.full(100_000, 1, now_s=0)
    bucket.take(1, 0)
    assert bucket.take(1, 0) == 1


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 2)), max_size=60))
def test_over_any_time_it_gives_at_most_the_burst_and_the_rate(
    asked: list[tuple[float, float]],
) -> None:
    bucket, now_s, given_out = Bucket.full(5, 10, now_s=0), 0.0, 0.0
    for cost, pause_s in asked:
        now_s += pause_s
        if bucket.take(cost, now_s) == 0:
            given_out += min(cost, 10)
    assert given_out <= 10 + 5 * now_s + 1e-6
