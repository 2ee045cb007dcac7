"""How often one client may ask: a token bucket. Pure; time is handed in."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Holds up to ``burst`` tokens and gains ``rate_per_s`` of them a second."""

    rate_per_s: float
    burst: float
    tokens: float
    filled_at_s: float

    @classmethod
    def full(cls, rate_per_s: float, burst: float, now_s: float) -> "Bucket":
        """A bucket that has all its tokens."""
        return cls(rate_per_s, burst, burst, now_s)

    def take(self, cost: float, now_s: float) -> int:
        """Take ``cost`` tokens and return 0, or take none and return how long to wait, in ms.

        What costs more than the bucket holds takes all of it, or it could never be paid for.
        """
        cost = min(cost, self.burst)
        gained = (now_s - self.filled_at_s) * self.rate_per_s
        self.tokens = min(self.burst, self.tokens + gained)
        self.filled_at_s = now_s
        if self.tokens >= cost:
            self.tokens -= cost
            return 0
        return max(1, round(1000 * (cost - self.tokens) / self.rate_per_s))
