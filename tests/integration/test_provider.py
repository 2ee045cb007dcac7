"""How Stripe is asked: in turn, again under the same key, and rarely while it is down."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import stripe

from gateway.checkout.provider import LONGER, Broken, Declined, NotPossible, Provider, Silent
from gateway.checkout.turns import CalledOff, Endpoint, OnWait, Turns
from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.keys import StripeKeys
from gateway.lane import served
from gateway.sandbox.stripe import server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from tests.bank import CREATE, Bank
from tests.insist import insist
from tests.integration.conftest import settings_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARAMS: Any = {
    "amount": 1500,
    "currency": "eur",
    "capture_method": "manual",
    "confirm": True,
    "allowed_payment_method_types": ["card"],
    "payment_method": "pm_card_visa",
}


class Watched(Turns):
    """Notes who takes a turn, and every pause."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns.lane, turns.settings)
        self.taken: list[Endpoint] = []
        self.pauses: list[tuple[Endpoint, int]] = []

    async def take(self, endpoint: Endpoint, on_wait: OnWait | None = None) -> None:
        self.taken.append(endpoint)
        await super().take(endpoint, on_wait)

    async def pause(self, endpoint: Endpoint, for_ms: int) -> None:
        """Noted, and over at once: nobody here has the time."""
        self.pauses.append((endpoint, for_ms))


class Till:
    """A provider whose turns are watched, and the sandbox it asks."""

    def __init__(self, provider: Provider, turns: Watched, bank: Bank) -> None:
        self.provider, self.turns, self.bank = provider, turns, bank
        self.sent: list[str] = []

    async def pays(self, key: str | None = None, **changes: Any) -> Any:
        """Ask for an intent under a key; returns it."""
        key = key or uuid.uuid4().hex

        async def create() -> Any:
            self.sent.append(key)
            intents = self.provider.client.v1.payment_intents
            return await intents.create_async(PARAMS | changes, {"idempotency_key": key})

        return await self.provider.ask(Endpoint.CREATE, create)

    async def made(self) -> int:
        return sum((await self.bank.summary())["payment_intents"].values())


@contextlib.asynccontextmanager
async def till_at(redis_url: str, url: str, **changes: Any) -> AsyncIterator[Till]:
    quick = {"stripe_api_key": f"sk_test_{uuid.uuid4().hex}", "stripe_url": url}
    settings = msgspec.structs.replace(settings_of(redis_url, "shop"), **quick, **changes)
    async with served(settings) as lane:
        turns = Watched(Turns(lane, settings))
        provider = Provider(settings, turns, SystemClock())
        try:
            yield Till(provider, turns, Bank(url))
        finally:
            await provider.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox() -> AsyncIterator[str]:
    async with server.serving(StripeSettings(per_endpoint=0, per_account=0)) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def till(redis_url: str, sandbox: str) -> AsyncIterator[Till]:
    async with till_at(redis_url, sandbox) as till:
        yield till


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(redis_url: str, sandbox: str) -> AsyncIterator[Till]:
    """One that waits 300 ms for an answer, which a busy machine may take as well."""
    async with till_at(redis_url, sandbox, stripe_timeout_ms=300) as till:
        yield till


async def test_what_is_answered_takes_one_turn(till: Till) -> None:
    assert (await till.pays()).status == "requires_capture"
    assert till.turns.taken == [Endpoint.CREATE]
    assert till.turns.pauses == []
    assert till.provider.waiting == 0


async def test_a_429_is_asked_again_in_turn_under_the_same_key(till: Till) -> None:
    await till.bank.fails(lock_percent=100, times=2, endpoint=CREATE)
    assert (await till.pays("k")).status == "requires_capture"
    assert till.sent == ["k"] * 3
    assert till.turns.taken == [Endpoint.CREATE] * 3
    assert till.turns.pauses == [(Endpoint.CREATE, 200)] * 2
    assert await till.made() == 1
    asked = till.provider.asked
    assert asked.answers == {(Endpoint.CREATE, "too_much"): 2, (Endpoint.CREATE, "ok"): 1}
    assert asked.took[Endpoint.CREATE].total == 3


async def test_operators_are_told_what_it_was(till: Till) -> None:
    await till.bank.fails(lock_percent=100, times=3, endpoint=CREATE)
    with pytest.raises(Silent) as silent:
        await till.pays()
    told = str(silent.value), silent.value.message
    assert told == ("Stripe answers with status 429.", LONGER)


async def test_a_reply_that_comes_too_late_is_asked_for_again_under_the_same_key(
    hasty: Till,
) -> None:
    await hasty.bank.fails(reply_delay_ms=600, endpoint=CREATE)
    with pytest.raises(Unavailable):
        await hasty.pays("k")
    assert hasty.sent == ["k"] * 3
    await hasty.bank.fails()
    assert (await insist(lambda: hasty.pays("k"))).status == "requires_capture"
    assert await hasty.made() == 1


async def test_a_lost_reply_is_no_outage(till: Till) -> None:
    await till.bank.fails(lose_reply_percent=100, times=2, endpoint=CREATE)
    assert (await till.pays("k")).status == "requires_capture"
    assert till.turns.pauses == []
    assert await till.made() == 1


async def test_what_is_still_being_done_is_asked_again(till: Till) -> None:
    """409: the first request under this key has not been answered yet."""
    await till.bank.fails(latency_ms=200, endpoint=CREATE)

    one, other = await asyncio.gather(*(insist(lambda: till.pays("k")) for _ in range(2)))
    assert one.id == other.id
    assert await till.made() == 1


async def test_what_is_still_being_done_is_no_outage(till: Till) -> None:
    await till.bank.fails(latency_ms=200, endpoint=CREATE)
    ends = await asyncio.gather(*(till.pays("k") for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(end, stripe.PaymentIntent) for end in ends) >= 1
    assert till.turns.pauses == []


async def test_pauses_grow_during_an_outage_and_end_with_it(till: Till) -> None:
    await till.bank.fails(down=True)
    for _ in range(4):
        with pytest.raises(Unavailable):
            await till.pays()
    pauses = [for_ms for _, for_ms in till.turns.pauses]
    assert pauses == [200, 400, 800, 1600, 3200, 4000, 4000, 4000, 4000, 4000]
    assert till.provider.down
    assert till.provider.silences == 4 * 3
    await till.bank.fails()
    assert (await till.pays()).status == "requires_capture"
    assert not till.provider.down
    await till.bank.fails(cut_percent=100, times=2)
    assert (await till.pays()).status == "requires_capture"
    assert len(till.turns.pauses) == len(pauses)


async def test_a_no_ends_an_outage_as_well(till: Till) -> None:
    await till.bank.fails(cut_percent=100, times=3)
    with pytest.raises(Unavailable):
        await till.pays()
    assert till.provider.down
    with pytest.raises(Declined):
        await till.pays(payment_method="pm_card_chargeDeclined")
    assert not till.provider.down


async def test_a_pause_is_asked_for_in_the_queue_all_share(redis_url: str, sandbox: str) -> None:
    async with till_at(redis_url, sandbox) as till:
        turns = Turns(till.turns.lane, till.turns.settings)
        provider = Provider(turns.settings, turns, SystemClock())
        await till.bank.fails(lock_percent=100, times=1)
        intents = provider.client.v1.payment_intents
        await provider.ask(Endpoint.CREATE, lambda: intents.create_async(PARAMS))
        queue = StripeKeys(turns.settings.stripe_account).queue(Endpoint.CREATE)
        assert await turns.lane.command("HEXISTS", queue, "paused_until") == 1
        await provider.aclose()


async def test_no_more_at_once_than_the_settings_say(redis_url: str, sandbox: str) -> None:
    async with till_at(redis_url, sandbox, stripe_concurrency=3) as till:
        under_way, most = 0, 0

        async def request() -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.02)
            under_way -= 1

        asked = (till.provider.ask(endpoint, request) for endpoint in list(Endpoint) * 4)
        await asyncio.gather(*asked)
        assert most == 3


async def test_who_is_cancelled_leaves_the_place_to_others(redis_url: str, sandbox: str) -> None:
    async with till_at(redis_url, sandbox, stripe_concurrency=1) as till:
        stuck = asyncio.Event()

        async def request() -> None:
            stuck.set()
            await asyncio.Event().wait()

        first = asyncio.create_task(till.provider.ask(Endpoint.CREATE, request))
        await stuck.wait()
        second = asyncio.create_task(till.pays())
        first.cancel()
        async with asyncio.timeout(10):
            assert (await second).status == "requires_capture"
        assert first.cancelled()


async def test_a_call_off_reaches_whoever_asked(till: Till) -> None:
    async def not_wanted() -> None:
        raise CalledOff

    with pytest.raises(CalledOff):
        await till.provider.ask(Endpoint.CREATE, not_wanted)
    assert till.turns.taken == [Endpoint.CREATE]
    assert till.turns.pauses == []


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        (
            {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"},
            Declined,
            "insufficient_funds",
        ),
        ({"payment_method": "pm_card_chargeDeclinedExpiredCard"}, Declined, "expired_card"),
        ({"payment_method": "pm_nobodys"}, NotPossible, "invalid_payment_method"),
        ({"amount": 1}, NotPossible, "amount_too_small"),
    ],
)
async def test_a_definite_no_is_not_asked_for_again(
    till: Till, changes: dict[str, Any], error: type[Exception], word: str
) -> None:
    with pytest.raises(error) as refused:
        await till.pays(**changes)
    assert str(refused.value) == word
    assert len(till.sent) == 1
    assert till.turns.pauses == []


async def test_a_declined_intent_is_named(till: Till) -> None:
    with pytest.raises(Declined) as declined:
        await till.pays(payment_method="pm_card_chargeDeclined")
    assert (declined.value.intent or "").startswith("pi_")


async def test_a_5xx_is_not_repeated_and_its_repetition_is_recognised(till: Till) -> None:
    await till.bank.fails(error_500_percent=100, times=1, endpoint=CREATE)
    for replayed in (False, True):
        with pytest.raises(Broken) as broken:
            await till.pays("k")
        assert broken.value.replayed is replayed
    assert till.sent == ["k"] * 2
