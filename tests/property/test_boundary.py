"""Odd input never reaches Redis: the types of the wire refuse it while it is decoded."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import HoldfastError
from gateway.keys import ShopKeys
from gateway.messages import Reserve
from gateway.model import MAX_QUANTITY, CatalogEntry, Movement
from gateway.settings import SettingsError
from gateway.sockets import frames
from gateway.stock.holds import hold_id, order_id
from gateway.tickets import Ticket
from tests.depth import deep
from tests.stall import settings_for

pytestmark = deep

GOOD = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

MOVEMENT: dict[str, Any] = {
    "reference_id": "r1",
    "kind": "received",
    "sku": "tee",
    "location": "main",
    "quantity": 1,
    "occurred_at": "2026-11-21T20:00:00.000Z",
    "source": "pos",
}

good_ids = st.from_regex(GOOD, fullmatch=True)
odd_ids = st.one_of(
    st.text().filter(lambda text: not GOOD.fullmatch(text)),
    good_ids.flatmap(
        lambda text: st.sampled_from(["{%s}", "%s}", "%s:", "%s\n", "%s\0", " %s", "é%s"]).map(
            lambda form: form % text
        )
    ),
    st.sampled_from(["", "a" * 65, "tee\n", "١٢٣", "\uff54ee", "tee\u200b"]),
    st.sampled_from([None, 1, True, ["tee"], {"tee": 1}]),
)
whole = st.integers(1, MAX_QUANTITY)
odd_quantities = st.one_of(
    st.integers().filter(lambda number: not 1 <= number <= MAX_QUANTITY),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([None, True, "1", "0x5", " 2 ", "nan", [1], {"1": 1}]),
)


def reserve(key: Any = "k1", sku: Any = "tee", quantity: Any = 1) -> dict[str, Any]:
    line = {"sku": sku, "quantity": quantity}
    return {"type": "reserve", "id": 1, "key": key, "lines": [line]}


def refused(frame: dict[str, Any]) -> None:
    with pytest.raises(HoldfastError) as refusal:
        frames.decode(json.dumps(frame))
    assert refusal.value.code in {"invalid", "bad_frame"}


@given(odd_ids)
def test_odd_ids_are_no_commands(odd: Any) -> None:
    refused(reserve(key=odd))
    refused(reserve(sku=odd))
    refused({"type": "extend", "id": 1, "hold": odd})
    refused({"type": "release", "id": 1, "hold": odd})
    refused({**reserve(), "fulfillment": {"type": "pickup", "location": odd or "{}"}})


@given(odd_quantities)
@example(1.0)
@example(-1)
@example(0)
@example(2**63)
def test_odd_quantities_are_no_commands(odd: Any) -> None:
    refused(reserve(quantity=odd))


@pytest.mark.parametrize(
    "number", ["1e400", "NaN", "Infinity", "0x5", "01", "1" * 5000, "-0", ".5"]
)
def test_numbers_that_json_does_not_know_or_nobody_needs(number: str) -> None:
    text = json.dumps(reserve(quantity="@")).replace('"@"', number)
    with pytest.raises(HoldfastError) as refusal:
        frames.decode(text)
    assert refusal.value.code in {"invalid", "bad_frame"}


@given(odd_ids)
def test_odd_ids_are_no_movements_products_or_tickets(odd: Any) -> None:
    product = {"sku": "tee", "title": "Tee", "price": {"amount": 1, "currency": "EUR"}}
    ticket = {"sub": "ann", "shop": "demo", "show": "tonight", "exp": 1}
    wire: list[tuple[type, dict[str, Any], tuple[str, ...]]] = [
        (Movement, MOVEMENT, ("reference_id", "sku", "location", "source")),
        (CatalogEntry, product, ("sku",)),
        (Ticket, ticket, ("sub", "shop", "show")),
    ]
    for kind, good, fields in wire:
        assert isinstance(msgspec.convert(good, kind), kind)
        for field in fields:
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({**good, field: odd}, kind)


@given(st.integers().filter(lambda units: abs(units) > MAX_QUANTITY))
def test_a_movement_is_bounded(units: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**MOVEMENT, "quantity": units}, Movement)


@given(odd_ids.filter(lambda odd: isinstance(odd, str) and bool(odd)))
def test_a_gateway_of_an_oddly_named_shop_does_not_start(odd: str) -> None:
    with pytest.raises(SettingsError):
        settings_for("redis://127.0.0.1", odd)


@given(good_ids, good_ids, good_ids, whole)
def test_good_ids_are_commands_and_stay_in_their_shops_slot(
    shop: str, shopper: str, key: str, units: int
) -> None:
    command = frames.decode(json.dumps(reserve(key=key, sku=shopper, quantity=units)))
    assert isinstance(command, Reserve)
    keys, hold = ShopKeys(shop), hold_id(shop, shopper, key)
    names = (keys.hold(hold), keys.shopper(shopper), keys.movement(key), keys.order(order_id(hold)))
    for name in names:
        assert name.startswith(f"hf:{{{shop}}}:")
        assert (name.count("{"), name.count("}"), name.count(":")) == (1, 1, 3)
    assert GOOD.fullmatch(hold)
    assert GOOD.fullmatch(order_id(hold))
