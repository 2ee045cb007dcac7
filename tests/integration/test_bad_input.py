"""Bad input costs one clear error: nothing is lost, nothing changes, and nobody else notices."""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from tests.integration.conftest import SHOW, Corner, Site
from tests.shopper import Message, Shopper, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMAIL = "ann-who-is-nobody@example.com"
BOBS_EMAIL = "bob-who-is-nobody@example.com"
CONTACT = {"email": EMAIL}
ALIVE = None
"""In place of a close code: the connection lives."""


@dataclass(frozen=True)
class Case:
    """A frame after the welcome. In it ``HOLD`` is ann's hold and ``BOBS`` is bob's."""

    name: str
    frame: str | bytes
    code: str | None
    close: int | None = ALIVE


def command(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "id": 50} | fields)


def quantity(name: str, literal: str) -> Case:
    """A reservation of so much, however that is written."""
    line = f'{{"sku":"tee","quantity":{literal}}}'
    frame = f'{{"type":"reserve","id":50,"key":"new","lines":[{line}]}}'
    return Case(f"quantity {name}", frame, "bad_frame" if literal == "NaN" else "invalid")


def reserve(**fields: Any) -> str:
    whole = {"key": "new", "lines": [{"sku": "tee", "quantity": 1}]} | fields
    return command("reserve", **whole)


def checkout(**fields: Any) -> str:
    whole = {
        "hold": "HOLD",
        "expected_total": {"amount": 1500, "currency": "EUR"},
        "payment": {"payment_method": "pm_card_visa"},
        "contact": CONTACT,
    }
    return command("checkout", **(whole | fields))


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


CASES = [
    Case("not JSON", "reserve one tee, please", "bad_frame"),
    Case("nothing", "", "bad_frame"),
    Case("half an object", '{"type":"ask","id":50', "bad_frame"),
    Case("an array", "[]", "bad_frame"),
    Case("a number", "5", "bad_frame"),
    Case("an unknown type", command("buy"), "unknown_type"),
    Case("a type that is no string", '{"type":5,"id":50}', "unknown_type"),
    Case("no type", '{"id":50}', "unknown_type"),
    Case("a push of ours", command("stock", epoch=1, version=9, items={"tee": 99}), "unknown_type"),
    Case("no id", '{"type":"ask","text":"?"}', "invalid"),
    Case("an id that is no number", '{"type":"ask","id":"50","text":"?"}', "invalid"),
    Case("a huge id", '{"type":"ask","id":18446744073709551616,"text":"?"}', "invalid"),
    Case("a missing field", command("extend"), "invalid"),
    Case("null for a field", command("extend", hold=None), "invalid"),
    Case("an object for a text", command("extend", hold={}), "invalid"),
    Case("a list for an object", checkout(expected_total=[]), "invalid"),
    quantity("-1", "-1"),
    quantity("0", "0"),
    quantity("1.0", "1.0"),
    quantity("true", "true"),
    quantity("nan in quotes", '"nan"'),
    quantity("0x5 in quotes", '"0x5"'),
    quantity("2 with spaces", '" 2 "'),
    quantity("1e400", "1e400"),
    quantity("2^63", str(2**63)),
    quantity("NaN", "NaN"),
    quantity("of 5,000 digits", "9" * 5_000),
    quantity("a million and one", "1000001"),
    Case("a key twice", '{"type":"extend","id":50,"hold":"x","hold":"HOLD"}', "bad_frame"),
    Case("a key twice, escaped", '{"type":"ask","id":50,"text":"a","t\\u0065xt":"b"}', "bad_frame"),
    Case("half a surrogate pair", '{"type":"ask","id":50,"text":"\\ud800"}', "bad_frame"),
    Case("a raw NUL", '{"type":"ask","id":50,"text":"a\x00b"}', "bad_frame"),
    Case("NUL in a question", command("ask", text="a\x00b"), "invalid"),
    Case("a newline in a key", reserve(key="new\n"), "invalid"),
    Case("NUL in a name", checkout(contact=CONTACT | {"name": "a\x00b"}), "invalid"),
    Case("NUL in a telephone number", checkout(contact=CONTACT | {"phone": "1\x00"}), "invalid"),
    Case("NUL in an e-mail", checkout(contact={"email": "a\x00@example.com"}), "invalid"),
    Case("escape codes in a name", checkout(contact=CONTACT | {"name": "\x1b[2J"}), "invalid"),
    *(
        Case(
            f"NUL in {field} of the address",
            checkout(ship_to={"line1": "1 Main St", "country": "DE"} | {field: "a\x00"}),
            "invalid",
        )
        for field in ("line1", "line2", "name", "city", "postal_code", "state", "country")
    ),
    Case("10,000 lines", reserve(lines=[{"sku": "tee", "quantity": 1}] * 10_000), "invalid"),
    Case("no lines", reserve(lines=[]), "invalid"),
    Case("arrays 100,000 deep", nested(100_000), "bad_frame"),
    Case("a field 100,000 deep", f'{{"type":"ask","id":50,"z":{nested(100_000)}}}', "bad_frame"),
    Case("a sku with braces", reserve(lines=[{"sku": "{tee}", "quantity": 1}]), "invalid"),
    Case("a sku with a colon", reserve(lines=[{"sku": "tee:x", "quantity": 1}]), "invalid"),
    Case("a hold with braces", command("release", hold="{HOLD}"), "invalid"),
    Case("an unknown sku", reserve(lines=[{"sku": "hat", "quantity": 1}]), "not_found"),
    Case("an unknown hold", command("release", hold="h_nobodys"), "not_found"),
    Case("another's hold, released", command("release", hold="BOBS"), "not_found"),
    Case("another's hold, extended", command("extend", hold="BOBS"), "not_found"),
    Case("another's hold, paid", checkout(hold="BOBS"), "not_found"),
    Case(
        "a key used before for something else",
        reserve(key="k", lines=[{"sku": "tee", "quantity": 2}]),
        "idempotency_key_reused",
    ),
    Case(
        "a lower total",
        checkout(expected_total={"amount": 1, "currency": "EUR"}),
        "total_changed",
    ),
    Case(
        "another currency",
        checkout(expected_total={"amount": 1500, "currency": "JPY"}),
        "total_changed",
    ),
    Case(
        "a negative total",
        checkout(expected_total={"amount": -1500, "currency": "EUR"}),
        "invalid",
    ),
    Case("no payment", checkout(payment={}), "invalid"),
    Case(
        "two payments",
        checkout(payment={"payment_method": "pm_1", "confirmation_token": "ctoken_1"}),
        "invalid",
    ),
    Case("a card number", checkout(payment={"payment_method": "4242424242424242"}), "invalid"),
    Case("a card number as a question", command("ask", text="4242 4242 4242 4242"), "invalid"),
    Case("a card number as a key", reserve(key="5555555555554444"), "invalid"),
    Case("connecting twice", command("connect", token="x", show=SHOW), "invalid"),
    Case("a forged ticket", command("refresh", token="a.b.c"), "unauthenticated"),
    Case("a binary frame", b'{"type":"ask","id":50,"text":"?"}', "bad_frame", 4501),
    Case("too large a frame", command("ask", text="x" * 600_000), None, 1009),
]


@dataclass
class Scene:
    """Ann and bob with a hold each, and what must never be said or logged."""

    corner: Corner
    ann: Shopper
    bob: Shopper
    hold: str
    bobs_hold: str
    secrets: list[str]

    async def kept(self) -> dict[str, Any]:
        """Everything Redis keeps of the shop, but for the count of viewers."""
        command = self.corner.rooms.lane.command
        names = await command("KEYS", f"hf:{{{self.corner.shop}}}:*")
        return {
            name.decode(): await command("DUMP", name) for name in names if b":viewers:" not in name
        }


@pytest_asyncio.fixture(loop_scope="module")
async def scene(corner: Corner, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Scene]:
    for logger in ("gateway", "uvicorn.error"):
        caplog.set_level(logging.INFO, logger)
    await corner.sells("tee", 9)
    lines = [{"sku": "tee", "quantity": 1}]
    async with corner.shopper("ann") as ann, corner.shopper("bob") as bob:
        hold = (await ann.ask("reserve", key="k", lines=lines))["hold"]["id"]
        bobs = (await bob.ask("reserve", key="k", lines=lines))["hold"]["id"]
        secrets = [corner.ticket("ann"), corner.rooms.settings.secret, EMAIL, BOBS_EMAIL]
        yield Scene(corner, ann, bob, hold, bobs, secrets)
    everything = [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.records]
    for record in everything:
        if record.name.startswith(("gateway", "uvicorn")):
            logged = record.getMessage() + str(record.exc_info or "")
            assert not any(secret in logged for secret in secrets), logged
            ours = record.name.startswith("gateway") and record.name != "gateway.durability"
            assert not ours or record.levelno < logging.WARNING


def is_clear(error: Message, scene: Scene) -> bool:
    """Whether an error is one sentence, without anything that is not the client's business."""
    text = json.dumps(error)
    private = [*scene.secrets, "Traceback", "gateway/", "site-packages", "hf:{"]
    own = scene.bobs_hold not in text and '"bob"' not in text
    return own and len(text) < 500 and not any(word in text for word in private)


async def answer(shopper: Shopper, frame: str | bytes, case: Case) -> Message:
    """Send a frame until it was looked at: a large one uses up what may be sent for two seconds."""
    while True:
        with contextlib.suppress(ConnectionClosed):
            await shopper.socket.send(frame)
        if not case.code:
            return {}
        reply = await shopper.until(lambda it: it["type"] == "error" or it.get("id") == 50)
        if reply.get("code") != "rate_limited":
            return reply
        await asyncio.sleep(reply["retry_after_ms"] / 1000)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_after_the_welcome(scene: Scene, case: Case) -> None:
    before = await scene.kept()
    frame = case.frame
    if isinstance(frame, str):
        frame = frame.replace("HOLD", scene.hold).replace("BOBS", scene.bobs_hold)
    error = await answer(scene.ann, frame, case)
    if case.code:
        assert error["code"] == case.code, error
        assert error.get("id") in {50, None}
        assert is_clear(error, scene)
    if case.close:
        assert await scene.ann.closed() == case.close
    assert await scene.kept() == before
    if not case.close:
        alive = await answer(scene.ann, command("extend", hold=scene.hold), case)
        assert alive["type"] == "hold"
    assert (await scene.bob.ask("extend", hold=scene.bobs_hold))["type"] == "hold"


def signed(site: Site, **claims: Any) -> str:
    whole = {"sub": "ann", "shop": site.shop, "show": SHOW, "exp": int(time.time()) + 60} | claims
    secret = site.rooms.tokens.shop_secret(site.shop)
    return jwt.encode(whole, secret, algorithm="HS256")


BEFORE_THE_WELCOME = [
    Case("not JSON", "let me in", "bad_frame", 4501),
    Case("an unknown type", command("hello"), "unknown_type", 4501),
    Case("no token", command("connect", show=SHOW), "invalid", 4501),
    Case("an endless token", command("connect", show=SHOW, token="x" * 5_000), "invalid", 4501),
    Case("a show with braces", command("connect", show="{x}", token="x"), "invalid", 4501),
    Case("a binary frame", b"\x00\x01", "bad_frame", 4501),
    Case("another command first", reserve(), "unauthenticated", 4502),
    Case(
        "nonsense for a token",
        command("connect", show=SHOW, token="a.b"),
        *("unauthenticated", 4500),
    ),
    Case("an expired token", command("connect", show=SHOW, token="OLD"), "unauthenticated", 4001),
    Case(
        "a token for another show", command("connect", show=SHOW, token="OTHER"), "forbidden", 4500
    ),
    Case("a show that is not", command("connect", show="other", token="OTHER"), "not_found", 4500),
    Case("a key for a token", command("connect", show=SHOW, token="KEY"), "unauthenticated", 4500),
    Case("too large a frame", " " * 600_000, None, 1009),
]


@pytest.mark.parametrize("case", BEFORE_THE_WELCOME, ids=lambda case: case.name)
async def test_before_the_welcome(scene: Scene, case: Case) -> None:
    corner = scene.corner
    tokens = {
        "OLD": signed(corner, exp=int(time.time()) - 60),
        "OTHER": signed(corner, show="other"),
        "KEY": corner.rooms.tokens.sign_key(corner.shop, ("admin",)),
    }
    scene.secrets += tokens.values()
    before = await scene.kept()
    frame = case.frame
    if isinstance(frame, str):
        frame = re.sub("OLD|OTHER|KEY", lambda name: tokens[name[0]], frame)
    async with connected(corner.socket_url) as stranger:
        with contextlib.suppress(ConnectionClosed):
            await stranger.socket.send(frame)
        if case.code:
            error = await stranger.until(bool)
            assert (error["type"], error["code"]) == ("error", case.code)
            assert is_clear(error, scene)
        assert await stranger.closed() == case.close
        assert not stranger.pushes
    assert await scene.kept() == before


async def test_text_that_is_not_utf_8(scene: Scene) -> None:
    before = await scene.kept()
    with contextlib.suppress(ConnectionClosed):
        await scene.ann.socket.send(b'{"type":"ask","id":1,"text":"\xff"}', text=True)
    assert await scene.ann.closed() == 1007
    assert await scene.kept() == before


async def test_too_many_bad_frames(scene: Scene) -> None:
    with contextlib.suppress(ConnectionClosed):
        for _ in range(11):
            await scene.ann.socket.send("?")
    assert await scene.ann.closed() == 4501


async def test_a_frame_in_pieces_is_one_frame(scene: Scene) -> None:
    await scene.ann.socket.send(['{"type":"ask",', '"id":50,', '"text":"?"}'])
    reply = await scene.ann.until(lambda message: message.get("id") == 50)
    assert reply == {"type": "ok", "id": 50}
