"""Stripe's webhook: what is believed, what is not, and what it sets off."""

import asyncio
import json
import logging
from collections.abc import Callable

import msgspec
import pytest
import stripe

from gateway.checkout import webhook
from gateway.checkout.desk import Desk
from gateway.checkout.webhook import TOLERANCE_S, Forged, StripeWebhook
from gateway.errors import NotFound, Overloaded
from gateway.messages import CheckoutFrame
from gateway.rooms import Rooms

SECRET = "whsec_0123456789abcdef"
ABOUT = {"env": "main", "shop": "a_shop", "order": "ord_1", "hold": "hold_1", "attempt": "1"}


def event(kind: str = "payment_intent.amount_capturable_updated", **changes: object) -> bytes:
    data = {"object": {"id": "pi_1", "object": "payment_intent", "metadata": ABOUT}}
    body = {"id": "evt_1", "object": "event", "type": kind, "livemode": False, "data": data}
    return json.dumps(body | changes, indent=2).encode()


def signed(body: bytes, at_s: float, secret: str = SECRET) -> str:
    header: str = stripe.WebhookSignature.generate_signature_header(
        body.decode(), secret, int(at_s)
    )
    return header


class Watched(Desk):
    """A desk that keeps a list of what it is asked, and does what it is told."""

    def __init__(self, rooms: Rooms) -> None:
        super().__init__(rooms.settler, rooms.settings, rooms.rng)
        self.asked: list[tuple[str, str, str]] = []
        self.fails: Callable[[], Exception | None] = lambda: None
        self.takes_s = 0.0

    async def settle(self, shop: str, order: str, hold: str) -> CheckoutFrame:
        self.asked.append((shop, order, hold))
        await asyncio.sleep(self.takes_s)
        if error := self.fails():
            raise error
        return CheckoutFrame(hold=hold, state="processing")


@pytest.fixture
def desk(rooms: Rooms) -> Watched:
    return Watched(rooms)


@pytest.fixture
def receiver(rooms: Rooms, desk: Watched) -> StripeWebhook:
    return StripeWebhook(desk, rooms.unknown, rooms.settings, rooms.clock)


def now_s(receiver: StripeWebhook) -> float:
    return receiver.clock.now_ms() / 1000


async def test_a_signed_event_settles_the_order_it_is_about(
    receiver: StripeWebhook, desk: Watched
) -> None:
    body = event()
    for _ in range(3):
        await receiver.receive(body, signed(body, now_s(receiver)))
    assert desk.asked == [("a_shop", "ord_1", "hold_1")] * 3


@pytest.mark.parametrize("off_s", [-(TOLERANCE_S + 1), TOLERANCE_S + 2])
async def test_a_signature_of_another_time_is_refused(
    receiver: StripeWebhook, desk: Watched, off_s: int
) -> None:
    body = event()
    with pytest.raises(Forged):
        await receiver.receive(body, signed(body, now_s(receiver) + off_s))
    assert not desk.asked


@pytest.mark.parametrize("off_s", [-(TOLERANCE_S - 5), TOLERANCE_S - 5])
async def test_clocks_may_be_apart_within_the_tolerance(
    receiver: StripeWebhook, desk: Watched, off_s: int
) -> None:
    body = event()
    await receiver.receive(body, signed(body, now_s(receiver) + off_s))
    assert desk.asked


@pytest.mark.parametrize("lure", ["xt={now},", "t= {old},t={now},", "t={now},"])
async def test_an_old_signature_is_not_freshened_up(
    receiver: StripeWebhook, desk: Watched, lure: str
) -> None:
    body, now = event(), int(now_s(receiver))
    old = now - 2 * TOLERANCE_S
    header = lure.format(now=now, old=old) + signed(body, old)
    with pytest.raises(Forged):
        await receiver.receive(body, header)
    assert not desk.asked


def _reserialized(body: bytes) -> bytes:
    return json.dumps(json.loads(body)).encode()


@pytest.mark.parametrize(
    "forge",
    [
        lambda body, _: (body, ""),
        lambda body, _: (body, "nonsense"),
        lambda body, _: (body, "t=,v1="),
        lambda body, good: (body, good.replace("v1=", "v0=")),
        lambda body, good: (body, good[:-1] + ("0" if good[-1] != "0" else "1")),
        lambda body, good: (body, good + "\xe4"),
        lambda body, _: (body, "t=" + "9" * 5000 + ",v1=aa"),
        lambda body, good: (body + b" ", good),
        lambda body, good: (body.replace(b"ord_1", b"ord_2"), good),
        lambda body, good: (_reserialized(body), good),
        lambda _, good: (b"\xff", good),
        lambda _, good: (b"", good),
    ],
)
async def test_what_is_not_signed_for_us_changes_nothing(
    receiver: StripeWebhook, desk: Watched, forge: Callable[[bytes, str], tuple[bytes, str]]
) -> None:
    body = event()
    forged, header = forge(body, signed(body, now_s(receiver)))
    with pytest.raises(Forged) as refused:
        await receiver.receive(forged, header)
    assert (refused.value.status, refused.value.code) == (400, "invalid")
    assert not desk.asked


async def test_another_secret_is_refused(receiver: StripeWebhook, desk: Watched) -> None:
    body = event()
    with pytest.raises(Forged):
        await receiver.receive(body, signed(body, now_s(receiver), SECRET + "x"))
    assert not desk.asked


async def test_two_secrets_are_good_while_they_are_rotated(rooms: Rooms, desk: Watched) -> None:
    both = f"{SECRET}_new, {SECRET}"
    settings = msgspec.structs.replace(rooms.settings, stripe_webhook_secret=both)
    receiver, body = StripeWebhook(desk, rooms.unknown, settings, rooms.clock), event()
    for secret in (SECRET, f"{SECRET}_new"):
        await receiver.receive(body, signed(body, now_s(receiver), secret))
    assert len(desk.asked) == 2
    for secret in (both, ""):
        with pytest.raises(Forged):
            await receiver.receive(body, signed(body, now_s(receiver), secret))


@pytest.mark.parametrize(
    ("key", "livemode", "answer"),
    [
        ("sk_test_0123456789", False, 200),
        ("sk_test_0123456789", True, 400),
        ("sk_live_0123456789", True, 200),
        ("sk_live_0123456789", False, 400),
        ("rk_live_0123456789", True, 200),
        ("sk_test_0123456789", 0, 400),
        ("sk_test_0123456789", None, 400),
    ],
)
async def test_the_mode_must_be_that_of_our_key(
    rooms: Rooms, desk: Watched, key: str, livemode: object, answer: int
) -> None:
    settings = msgspec.structs.replace(rooms.settings, stripe_api_key=key)
    receiver, body = (
        StripeWebhook(desk, rooms.unknown, settings, rooms.clock),
        event(livemode=livemode),
    )
    header = signed(body, now_s(receiver))
    if answer == 200:
        await receiver.receive(body, header)
    else:
        with pytest.raises(Forged):
            await receiver.receive(body, header)
    assert bool(desk.asked) is (answer == 200)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"x", b"[" * 100_000, b'{"type":"a"}'])
async def test_what_is_signed_but_no_event_is_refused(receiver: StripeWebhook, body: bytes) -> None:
    with pytest.raises(Forged):
        await receiver.receive(body, signed(body, now_s(receiver)))


@pytest.mark.parametrize(
    "body",
    [
        event("payment_intent.created"),
        event("customer.created"),
        event(data={}),
        event(data={"object": {"id": "pi_1"}}),
        event(data={"object": {"metadata": {}}}),
        event(data={"object": {"metadata": {**ABOUT, "order": "{x}:y"}}}),
        event(data=None),
    ],
)
async def test_events_that_are_none_of_our_business_are_received(
    receiver: StripeWebhook, desk: Watched, body: bytes
) -> None:
    await receiver.receive(body, signed(body, now_s(receiver)))
    assert not desk.asked


@pytest.mark.parametrize(
    "error", [NotFound("No such order."), Overloaded("Too much."), RuntimeError("a defect")]
)
async def test_whatever_becomes_of_it_stripe_need_not_send_it_again(
    receiver: StripeWebhook, desk: Watched, error: Exception
) -> None:
    desk.fails, body = lambda: error, event()
    await receiver.receive(body, signed(body, now_s(receiver)))
    assert desk.asked


async def test_stripe_does_not_wait_for_a_slow_payment(
    receiver: StripeWebhook,
    desk: Watched,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(webhook, "SETTLE_WITHIN_S", 0.02)
    caplog.set_level(logging.INFO)
    desk.takes_s, body = 60, event()
    async with asyncio.timeout(30):
        await receiver.receive(body, signed(body, now_s(receiver)))
    assert "ord_1" in caplog.text
