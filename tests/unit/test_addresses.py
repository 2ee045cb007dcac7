"""How often one address may ask."""

import pytest

from gateway.api import addresses
from gateway.api.addresses import BURST, Limit, customer
from gateway.clock import SystemClock
from gateway.errors import RateLimited


class Clock(SystemClock):
    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


def allowed(limit: Limit, address: str, times: int = 1_000) -> int:
    """How many of so many requests are let through."""
    for number in range(times):
        try:
            limit.check(address)
        except RateLimited:
            return number
    return times


def test_an_address_may_burst_and_then_has_to_wait() -> None:
    clock = Clock()
    limit = Limit(2, clock)
    assert allowed(limit, "192.0.2.1") == 2 * BURST
    with pytest.raises(RateLimited) as refused:
        limit.check("192.0.2.1")
    assert refused.value.facts == {"retry_after_ms": 500}
    assert allowed(limit, "192.0.2.2") == 2 * BURST
    clock.now_s = 3
    assert allowed(limit, "192.0.2.1") == 6


def test_a_rate_of_zero_is_no_limit() -> None:
    limit = Limit(0, Clock())
    assert (allowed(limit, "192.0.2.1"), len(limit)) == (1_000, 0)


def test_a_network_of_ipv6_is_one_customer() -> None:
    assert customer("2001:db8:1:2::1") == customer("2001:db8:1:2:ffff::7") == "2001:db8:1:2::/64"
    assert customer("2001:db8:1:3::1") != customer("2001:db8:1:2::1")
    assert customer("::ffff:192.0.2.1") == customer("192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize("address", ["", "unknown", "x" * 10_000, "192.0.2.1, 192.0.2.2"])
def test_what_is_no_address_is_one_for_all(address: str) -> None:
    assert customer(address) == ""


def test_of_too_many_addresses_those_silent_the_longest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "MOST_ADDRESSES", 2)
    limit = Limit(1, Clock())
    for address in ("192.0.2.1", "192.0.2.2"):
        assert allowed(limit, address) == BURST
    limit_kept = allowed(limit, "192.0.2.1")
    allowed(limit, "192.0.2.3", 1)
    assert (limit_kept, len(limit)) == (0, 2)
    assert allowed(limit, "192.0.2.1") == 0
    assert allowed(limit, "192.0.2.2") == BURST
