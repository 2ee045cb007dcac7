"""Everything that goes wrong between two machines, switchable.

A plan says how often; a seeded random decides when. `endpoint` narrows a plan to one endpoint and
`times` ends it after so many strikes, so that a test can say: the next three replies to a capture
are lost, and nothing else.
"""

import asyncio
import random
from typing import Annotated

import msgspec

SHUFFLE_S = 0.2
"""How far apart shuffled events are spread where no longer delay is set."""

SPARED = "GET /v1/sandbox/summary"
"""Whoever counts the damage must be able to read the count."""

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=60_000)]


class WebhookFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to events on their way out."""

    drop_percent: Percent = 0
    duplicate_percent: Percent = 0
    delay_ms: Milliseconds = 0
    shuffle: bool = False


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to requests; the default is nothing.

    latency_ms         before the effect: the caller may give up and the effect still comes
    reply_delay_ms     after the effect
    lose_reply_percent the effect happens, the connection is dropped
    error_500_percent  a 500 is answered and recorded; `error_500_effect` says whether it worked
    declines_percent   an approving bank declines after all
    lock_percent       429 lock_timeout: another request holds the object; nothing happens
    endpoint           only this one, e.g. "POST /v1/payment_intents/{id}/capture"
    times              so many strikes of the percentages, then no more
    """

    latency_ms: Milliseconds = 0
    reply_delay_ms: Milliseconds = 0
    lose_reply_percent: Percent = 0
    error_500_percent: Percent = 0
    error_500_effect: bool = True
    declines_percent: Percent = 0
    lock_percent: Percent = 0
    endpoint: str | None = None
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None
    webhooks: WebhookFaults = WebhookFaults()


class Faults:
    """The plan in force and its dice."""

    def __init__(self, plan: FaultPlan, rng: random.Random) -> None:
        self._rng = rng
        self.switch(plan)

    @property
    def plan(self) -> FaultPlan:
        """The plan as it was set."""
        return self._plan

    def switch(self, plan: FaultPlan) -> None:
        """From now on, this plan."""
        self._plan = plan
        self._left = plan.times

    async def hold_up(self, endpoint: str) -> None:
        """Keep a request waiting before its effect."""
        if self._plan.latency_ms and self._concerns(endpoint):
            await asyncio.sleep(self._plan.latency_ms / 1000)

    async def hold_back(self, endpoint: str) -> None:
        """Keep a reply waiting after its effect."""
        if self._plan.reply_delay_ms and self._concerns(endpoint):
            await asyncio.sleep(self._plan.reply_delay_ms / 1000)

    def loses_reply(self, endpoint: str) -> bool:
        """Whether this reply is lost."""
        return self._strikes(self._plan.lose_reply_percent, endpoint)

    def breaks(self, endpoint: str) -> bool:
        """Whether this request is answered with a 500."""
        return self._strikes(self._plan.error_500_percent, endpoint)

    def locks(self, endpoint: str) -> bool:
        """Whether this request finds its object locked."""
        return self._strikes(self._plan.lock_percent, endpoint)

    def declines(self, endpoint: str) -> bool:
        """Whether the bank says no to a good card."""
        return self._strikes(self._plan.declines_percent, endpoint)

    def deliveries(self) -> list[float]:
        """Delays in seconds, one for each time an event is delivered; empty if it is dropped."""
        plan = self._plan.webhooks
        if self._hits(plan.drop_percent):
            return []
        copies = 2 if self._hits(plan.duplicate_percent) else 1
        return [self._delay(plan) for _ in range(copies)]

    def _delay(self, plan: WebhookFaults) -> float:
        delay = plan.delay_ms / 1000
        # Shuffled events overtake each other anywhere within the delay, or within a short while.
        return self._rng.uniform(0, max(delay, SHUFFLE_S)) if plan.shuffle else delay

    def _concerns(self, endpoint: str) -> bool:
        return self._plan.endpoint in (None, endpoint) and endpoint != SPARED

    def _strikes(self, percent: float, endpoint: str) -> bool:
        if self._left == 0 or not self._concerns(endpoint) or not self._hits(percent):
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def _hits(self, percent: float) -> bool:
        return percent > 0 and self._rng.random() * 100 < percent
