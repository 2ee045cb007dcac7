"""Stripe's contract, as a check: the SDK's generated types and the published example resources."""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import pytest
import stripe

Json = dict[str, Any]

FIXTURES = Path(__file__).parents[2] / "shared" / "data" / "stripe-fixtures3.json"

_TYPES: dict[str, type[stripe.StripeObject]] = {
    "account": stripe.Account,
    "balance": stripe.Balance,
    "charge": stripe.Charge,
    "confirmation_token": stripe.ConfirmationToken,
    "event": stripe.Event,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "refund": stripe.Refund,
}


def violations(resource: Json) -> list[str]:
    """Where `resource` is not what the SDK's type for it promises."""
    kind = resource["object"]
    return list(_against_class(resource, _TYPES[kind], kind))


def example(kind: str) -> Json:
    """Stripe's own example of a resource; skips the test where the file is missing."""
    if not FIXTURES.exists():
        pytest.skip(f"{FIXTURES.name} is not in ../shared/data")
    resources: dict[str, Json] = json.loads(FIXTURES.read_text())["resources"]
    return resources[kind]


def deviations(resource: Json, model: Json, path: str = "") -> list[str]:
    """Members that Stripe's example does not have, or has with another JSON type."""
    found = []
    # The examples are older than the SDK in use, which may know members they lack.
    known = {} if path else _TYPES[resource["object"]].__annotations__
    for name, value in resource.items():
        here = f"{path}.{name}"
        # An empty object in the example says nothing about its members, and one of another type
        # ("card" where this is "ideal") nothing about this type's.
        if name not in model and name == resource.get("type"):
            continue
        if name not in model:
            found += [f"{here}: not in the example"] if model and name not in known else []
        elif None not in (value, model[name]) and type(value) is not type(model[name]):
            found.append(f"{here}: {type(value).__name__}, not {type(model[name]).__name__}")
        elif isinstance(value, dict) and isinstance(model[name], dict) and name not in OPEN:
            found += deviations(value, model[name], here)
    return found


OPEN = frozenset(
    {
        # Objects whose members depend on a variant, on the caller, or are examples of another kind.
        "metadata",
        "next_action",
        "last_payment_error",
        "payment_method_preview",
        "payment_method_options",
        "automatic_payment_methods",
        "data",
        "wallet",
    }
)


def _against_class(value: object, of: type[Any], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is not an object"
        return
    for name, annotation in of.__annotations__.items():
        if name.isupper():  # a constant of the class, not a member of the object
            continue
        if name in value:
            yield from _against(value[name], annotation, f"{path}.{name}")
        elif type(None) not in get_args(annotation):
            yield f"{path}.{name}: required and missing"


def _against(
    value: object,
    annotation: Any,
    path: str,
) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, ForwardRef):
        yield from _against(value, getattr(stripe, annotation.__forward_arg__), path)
    elif origin in (Union, types.UnionType):
        yield from _against_union(value, arguments, path)
    elif origin is Literal:
        if value not in arguments:
            yield f"{path}: {value!r} is none of {arguments}"
    elif origin in (list, stripe.ListObject):
        items = value["data"] if isinstance(value, dict) else value
        for index, item in enumerate(items if isinstance(items, list) else [items]):
            yield from _against(item, arguments[0], f"{path}[{index}]")
    elif origin is not None or annotation is Any:
        if origin is not None and not isinstance(value, dict):
            yield f"{path}: {value!r} is not an object"
    elif issubclass(annotation, stripe.StripeObject):
        yield from _against_class(value, annotation, path)
    elif type(value) is not annotation:
        yield f"{path}: {value!r} is not {annotation.__name__}"


def _against_union(value: object, members: tuple[Any, ...], path: str) -> Iterator[str]:
    if value is None and type(None) in members:
        return
    # `Literal[...] | str` is how the SDK leaves room for new words; the sandbox has no need of it.
    words = [member for member in members if get_origin(member) is Literal]
    if words and isinstance(value, str):
        yield from _against(value, words[0], path)
        return
    rest = [member for member in members if member is not type(None)]
    tried = [list(_against(value, member, path)) for member in rest]
    if all(tried):
        yield from min(tried, key=len)
