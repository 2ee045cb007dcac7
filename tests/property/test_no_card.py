"""What we and our callers make at random is not taken for a card number: how often is bounded."""

import base64
import random
import uuid
from collections.abc import Callable

import jwt
import pytest

from gateway.cards import holds_card_number
from gateway.orders.entry import event_id
from gateway.stock.holds import hold_id, order_id
from tests.depth import deep, many

pytestmark = deep

DRAW = random.Random(20261121)
BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
DRAWN = many("DRAWN", 10_000, 20_000)


def drawn(alphabet: str, length: int) -> str:
    return "".join(DRAW.choices(alphabet, k=length))


def hold() -> str:
    return hold_id("demo", drawn(BASE62, 8), drawn(BASE62, 8))


def token() -> str:
    claims = {"sub": drawn(BASE62, 20), "shop": "demo", "show": "tonight", "exp": 1763755914}
    return jwt.encode(claims, drawn(BASE62, 43), algorithm="HS256")


def client_secret() -> str:
    return f"pi_{drawn(BASE62, 24)}_secret_{drawn(BASE62, 25)}"


def pos_reference() -> str:
    day, till, number = DRAW.randrange(1, 29), DRAW.randrange(1, 10_000), DRAW.randrange(10**6)
    return f"{till:04d}-202611{day:02d}-{number:06d}"


MADE_AT_RANDOM: dict[str, Callable[[], str]] = {
    "hold": hold,
    "order": lambda: order_id(hold()),
    "event": lambda: event_id(order_id(hold()), 1),
    "time in ms": lambda: str(DRAW.randrange(10**12, 2 * 10**12)),
    "time in µs": lambda: str(DRAW.randrange(10**15, 2 * 10**15)),
    "cursor": lambda: f"{DRAW.randrange(10**12, 2 * 10**12)}-{DRAW.randrange(10**4)}",
    "UUID": lambda: str(uuid.UUID(int=DRAW.getrandbits(128), version=4)),
    "UUID in an id": lambda: f"key_{uuid.UUID(int=DRAW.getrandbits(128), version=4)}",
    "MD5": lambda: f"{DRAW.getrandbits(128):032x}",
    "SHA-256": lambda: f"{DRAW.getrandbits(256):064x}",
    "trace": lambda: f"00-{DRAW.getrandbits(128):032x}-{DRAW.getrandbits(64):016x}-01",
    "payment method": lambda: f"pm_{drawn(BASE62, 24)}",
    "client secret": client_secret,
    "token": token,
    "webhook secret": lambda: "whsec_" + base64.b64encode(DRAW.randbytes(32)).decode(),
    "base64": lambda: base64.urlsafe_b64encode(DRAW.randbytes(300)).decode(),
    "telephone": lambda: f"+{DRAW.randrange(1, 100)} {DRAW.randrange(10**2, 10**11)}",
    "barcode": lambda: f"{DRAW.randrange(10**13):013d}",
    "till's reference": pos_reference,
    "fraction": lambda: repr(DRAW.uniform(0, 180)),
}


@pytest.mark.parametrize("kind", MADE_AT_RANDOM)
def test_it_is_not_taken_for_a_card_number(kind: str) -> None:
    """At most 1 in 10,000 of any kind; the arithmetic of base64 says 1 in 10^9 tokens."""
    make = MADE_AT_RANDOM[kind]
    taken = [one for one in (make() for _ in range(DRAWN)) if holds_card_number(one)]
    assert len(taken) <= DRAWN // 10_000, taken


def test_of_sixteen_random_digits_one_in_twenty_is_at_most() -> None:
    """Whoever numbers things so will be refused now and then: nobody can tell them apart."""
    taken = sum(holds_card_number(str(DRAW.randrange(10**15, 10**16))) for _ in range(DRAWN))
    assert taken < DRAWN / 20
