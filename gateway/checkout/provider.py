"""How Stripe is asked: in turn, a few times if there is no answer, and answered in our words.

The SDK's own retries are off: they know nothing of the queue that all our processes share, and do
not repeat a 429. Its errors end here; what leaves this module is one of four words: declined, not
possible, broken (a 5xx, which Stripe repeats under the same key for a day), or unavailable.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar

import stripe

from gateway.checkout.turns import LONGEST_PAUSE_MS, Endpoint, OnWait, Turns
from gateway.clock import Clock
from gateway.errors import Unavailable
from gateway.histogram import SLOW_BOUNDS_S, Histogram
from gateway.settings import Settings
from gateway.traces import Kind, span

log = logging.getLogger(__name__)

T = TypeVar("T")

KEY_REUSED = "idempotency_key_reused"
LONGER = "Payment takes longer than usual; we keep trying."
"""What shoppers are told of all that may still come right."""
_TRIES = 3
"""Times one request is sent, under the same key. Then it is left to whoever settles next."""
_TOO_MUCH_MS = 200
"""How long nobody asks an endpoint that said it was too much."""
_UNDER_WAY_S = 0.3
"""How long a request waits for another of us that asks the same."""
_SILENCES = 3
"""Failures in a row after which Stripe counts as down, and is asked more and more rarely."""
_FRESH_KEY_MS = 60_000


class Declined(Exception):
    """A definite no: the method was declined or is not usable. Nothing is authorized."""

    def __init__(self, decline_code: str, intent: str | None = None) -> None:
        super().__init__(decline_code)
        self.decline_code = decline_code
        self.intent = intent


class NotPossible(Exception):
    """Stripe refuses this for good, by a code; read the intent's state and decide again."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Broken(Unavailable):
    """Stripe answered 5xx, and will say so again for a day under the same key: read the state.

    ``replayed`` when it was such a repetition, so that under this key nothing is going on any more.
    """

    def __init__(self, *, replayed: bool) -> None:
        super().__init__(LONGER, "Stripe answers with an error of its own (5xx).")
        self.replayed = replayed


class Silent(Unavailable):
    """Stripe gave no answer, however often it was asked, or only that it was asked too much, or
    that it does not know our key.
    """

    def __init__(self, status: int = 0) -> None:
        said = f"Stripe answers with status {status}." if status else "Stripe does not answer."
        super().__init__(LONGER, said)


class _Why(Enum):
    TOO_MUCH = auto()
    UNDER_WAY = auto()
    """Another of us asks the same at this moment."""
    SILENCE = auto()


_WHY = {409: _Why.UNDER_WAY, 429: _Why.TOO_MUCH}


class _NoAnswer(Exception):
    """Nobody knows whether Stripe did it, or it did not: ask the same under the same key."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.why = _WHY.get(status, _Why.SILENCE)


OUTCOMES = ("ok", "declined", "refused", "broken", "too_much", "under_way", "silence")
"""What may become of a request: ``broken`` is status 5xx, ``too_much`` 429, ``under_way`` 409."""


def _word(error: Declined | NotPossible | Broken | _NoAnswer) -> str:
    """What is counted of a request that brought no good answer."""
    match error:
        case Declined():
            return "declined"
        case NotPossible():
            return "refused"
        case Broken():
            return "broken"
        case _NoAnswer():
            return error.why.name.lower()


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of this process' requests, each time one was sent."""

    answers: Counter[tuple[Endpoint, str]] = field(default_factory=Counter)
    """By one of ``OUTCOMES``."""
    took: dict[Endpoint, Histogram] = field(
        default_factory=lambda: {one: Histogram(SLOW_BOUNDS_S) for one in Endpoint}
    )
    """From when it was sent until it was answered, or given up; the queue before it not counted."""

    def answered(self, endpoint: Endpoint, outcome: str, took_s: float) -> None:
        """A request was answered, or given up."""
        self.answers[endpoint, outcome] += 1
        self.took[endpoint].observe(took_s)


class Provider:
    """Stripe's API, for one account."""

    def __init__(self, settings: Settings, turns: Turns, clock: Clock) -> None:
        self.asked = Asked()
        self._clock = clock
        self._turns = turns
        self._at_once = asyncio.Semaphore(settings.stripe_concurrency)
        self._failures = 0
        self._http = stripe.HTTPXClient(timeout=settings.stripe_timeout_ms / 1000)
        address: Any = {"api": settings.stripe_url} if settings.stripe_url else {}
        self.client = stripe.StripeClient(
            settings.stripe_api_key,
            base_addresses=address,
            http_client=self._http,
            max_network_retries=0,
        )

    @property
    def waiting(self) -> int:
        """Requests of this process that wait for their turn."""
        return self._turns.waiting

    @property
    def silences(self) -> int:
        """How many requests in a row Stripe has left unanswered since it said yes or no to one."""
        return self._failures

    @property
    def down(self) -> bool:
        """Whether those are so many that Stripe counts as down, and is asked rarely."""
        return self._failures >= _SILENCES

    async def aclose(self) -> None:
        """Close the connections to Stripe."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def ask(
        self, endpoint: Endpoint, request: Callable[[], Awaitable[T]], on_wait: OnWait | None = None
    ) -> T:
        """Send a request when it is our turn; it may be sent several times, under its own key.

        Raises:
            Declined, NotPossible, Broken: Stripe answered.
            Silent: it did not, or not now.
            CalledOff: ``on_wait`` said so.
        """
        status = 0
        for _ in range(_TRIES):
            with span("wait for a turn at Stripe"):
                await self._turns.take(endpoint, on_wait)
            try:
                async with self._at_once:
                    with span(f"Stripe {endpoint}", Kind.CLIENT, {"peer.service": "stripe"}):
                        answer = await self._once(endpoint, request)
            except _NoAnswer as silence:
                status = silence.status
                await self._slow_down(endpoint, silence)
            except (Declined, NotPossible):
                self._failures = 0
                raise
            else:
                self._failures = 0
                return answer
        raise Silent(status)

    async def _once(self, endpoint: Endpoint, request: Callable[[], Awaitable[T]]) -> T:
        """Send a request now, and count what becomes of it."""
        began_s = self._clock.monotonic_s()
        try:
            answer = await _in_our_words(request)
        except (Declined, NotPossible, Broken, _NoAnswer) as error:
            self.asked.answered(endpoint, _word(error), self._clock.monotonic_s() - began_s)
            raise
        self.asked.answered(endpoint, "ok", self._clock.monotonic_s() - began_s)
        return answer

    async def insist(
        self,
        endpoint: Endpoint,
        key: str,
        request: Callable[[str], Awaitable[T]],
        on_wait: OnWait | None = None,
    ) -> T:
        """Send a request that cannot take effect twice at Stripe: capture, cancel, refund it all.

        A 5xx is repeated by Stripe under its key for a day; then it is asked for under another,
        which changes with time, for nothing is worse than not to ask any more.

        Raises:
            as ``ask``.
        """
        try:
            return await self.ask(endpoint, partial(request, key), on_wait)
        except Broken as broken:
            if not broken.replayed:
                raise
        fresh = f"{key}/{self._clock.now_ms() // _FRESH_KEY_MS}"
        return await self.ask(endpoint, partial(request, fresh), on_wait)

    async def _slow_down(self, endpoint: Endpoint, silence: _NoAnswer) -> None:
        """One lost reply is an accident; several in a row are an outage."""
        match silence.why:
            case _Why.TOO_MUCH:
                await self._turns.pause(endpoint, _TOO_MUCH_MS)
                return
            case _Why.UNDER_WAY:
                await self._turns.sleep(_UNDER_WAY_S)
                return
        self._failures += 1
        if self._failures >= _SILENCES:
            doubled = min(self._failures - _SILENCES, 5)
            await self._turns.pause(endpoint, min(_TOO_MUCH_MS << doubled, LONGEST_PAUSE_MS))


async def _in_our_words(request: Callable[[], Awaitable[T]]) -> T:
    try:
        return await request()
    except stripe.CardError as error:
        answer: Any = error.json_body or {}
        body = answer.get("error") or {}
        intent = body.get("payment_intent") or {}
        code = body.get("decline_code") or error.code or "card_declined"
        raise Declined(code, intent.get("id")) from None
    except stripe.IdempotencyError:
        log.error("payments: stripe was asked something else under this key before")
        raise NotPossible(KEY_REUSED) from None
    except stripe.InvalidRequestError as error:
        if error.param in {"payment_method", "confirmation_token"}:
            raise NotPossible("invalid_payment_method") from None
        if error.code != "payment_intent_unexpected_state":
            log.error("payments: stripe refused: %s %s", error.code, error.param)
        raise NotPossible(error.code or "not_possible") from None
    except stripe.StripeError as error:
        cause, status = type(error.__cause__ or error).__name__, error.http_status or 0
        log.warning("payments: stripe: %s %s", cause, status or "")
        if status >= 500:
            headers = {name.lower(): value for name, value in (error.headers or {}).items()}
            raise Broken(replayed=headers.get("idempotent-replayed") == "true") from None
        raise _NoAnswer(status) from None
