"""Everything that goes wrong between two machines, switchable.

A plan says how often; a seeded random decides when. `endpoint` narrows a plan to one endpoint and
`times` ends it after so many strikes, so that a test can say: the next three replies to a capture
are lost, and nothing else.
"""

import asyncio
import random
from typing import Annotated, Literal

import msgspec

SHUFFLE_S = 0.2
"""How far apart shuffled events are spread where no longer delay is set."""

HANG_S = 60.0
"""How long a request that nobody answers is kept, if its caller stays that long."""

SPARED = "GET /v1/sandbox/summary"
"""Whoever counts the damage must be able to read the count."""

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=60_000)]
Copies = Annotated[int, msgspec.Meta(ge=2, le=20)]


class WebhookFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to events on their way out; `copies` is how often a duplicated one comes."""

    drop_percent: Percent = 0
    duplicate_percent: Percent = 0
    copies: Copies = 2
    delay_ms: Milliseconds = 0
    shuffle: bool = False


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to requests; the default is nothing.

    Before any effect, with nothing stored under the idempotency key:
    down               nobody is there: every connection is cut, whatever `times` says
    cut_percent        the connection is cut
    lock_percent       429 lock_timeout: another request holds the object
    hang_percent       nobody ever answers: until the caller goes, HANG_S at most, the key is in use
    latency_ms         the answer takes long: the caller may give up and the effect still comes

    With the effect:
    error_500_percent  a 500 is answered and recorded; `error_500_effect` says whether it worked
    declines_percent   an approving bank declines after all
    second_step_percent    a bank asks the shopper although its card would not
    second_step        what becomes of the shopper's answer: it counts as given ("answered"), it is
                       "succeed" or "fail" whatever was said, or it is "never" heard
    capture_loses_percent  somebody else cancels the authorization just before it is captured
    cancel_loses_percent   somebody else captures the money just before it is let go
    cancel_processing  Stripe lets a payment go that is `processing`, which it does in rare cases
    pending_refund_percent a refund is `pending` until the sandbox is told what became of it

    After the effect:
    reply_delay_ms     the reply takes long
    lose_reply_percent the connection is cut

    endpoint           only this one, e.g. "POST /v1/payment_intents/{id}/capture"
    times              so many strikes of the percentages, then no more
    """

    down: bool = False
    cut_percent: Percent = 0
    lock_percent: Percent = 0
    hang_percent: Percent = 0
    latency_ms: Milliseconds = 0
    error_500_percent: Percent = 0
    error_500_effect: bool = True
    declines_percent: Percent = 0
    second_step_percent: Percent = 0
    second_step: Literal["answered", "succeed", "fail", "never"] = "answered"
    capture_loses_percent: Percent = 0
    cancel_loses_percent: Percent = 0
    cancel_processing: bool = False
    pending_refund_percent: Percent = 0
    reply_delay_ms: Milliseconds = 0
    lose_reply_percent: Percent = 0
    endpoint: str | None = None
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None
    webhooks: WebhookFaults = WebhookFaults()


NO_FAULTS = FaultPlan()


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

    def cuts(self, endpoint: str) -> bool:
        """Whether this request finds nobody there."""
        if self._plan.down and self._concerns(endpoint):
            return True
        return self._strikes(self._plan.cut_percent, endpoint)

    def hangs(self, endpoint: str) -> bool:
        """Whether this request is never answered."""
        return self._strikes(self._plan.hang_percent, endpoint)

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

    def asks(self, endpoint: str) -> bool:
        """Whether the bank asks the shopper although the card would not."""
        return self._strikes(self._plan.second_step_percent, endpoint)

    def answer(self, endpoint: str, given: str) -> str | None:
        """What the bank hears of the answer that was `given`; None if nothing."""
        heard = self._plan.second_step
        if heard == "answered" or not self._concerns(endpoint):
            return given
        return None if heard == "never" else heard

    def capture_loses(self, endpoint: str) -> bool:
        """Whether somebody cancels what is about to be captured."""
        return self._strikes(self._plan.capture_loses_percent, endpoint)

    def cancel_loses(self, endpoint: str) -> bool:
        """Whether somebody captures what is about to be let go."""
        return self._strikes(self._plan.cancel_loses_percent, endpoint)

    def delays_refund(self, endpoint: str) -> bool:
        """Whether a refund is only begun."""
        return self._strikes(self._plan.pending_refund_percent, endpoint)

    def deliveries(self) -> list[float]:
        """Delays in seconds, one for each time an event is delivered; empty if it is dropped."""
        plan = self._plan.webhooks
        if self._hits(plan.drop_percent):
            return []
        copies = plan.copies if self._hits(plan.duplicate_percent) else 1
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
