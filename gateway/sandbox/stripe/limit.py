"""Stripe's rate limit: 25 requests a second an endpoint, 100 an account.

A token bucket for each, as deep as one second's worth. Without it a load test against the
sandbox would promise what Stripe will not keep.
"""

from collections.abc import Callable


class Bucket:
    """Fills at `rate` tokens a second up to one second's worth; a rate of 0 never runs dry."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._depth = max(rate, 1.0)
        self._tokens = self._depth
        self._filled_at = clock()

    def has_token(self) -> bool:
        """Whether `take` would leave the bucket at or above empty."""
        now = self._clock()
        # A clock that steps back must not drain the bucket.
        gained = max(0.0, now - self._filled_at) * self._rate
        self._tokens = min(self._depth, self._tokens + gained)
        self._filled_at = now
        return self._rate == 0 or self._tokens >= 1

    def take(self) -> None:
        """Use one token."""
        if self._rate:
            self._tokens -= 1


class Limiter:
    """Both limits; a refused request uses up neither."""

    def __init__(self, per_endpoint: float, per_account: float, clock: Callable[[], float]) -> None:
        self._per_endpoint = per_endpoint
        self._clock = clock
        self._account = Bucket(per_account, clock)
        self._endpoints: dict[str, Bucket] = {}

    def refuses(self, endpoint: str) -> str | None:
        """Admit one request and answer None, or say why not in Stripe's words."""
        bucket = self._endpoints.get(endpoint)
        if bucket is None:
            bucket = self._endpoints[endpoint] = Bucket(self._per_endpoint, self._clock)
        if not bucket.has_token():
            return "endpoint-rate"
        if not self._account.has_token():
            return "global-rate"
        bucket.take()
        self._account.take()
        return None
