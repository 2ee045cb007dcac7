"""No secret is shown: not by what a gateway is made of, nor by its frames, nor by its errors."""

import dataclasses
import importlib
import logging
import pkgutil
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import gateway
from gateway.__main__ import main
from gateway.app import assemble
from gateway.checkout.payment import Payments
from gateway.claims.address import open_claims
from gateway.clock import SystemClock
from gateway.demo.home import new_secrets
from gateway.discreet import SECRET
from gateway.environment import read
from gateway.errors import Unavailable
from gateway.lane import Lane, connect
from gateway.messages import Connect, Payment, Refresh, Refreshed
from gateway.pos.fence import Fence
from gateway.settings import SettingsError

PLANTED = "geheim"
ENVIRONMENT = {
    "REDIS_URL": f"redis://user:{PLANTED}@127.0.0.1:1/0",
    "STRIPE_API_KEY": f"sk_test_{PLANTED}0123456789",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{PLANTED}0123456789",
    "HOLDFAST_SECRET": f"{PLANTED}-of-the-tests-0123456789abcdef",
}
POSTGRES = f"postgresql://user:{PLANTED}@127.0.0.1:1/x?password={PLANTED}"
DEEP, MANY = 12, 50_000


def parts_of(thing: object) -> Iterator[object]:
    """What an object is made of, one level down."""
    if isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from thing
    else:
        yield from getattr(thing, "__dict__", {}).values()
        names = [name for kind in type(thing).__mro__ for name in _slots(kind)]
        names += getattr(thing, "__struct_fields__", ())
        yield from (getattr(thing, name) for name in names if hasattr(thing, name))


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def telltales(root: object) -> list[str]:
    """The kinds of things within an object whose words hold what was planted."""
    found, seen, waiting = [], set[int](), [(root, 0)]
    kept = []  # An id means nothing once its object is gone.
    while waiting and len(seen) < MANY:
        thing, depth = waiting.pop()
        plain = isinstance(thing, (str, bytes, int, float, type)) or thing is None
        if plain or id(thing) in seen or depth > DEEP:
            continue
        seen.add(id(thing))
        kept.append(thing)
        # A container shows what its values do not hide; those of a ``__dict__`` are not shown.
        if not isinstance(thing, (dict, list, tuple, set)) and _tells(thing):
            found.append(type(thing).__qualname__)
        waiting += [(part, depth + 1) for part in parts_of(thing)]
    return found


def _tells(thing: object) -> bool:
    try:
        return PLANTED in f"{thing!r} {thing!s}"
    except Exception:
        return False  # Some of the libraries' own cannot be shown at all.


async def test_nothing_a_gateway_is_made_of_shows_a_secret() -> None:
    settings = read(ENVIRONMENT | {"HOLDFAST_CLAIMS_URL": POSTGRES})
    lane, clock = Lane(settings), SystemClock()
    made = assemble(
        settings,
        clock=clock,
        rng=random.Random(1),
        lane=lane,
        payments=Payments(settings, lane, clock),
        claims=open_claims(settings),
    )
    lane._track(None)
    assert telltales([made, connect(settings), Fence.around("")]) == []
    await made.rooms.aclose()


def test_a_telltale_would_be_found() -> None:
    @dataclasses.dataclass
    class Careless:
        secret: str

    class Outer:
        def __init__(self) -> None:
            self.inner = [{"one": Careless(PLANTED)}]

    assert len(telltales(Outer())) == 1


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            members = vars(importlib.import_module(module.name)).values()
            yield from (one for one in members if isinstance(one, type))


def test_no_struct_or_dataclass_shows_a_field_that_is_secret_by_its_name() -> None:
    careless = set[str]()
    for one in _classes():
        if issubclass(one, msgspec.Struct) and one.__module__.startswith("gateway"):
            if SECRET & {*one.__struct_fields__} and one.__repr__ is msgspec.Struct.__repr__:
                careless.add(one.__qualname__)
        elif dataclasses.is_dataclass(one) and one.__module__.startswith("gateway"):
            shown = {field.name for field in dataclasses.fields(one) if field.repr}
            if SECRET & shown:
                careless.add(one.__qualname__)
    assert careless == set()


@pytest.mark.parametrize(
    "said",
    [
        Connect(id=1, token=PLANTED, show="tonight"),
        Refresh(id=1, token=PLANTED),
        Refreshed(token=PLANTED, token_ttl_s=9),
        Payment(payment_method=f"pm_{PLANTED}"),
        new_secrets(),
    ],
)
def test_frames_show_what_they_are_and_no_secret(said: Any) -> None:
    text = repr(said)
    assert text.startswith(type(said).__name__)
    assert PLANTED not in text
    assert "***" in text
    assert "tonight" in text or not isinstance(said, Connect)


BROKEN = [
    ("REDIS_URL", f"redis://:{PLANTED}@127.0.0.1:99999/0"),
    ("REDIS_URL", f"http://:{PLANTED}@127.0.0.1/0"),
    ("HOLDFAST_CLAIMS_URL", f"postgresql://u:{PLANTED}%zz@127.0.0.1/x"),
    ("HOLDFAST_CLAIMS_URL", f"postgresql://u:a@{PLANTED}@127.0.0.1/x"),
    ("HOLDFAST_CLAIMS_URL", f"postgres://u:{PLANTED}@127.0.0.1/x"),
    ("HOLDFAST_SECRET", PLANTED),
    ("STRIPE_API_KEY", PLANTED),
]


@pytest.mark.parametrize(("name", "value"), BROKEN, ids=range(len(BROKEN)))
def test_a_wrong_setting_is_named_without_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(ENVIRONMENT | {name: value})
    assert name in str(refused.value)
    assert PLANTED not in repr(refused.value)
    assert refused.value.__cause__ is None


def test_a_redis_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, value in (ENVIRONMENT | {"HOLDFAST_REDIS_TIMEOUT_MS": "100"}).items():
        monkeypatch.setenv(name, value)
    assert main(["audit"]) == 1
    said = "".join(capfd.readouterr()) + caplog.text
    assert "does not answer" in said
    assert PLANTED not in said


@pytest.mark.parametrize(
    "address",
    [
        POSTGRES,
        f"postgresql://u:{PLANTED}@127.0.0.1:1/x?bogus={PLANTED}",
        f"postgresql://u:{PLANTED}%zz@127.0.0.1:1/x",  # as if nobody had looked at it before
    ],
    ids=["nobody there", "an unknown word", "no password that can be read"],
)
async def test_a_table_of_claims_that_does_not_answer_is_named_without_its_password(
    caplog: pytest.LogCaptureFixture, address: str
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = msgspec.structs.replace(read(ENVIRONMENT), claims_url=address)
    claims = open_claims(settings)
    assert claims
    with pytest.raises(Unavailable) as failed:
        await claims.shops()
    said = f"{failed.value!r} {failed.value.__cause__!r} {claims} {caplog.text}"
    assert "127.0.0.1" in said
    assert PLANTED not in said
    await claims.aclose()
