"""Form-encoded bodies in Stripe's bracket notation, read into nested dicts.

    amount=1200&metadata[order]=7&payment_method_types[0]=card&expand[]=latest_charge

Lists stay dicts keyed by their index: only the parameter's own type knows whether `[0]` is a
position or a name (`metadata[0]` is a name).
"""

import re
from typing import TypeAlias
from urllib.parse import parse_qsl

from gateway.sandbox.stripe import refusal

Form: TypeAlias = "dict[str, str | Form]"

MAX_FIELDS = 500
MAX_DEPTH = 6

_NAME_AND_KEYS = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_KEY = re.compile(r"\[([^\[\]]*)\]")


def parse(body: str) -> Form:
    """Read an urlencoded body or query string; raises RefusedError where it is not one."""
    try:
        pairs = parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise refusal.malformed(f"Invalid form encoding: {error}") from error
    form: Form = {}
    for name, value in pairs:
        _plant(form, name, value)
    return form


def _plant(form: Form, name: str, value: str) -> None:
    *branches, leaf = _path(name)
    for key in branches:
        below = form.setdefault(key or str(len(form)), {})
        if isinstance(below, str):
            raise _clash(name)
        form = below
    leaf = leaf or str(len(form))
    if isinstance(form.get(leaf), dict):
        raise _clash(name)
    form[leaf] = value


def _path(name: str) -> list[str]:
    match = _NAME_AND_KEYS.fullmatch(name)
    shown = name[:100]
    if match is None:
        raise refusal.malformed(f"Invalid parameter name: {shown}", param=shown)
    path = [match[1], *_KEY.findall(match[2])]
    if len(path) > MAX_DEPTH:
        raise refusal.malformed(f"Parameter nested too deeply: {shown}", param=shown)
    return path


def _clash(name: str) -> refusal.RefusedError:
    message = f"Parameter given both as a value and as an object: {name}"
    return refusal.malformed(message, param=name)
