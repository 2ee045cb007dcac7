"""The frames of the contract, as they look on the wire."""

import json
from typing import Any

import msgspec
import pytest

from gateway.messages import (
    Ask,
    Checkout,
    CheckoutFrame,
    DrainFrame,
    ErrorFrame,
    Frame,
    HighlightFrame,
    HoldFrame,
    Ok,
    Payment,
    Reserve,
    ShowFrame,
    StockFrame,
    StockState,
    ViewersFrame,
    Welcome,
    encode,
)
from gateway.model import Address, Contact, Fulfillment, Hold, Line, Money, Show

HOLD = Hold(
    "h_1",
    "active",
    (Line("tee", 2, Money(1500, "EUR"), "main"),),
    Money(3000, "EUR"),
    "2026-11-21T20:11:54.123Z",
    Fulfillment(),
)


def wire(frame: Frame) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(encode(frame))
    return said


def test_a_hold_on_the_wire() -> None:
    assert wire(HoldFrame(hold=HOLD, version=7, id=3)) == {
        "type": "hold",
        "id": 3,
        "version": 7,
        "hold": {
            "id": "h_1",
            "state": "active",
            "lines": [
                {
                    "sku": "tee",
                    "quantity": 2,
                    "unit_price": {"amount": 1500, "currency": "EUR"},
                    "location": "main",
                }
            ],
            "total": {"amount": 3000, "currency": "EUR"},
            "expires_at": "2026-11-21T20:11:54.123Z",
            "fulfillment": {"type": "ship", "location": None},
        },
    }


def test_a_welcome_on_the_wire() -> None:
    welcome = Welcome(
        id=0,
        session="s",
        show=Show("tonight", "Tonight", "live"),
        catalog=(),
        stock=StockState(1, 2, {"tee": 3}),
        holds=(),
        orders=(),
        now="2026-11-21T20:11:54.123Z",
        ping_s=20,
        token="t",
        token_ttl_s=900,
        catalog_tag="abc",
    )
    assert wire(welcome) == {
        "type": "welcome",
        "id": 0,
        "session": "s",
        "show": {
            "id": "tonight",
            "title": "Tonight",
            "state": "live",
            "starts_at": None,
            "video": None,
            "highlight": None,
        },
        "catalog": [],
        "stock": {"epoch": 1, "version": 2, "items": {"tee": 3}},
        "holds": [],
        "orders": [],
        "now": "2026-11-21T20:11:54.123Z",
        "ping_s": 20,
        "token": "t",
        "token_ttl_s": 900,
        "catalog_tag": "abc",
    }


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (Ok(), {"type": "ok"}),
        (Ok(id=0), {"type": "ok", "id": 0}),
        (
            StockFrame(epoch=1, version=2, items={"tee": 0}),
            {"type": "stock", "epoch": 1, "version": 2, "items": {"tee": 0}},
        ),
        (HighlightFrame(sku=None), {"type": "highlight", "sku": None}),
        (
            ShowFrame(show="tonight", state="ended"),
            {"type": "show", "show": "tonight", "state": "ended"},
        ),
        (ViewersFrame(count=2), {"type": "viewers", "count": 2}),
        (DrainFrame(within_ms=5), {"type": "drain", "within_ms": 5}),
        (
            CheckoutFrame(hold="h_1", state="queued", position=4),
            {"type": "checkout", "hold": "h_1", "state": "queued", "position": 4},
        ),
        (
            ErrorFrame(code="sold_out", message="Sold out.", sku="tee", available=0, id=1),
            {
                "type": "error",
                "id": 1,
                "code": "sold_out",
                "message": "Sold out.",
                "sku": "tee",
                "available": 0,
            },
        ),
    ],
)
def test_a_frame_on_the_wire(frame: Frame, said: dict[str, Any]) -> None:
    assert wire(frame) == said


@pytest.mark.parametrize(
    "tokens", [{}, {"payment_method": "pm_1", "confirmation_token": "ctoken_1"}]
)
def test_a_payment_has_exactly_one_token(tokens: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError, match="either"):
        msgspec.convert(tokens, Payment)


def test_a_payments_token_is_whichever_was_given() -> None:
    assert Payment(payment_method="pm_1").token == "pm_1"
    assert Payment(confirmation_token="ctoken_1").token == "ctoken_1"


@pytest.mark.parametrize(
    "token", ["4242424242424242", "pm_1/../x", "pm-1", "", "pm_", "tok_1", "pm_" + "x" * 251]
)
def test_what_is_no_token_of_the_provider_is_refused(token: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"payment_method": token}, Payment)


@pytest.mark.parametrize(
    ("kind", "good", "field"),
    [
        (Contact, {"email": "a@example.com"}, "email"),
        (Contact, {"email": "a@example.com"}, "name"),
        (Contact, {"email": "a@example.com"}, "phone"),
        *(
            (Address, {"line1": "1 Main St", "country": "DE"}, field)
            for field in ("line1", "line2", "name", "city", "postal_code", "state", "country")
        ),
        (Ask, {"type": "ask", "id": 1, "text": "?"}, "text"),
    ],
)
@pytest.mark.parametrize("control", ["\x00", "\n", "\r", "\t", "\x1b", "\x7f", "\x85"])
def test_free_text_has_no_control_characters(
    kind: type, good: dict[str, Any], field: str, control: str
) -> None:
    msgspec.convert(good, kind)
    for text in (f"a{control}b", f"ab{control}", f"{control}ab"):
        with pytest.raises(msgspec.ValidationError, match=field):
            msgspec.convert(good | {field: text + ("@b" if field == "email" else "")}, kind)


@pytest.mark.parametrize("name", ["Zoë Müller-Ōno", "李小龍", "O'Neil, Jr.", "👩🏽‍🚀", ""])
def test_names_of_people_are_let_be(name: str) -> None:
    assert msgspec.convert({"email": "a@example.com", "name": name}, Contact).name == name


@pytest.mark.parametrize(
    "email", ["", "a", "a@", "@b", "a b@c", "a@b@c", "a@b\n", "a" * 255 + "@b"]
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"email": email}, Contact)


def test_commands_ship_unless_they_say_otherwise() -> None:
    lines = [{"sku": "tee", "quantity": 1}]
    command = msgspec.convert({"type": "reserve", "id": 1, "key": "k", "lines": lines}, Reserve)
    assert command.fulfillment == Fulfillment("ship")


def test_a_total_beyond_what_money_can_be_is_refused() -> None:
    total = {"amount": 10**11 + 1, "currency": "EUR"}
    with pytest.raises(msgspec.ValidationError, match="amount"):
        msgspec.convert(
            {
                "type": "checkout",
                "id": 1,
                "hold": "h",
                "expected_total": total,
                "payment": {"payment_method": "pm_1"},
                "contact": {"email": "a@b"},
            },
            Checkout,
        )
