"""What gateways say of themselves at ``/metrics``, before and after: where the time went.

Only histograms are read, and of them the few that tell causes apart. A deployment that shows its
metrics to nobody here is judged without them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.drop.shop_api import Api, NoAnswer

REDIS = "holdfast_redis_round_trip_seconds"
STALENESS = "holdfast_stock_staleness_seconds"
LOOP = "holdfast_event_loop_lag_seconds"

_BUCKET = re.compile(r'(\w+)_bucket\{([^}]*,)?le="([^"]+)"[^}]*\} (\S+)')
_ON_PURPOSE = 'kind="waited"'
"""Round trips in which a gateway waited for replicas or a disk: no Redis is slow for that."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Histograms of some gateways together: name → upper bound in s → observations up to it."""

    buckets: Mapping[str, Mapping[float, float]] = field(default_factory=dict)

    def since(self, before: "Vitals") -> "Vitals":
        """What was observed between two looks."""
        return Vitals(
            {
                name: {
                    bound: count - before.buckets.get(name, {}).get(bound, 0)
                    for bound, count in bounds.items()
                }
                for name, bounds in self.buckets.items()
            }
        )

    def quantile_ms(self, name: str, share: float) -> float | None:
        """The upper bound, in ms, of the bucket where so much is below; ``None``: not observed."""
        bounds = sorted(self.buckets.get(name, {}).items())
        total = bounds[-1][1] if bounds else 0.0
        if total <= 0:
            return None
        return next(bound for bound, count in bounds if count >= share * total) * 1000


def look(urls: Sequence[str]) -> Vitals:
    """Read the metrics of these gateways, as far as they show any."""
    found: dict[str, dict[float, float]] = {}
    for url in urls:
        try:
            answer = Api(url).call("GET", "/metrics")
        except NoAnswer:
            continue
        if answer.status == 200 and isinstance(answer.said, str):
            for name, labels, bound, count in _BUCKET.findall(answer.said):
                if _ON_PURPOSE in labels:
                    continue
                bounds = found.setdefault(name, {})
                bounds[float(bound)] = bounds.get(float(bound), 0.0) + float(count)
    return Vitals(found)
