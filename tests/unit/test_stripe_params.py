"""Every type of parameter takes what it should and refuses the rest in Stripe's words."""

from typing import Any

import pytest

from gateway.sandbox.stripe import forms, params
from gateway.sandbox.stripe.params import (
    Choice,
    Flag,
    Integer,
    Items,
    Metadata,
    Moment,
    Record,
    Spec,
    Text,
    Unsettable,
)
from gateway.sandbox.stripe.refusal import RefusedError

SPEC: Spec = {
    "amount": Integer(least=1, most=999),
    "confirm": Flag(),
    "created": Moment(),
    "metadata": Metadata(),
    "name": Text(10),
    "shipping": Record({"city": Text(), "name": Text()}, required=("name",)),
    "speed": Choice(("slow", "fast")),
    "types": Items(Text()),
    "when": Unsettable(Choice(("manual",))),
}


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ("amount=12", {"amount": 12}),
        ("confirm=true", {"confirm": True}),
        ("confirm=false", {"confirm": False}),
        ("created=17", {"created": {"eq": 17}}),
        ("created[gte]=17&created[lt]=20", {"created": {"gte": 17, "lt": 20}}),
        ("metadata[0]=a&metadata[b]=", {"metadata": {"0": "a", "b": ""}}),
        ("shipping[name]=Ann", {"shipping": {"name": "Ann"}}),
        ("speed=fast", {"speed": "fast"}),
        ("types[1]=b&types[0]=a", {"types": ["a", "b"]}),
        ("when=manual", {"when": "manual"}),
        ("when=", {"when": None}),
    ],
)
def test_reads(body: str, read: dict[str, Any]) -> None:
    assert params.read(SPEC, forms.parse(body)) == read


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ("colour=red", "parameter_unknown", "colour"),
        ("shipping[name]=a&shipping[zip]=1", "parameter_unknown", "shipping[zip]"),
        ("shipping[city]=Ulm", "parameter_missing", "shipping[name]"),
        ("amount=abc", "parameter_invalid_integer", "amount"),
        ("amount=1.5", "parameter_invalid_integer", "amount"),
        ("amount=0x5", "parameter_invalid_integer", "amount"),
        ("amount=%20 2", "parameter_invalid_integer", "amount"),
        ("amount=0", "parameter_invalid_integer", "amount"),
        ("amount=1000", "parameter_invalid_integer", "amount"),
        ("amount=" + "9" * 5000, "parameter_invalid_integer", "amount"),
        ("amount=", "parameter_invalid_empty", "amount"),
        ("amount[x]=1", None, "amount"),
        ("confirm=yes", None, "confirm"),
        ("created[ge]=1", "parameter_unknown", "created[ge]"),
        ("name=elevenchars", None, "name"),
        ("shipping=here", None, "shipping"),
        ("speed=medium", None, "speed"),
        ("types=card", None, "types"),
        ("types[a]=card", None, "types"),
        ("metadata=note", None, "metadata"),
        ("metadata[a][b]=note", None, "metadata[a]"),
        ("metadata[a]=" + "x" * 501, None, "metadata[a]"),
        ("&".join(f"metadata[k{n}]=x" for n in range(51)), None, "metadata"),
    ],
)
def test_refuses(body: str, code: str | None, param: str) -> None:
    with pytest.raises(RefusedError) as refused:
        params.read(SPEC, forms.parse(body))
    assert (refused.value.status, refused.value.executed) == (400, False)
    assert refused.value.error["type"] == "invalid_request_error"
    assert refused.value.error.get("code") == code
    assert refused.value.error["param"] == param


def test_names_what_is_missing() -> None:
    with pytest.raises(RefusedError, match=r"Missing required param: amount\."):
        params.read(SPEC, {}, ("amount",))
