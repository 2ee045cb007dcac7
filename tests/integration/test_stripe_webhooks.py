"""Webhooks over a real socket: signed, retried, doubled, dropped, and resumed after a restart."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import stripe

from gateway.sandbox.stripe import webhooks
from gateway.sandbox.stripe.app import Settings
from gateway.sandbox.stripe.faults import FaultPlan, WebhookFaults
from gateway.sandbox.stripe.server import serving
from gateway.sandbox.stripe.webhooks import Target
from tests.stripe_inprocess import PAID

SECRET = "whsec_test"
DEADLINE_S = 30.0


class Shop:
    """Takes webhooks; `refuse` says how many it answers with 500 first."""

    def __init__(self, refuse: int = 0) -> None:
        self.url = ""
        self.refuse = refuse
        self.arrived: list[tuple[str, str]] = []

    @property
    def kinds(self) -> list[str]:
        """Types of the events, in the order in which they arrived."""
        return [json.loads(body)["type"] for body, _ in self.arrived]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, which may carry several requests."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = _header(head, "content-length")
                body = (await reader.readexactly(int(length))).decode()
                self.arrived.append((body, _header(head, "stripe-signature")))
                status = 500 if self.refuse > 0 else 200
                self.refuse -= 1
                writer.write(f"HTTP/1.1 {status} .\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()


def _header(head: str, name: str) -> str:
    match = re.search(rf"^{name}: (.*)\r$", head, re.IGNORECASE | re.MULTILINE)
    assert match is not None
    return match[1]


@asynccontextmanager
async def shop(refuse: int = 0) -> AsyncIterator[Shop]:
    taker = Shop(refuse)
    server = await asyncio.start_server(taker.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    taker.url = f"http://127.0.0.1:{port}/webhooks/stripe"
    async with server:
        yield taker


@asynccontextmanager
async def selling(
    target: Target, data: str = ":memory:", **faults: object
) -> AsyncIterator[httpx.AsyncClient]:
    plan = FaultPlan(webhooks=msgspec.convert(faults, WebhookFaults))
    settings = Settings(data=data, per_endpoint=0, per_account=0, webhook=target, faults=plan)
    headers = {"Authorization": "Bearer sk_test_x"}
    async with (
        serving(settings) as url,
        httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client,
    ):
        yield client


async def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def _authorize(client: httpx.AsyncClient) -> None:
    (await client.post("/v1/payment_intents", data=PAID)).raise_for_status()


async def _tally(client: httpx.AsyncClient) -> dict[str, int]:
    summary = (await client.get("/v1/sandbox/summary")).json()
    tally: dict[str, int] = summary["webhooks"]
    return tally


async def _settled(client: httpx.AsyncClient) -> dict[str, int]:
    deadline = time.monotonic() + DEADLINE_S
    while (tally := await _tally(client))["waiting"]:
        assert time.monotonic() < deadline, tally
        await asyncio.sleep(0.01)
    return tally


async def test_events_arrive_signed_and_the_sdk_takes_them() -> None:
    async with shop() as taker, selling(Target(taker.url, SECRET)) as client:
        await _authorize(client)
        await _until(lambda: len(taker.arrived) == 3)
        for body, signature in taker.arrived:
            event = stripe.Webhook.construct_event(body, signature, SECRET)
            assert event.livemode is False
            with pytest.raises(stripe.SignatureVerificationError):
                stripe.Webhook.construct_event(body, signature, "whsec_other")
        assert (await _settled(client))["delivered"] == 3
        events = (await client.get("/v1/events")).json()["data"]
        assert [event["pending_webhooks"] for event in events] == [0, 0, 0]


async def test_only_what_was_subscribed_to_arrives() -> None:
    async with shop() as taker:
        target = Target(taker.url, SECRET, ("payment_intent.amount_*", "charge.refunded"))
        async with selling(target) as client:
            await _authorize(client)
            await _settled(client)
    assert taker.kinds == ["payment_intent.amount_capturable_updated"]


async def test_what_is_refused_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_RETRY_S", 0.01)
    async with shop(refuse=2) as taker, selling(Target(taker.url, SECRET)) as client:
        await _authorize(client)
        await _until(lambda: len(taker.arrived) == 5)
        tally = await _settled(client)
    assert (tally["delivered"], tally["retried"]) == (3, 2)
    assert len({json.loads(body)["id"] for body, _ in taker.arrived}) == 3


async def test_after_enough_attempts_an_event_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(webhooks, "ATTEMPTS", 3)
    async with (
        shop(refuse=1000) as taker,
        selling(Target(taker.url, SECRET, ("charge.*",))) as client,
    ):
        await _authorize(client)
        tally = await _settled(client)
    assert (tally["given_up"], len(taker.arrived)) == (1, 3)


async def test_doubled_and_dropped() -> None:
    async with shop() as taker:
        target = Target(taker.url, SECRET, ("charge.*",))
        async with selling(target, duplicate_percent=100) as client:
            await _authorize(client)
            await _until(lambda: len(taker.arrived) == 2)
            assert taker.arrived[0][0] == taker.arrived[1][0]
        async with selling(target, drop_percent=100) as client:
            await _authorize(client)
            assert (await _settled(client))["dropped"] == 1
        assert len(taker.arrived) == 2
        async with selling(target, duplicate_percent=100, copies=10, shuffle=True) as client:
            await _authorize(client)
            assert (await _settled(client))["delivered"] == 10
    assert len(taker.arrived) == 12


async def test_shuffled_events_overtake_each_other() -> None:
    async with shop() as taker, selling(Target(taker.url, SECRET), shuffle=True) as client:
        for _ in range(10):
            await _authorize(client)
        await _settled(client)
        events = (await client.get("/v1/events?limit=100")).json()["data"]
    happened = [event["id"] for event in reversed(events)]
    arrived = [json.loads(body)["id"] for body, _ in taker.arrived]
    assert sorted(arrived) == sorted(happened)
    assert arrived != happened


async def test_what_was_not_delivered_is_delivered_after_a_restart(tmp_path: Path) -> None:
    data = str(tmp_path / "money.db")
    async with shop() as taker:
        target = Target(taker.url, SECRET)
        async with selling(target, data, delay_ms=60_000) as client:
            await _authorize(client)
        assert taker.arrived == []
        async with selling(target, data) as client:
            await _until(lambda: len(taker.arrived) == 3)
            assert (await _settled(client))["delivered"] == 3
