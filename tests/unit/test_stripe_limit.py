"""Token buckets, on a clock that the test owns."""

from gateway.sandbox.stripe.limit import Limiter
from tests.stripe_inprocess import Clock


def _admitted(limiter: Limiter, endpoint: str, tries: int) -> int:
    return [limiter.refuses(endpoint) for _ in range(tries)].count(None)


def test_an_endpoint_gets_its_rate_and_no_more() -> None:
    clock = Clock()
    limiter = Limiter(25, 100, clock)
    assert _admitted(limiter, "a", 60) == 25
    assert limiter.refuses("a") == "endpoint-rate"
    clock.now += 0.2
    assert _admitted(limiter, "a", 60) == 5
    clock.now += 60
    assert _admitted(limiter, "a", 60) == 25


def test_endpoints_share_the_account() -> None:
    limiter = Limiter(25, 40, Clock())
    assert _admitted(limiter, "a", 30) == 25
    assert _admitted(limiter, "b", 30) == 15
    assert limiter.refuses("b") == "global-rate"


def test_zero_lifts_the_limit() -> None:
    assert _admitted(Limiter(0, 0, Clock()), "a", 1000) == 1000


def test_a_slow_rate_still_admits_one() -> None:
    clock = Clock()
    limiter = Limiter(0.5, 0, clock)
    assert _admitted(limiter, "a", 3) == 1
    clock.now += 2
    assert _admitted(limiter, "a", 3) == 1


def test_a_clock_that_steps_back_drains_nothing() -> None:
    clock = Clock()
    limiter = Limiter(10, 0, clock)
    assert _admitted(limiter, "a", 4) == 4
    clock.now -= 3600
    assert _admitted(limiter, "a", 20) == 6
