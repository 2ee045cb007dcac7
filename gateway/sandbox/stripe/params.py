"""What a parameter may be: the types endpoints declare, and Stripe's words for what is not one.

A spec is a mapping from names to types. `read` turns a form into typed values or raises the
RefusedError that Stripe would answer with; nothing has been done by then.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from gateway.sandbox.stripe import refusal
from gateway.sandbox.stripe.forms import Form

MAX_TEXT = 5000
MAX_ITEMS = 100
METADATA_KEYS, METADATA_KEY, METADATA_VALUE = 50, 40, 500

# Longer digits are not an amount, a limit or a time, and int() of thousands of them is slow.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")

Params: TypeAlias = dict[str, Any]


class Kind(Protocol):
    """A parameter's type."""

    def read(self, value: "str | Form", param: str) -> object:
        """The typed value; raises RefusedError naming `param`."""


Spec: TypeAlias = Mapping[str, Kind]


def read(spec: Spec, form: Form, required: Iterable[str] = (), inside: str = "") -> Params:
    """Check `form` against `spec`; `inside` is the parameter this form is the value of."""

    def param(name: str) -> str:
        return f"{inside}[{name}]" if inside else name

    unknown = [param(name) for name in form if name not in spec]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        message = f"Received unknown parameter{plural}: {', '.join(unknown)}"
        raise refusal.malformed(message, code="parameter_unknown", param=unknown[0])
    for name in required:
        if name not in form:
            message = f"Missing required param: {param(name)}."
            raise refusal.malformed(message, code="parameter_missing", param=param(name))
    return {name: spec[name].read(value, param(name)) for name, value in form.items()}


def _text(value: "str | Form", param: str) -> str:
    if not isinstance(value, str):
        raise refusal.malformed("Invalid string", param=param)
    if not value:
        message = (
            f"You passed an empty string for '{param}'. We assume empty values are an attempt to "
            f"unset a parameter; however '{param}' cannot be unset. You should remove '{param}' "
            "from your request or supply a non-empty value."
        )
        raise refusal.malformed(message, code="parameter_invalid_empty", param=param)
    return value


def _form(value: "str | Form", param: str, what: str) -> Form:
    if isinstance(value, str):
        raise refusal.malformed(f"Invalid {what}", param=param)
    return value


@dataclass(frozen=True, slots=True)
class Text:
    """A string of at most `longest` characters, never empty."""

    longest: int = MAX_TEXT

    def read(self, value: "str | Form", param: str) -> str:
        """The string itself."""
        text = _text(value, param)
        if len(text) > self.longest:
            message = f"Invalid string: {text[:20]}...; must be at most {self.longest} characters"
            raise refusal.malformed(message, param=param)
        return text


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number, optionally bounded."""

    least: int | None = None
    most: int | None = None

    def read(self, value: "str | Form", param: str) -> int:
        """The number."""
        text = _text(value, param)
        if _INTEGER.fullmatch(text) is None:
            raise self._refused(f"Invalid integer: {text[:40]}", param)
        number = int(text)
        if self.least is not None and number < self.least:
            raise self._refused(f"This value must be greater than or equal to {self.least}.", param)
        if self.most is not None and number > self.most:
            raise self._refused(f"This value must be less than or equal to {self.most}.", param)
        return number

    @staticmethod
    def _refused(message: str, param: str) -> refusal.RefusedError:
        return refusal.malformed(message, code="parameter_invalid_integer", param=param)


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`."""

    def read(self, value: "str | Form", param: str) -> bool:
        """The boolean."""
        text = _text(value, param).lower()
        if text not in ("true", "false"):
            raise refusal.malformed(f"Invalid boolean: {text[:40]}", param=param)
        return text == "true"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: "str | Form", param: str) -> str:
        """The word."""
        text = _text(value, param)
        if text not in self.words:
            *firsts, last = self.words
            words = f"{', '.join(firsts)} or {last}" if firsts else last
            raise refusal.malformed(f"Invalid {param}: must be one of {words}", param=param)
        return text


@dataclass(frozen=True, slots=True)
class Unsettable:
    """What may also be empty, which takes a stored value away."""

    kind: Kind

    def read(self, value: "str | Form", param: str) -> object:
        """The typed value, or None for an empty one."""
        return None if value == "" else self.kind.read(value, param)


@dataclass(frozen=True, slots=True)
class Record:
    """An object with named members."""

    members: Spec
    required: tuple[str, ...] = ()

    def read(self, value: "str | Form", param: str) -> Params:
        """Its members, typed; those left out stay out."""
        return read(self.members, _form(value, param, "object"), self.required, param)


@dataclass(frozen=True, slots=True)
class Items:
    """A list, in the order of its indices."""

    item: Kind

    def read(self, value: "str | Form", param: str) -> list[object]:
        """The items."""
        form = _form(value, param, "array")
        if len(form) > MAX_ITEMS or not all(re.fullmatch("[0-9]{1,4}", key) for key in form):
            raise refusal.malformed("Invalid array", param=param)
        keys = sorted(form, key=int)
        return [self.item.read(form[key], f"{param}[{key}]") for key in keys]


@dataclass(frozen=True, slots=True)
class Removed:
    """A parameter Stripe once took, and now refuses with a code and a message of its own."""

    code: str
    message: str

    def read(self, value: "str | Form", param: str) -> object:  # noqa: ARG002 - no value will do
        """Always raises RefusedError."""
        raise refusal.malformed(self.message, code=self.code, param=param)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The caller's own notes: up to 50 short keys with short values; "" unsets a key."""

    def read(self, value: "str | Form", param: str) -> dict[str, str]:
        """Keys and values."""
        form = _form(value, param, "object")
        if len(form) > METADATA_KEYS:
            message = f"Metadata can have at most {METADATA_KEYS} keys."
            raise refusal.malformed(message, param=param)
        notes: dict[str, str] = {}
        for key, note in form.items():
            if not isinstance(note, str) or len(key) > METADATA_KEY or len(note) > METADATA_VALUE:
                message = (
                    f"Invalid metadata: keys have at most {METADATA_KEY} characters, "
                    f"values are strings of at most {METADATA_VALUE}."
                )
                raise refusal.malformed(message, param=f"{param}[{key[:METADATA_KEY]}]")
            notes[key] = note
        return notes


@dataclass(frozen=True, slots=True)
class Moment:
    """A time filter: `created=1700000000`, or `created[gte]=…` with gt, gte, lt, lte."""

    def read(self, value: "str | Form", param: str) -> dict[str, int]:
        """Comparisons by name; a bare time is {"eq": time}."""
        if isinstance(value, str):
            return {"eq": Integer().read(value, param)}
        bounds: Spec = dict.fromkeys(("gt", "gte", "lt", "lte"), Integer())
        return read(bounds, value, inside=param)
