"""How often one address may ask for what costs it nothing: tickets, without a key.

Whose address it is says the connection, or a proxy that is trusted (``configuration`` in ``app``).
"""

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.failures import Endpoint
from gateway.clock import Clock
from gateway.errors import HoldfastError, RateLimited
from gateway.sessions.limits import Bucket

BURST = 10
"""How many seconds' worth may come at once."""
MOST_ADDRESSES = 10_000
"""Addresses that are remembered; of more, those that have not asked for the longest are new."""
_ONE_CUSTOMER = 64
"""Bits of an IPv6 address that name a customer; the others he chooses himself."""


@dataclass(slots=True)
class Limit:
    """Requests by address; a rate of 0 is no limit."""

    per_s: int
    clock: Clock
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that came to nothing, for this or another reason, by the code of the error."""
    _buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, address: str) -> None:
        """Count a request of an address.

        Raises:
            RateLimited: it asks too often.
        """
        if not self.per_s:
            return
        now_s, name = self.clock.monotonic_s(), customer(address)
        bucket = self._buckets.pop(name, None) or Bucket.full(self.per_s, BURST * self.per_s, now_s)
        self._buckets[name] = bucket
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        if wait_ms := bucket.take(1, now_s):
            raise RateLimited("Too many tickets for one address.", retry_after_ms=wait_ms)


def customer(address: str) -> str:
    """Whom an address stands for: itself, or with IPv6 its network. What is none is one for all."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if ip.version == 4:
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), _ONE_CUSTOMER), strict=False))


def limited(limit: Limit, endpoint: Endpoint) -> Endpoint:
    """An endpoint that may be asked only so often by one address without a key; what it refuses is
    counted.
    """

    async def answer(request: Request) -> Response:
        try:
            if "authorization" not in request.headers:
                limit.check(request.client.host if request.client else "")
            return await endpoint(request)
        except HoldfastError as error:
            limit.refused[error.code] += 1
            raise

    return answer
