"""JSON that a client sent, read into a type; strictly, for two readers must understand the same.

A decoder alone would let pass what another reader takes for something else: a key twice in one
object, of which parsers silently keep the last; NUL, where some end a string; half a surrogate
pair, which is no character. Card numbers are refused here too, before anything else is said of the
text: every door that reads JSON reads it here. Pure.
"""

import json
import re
from typing import TypeVar

import msgspec

from gateway.cards import refuse_card_numbers

T = TypeVar("T")

_COLON = re.compile(r"\s*:")
_ESCAPES = re.compile(r"(?:\\(?:u[0-9A-Fa-f]{4}|.))+", re.DOTALL)


class NotStrict(ValueError):
    """A text that is not read, and in one sentence why; it repeats nothing of the text."""


class NotJson(NotStrict):
    """The text is no JSON, or nested beyond reason."""


class RepeatedKey(NotStrict):
    """Some object of the text has a key twice."""


class HoldsNul(NotStrict):
    """A string of the text holds a NUL character."""


def decode(text: str, decoder: msgspec.json.Decoder[T]) -> T:
    """Read a text into the decoder's type.

    Raises:
        Invalid: it holds a card number.
        NotJson, RepeatedKey, HoldsNul: it is not strict JSON.
        msgspec.ValidationError: it is not of that type.
    """
    try:
        said = unescaped(text)
        refuse_card_numbers(said)
        value = decoder.decode(text)
        said.encode()  # Where nobody reads a string, the decoder has not looked for surrogates.
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeError):
        raise NotJson("This is not JSON.") from None
    except RecursionError:
        raise NotJson("This is nested too deeply.") from None
    if "\0" in said:
        raise HoldsNul("There is a NUL character in this.")
    if repeats_a_key(text):
        raise RepeatedKey("A key appears twice in one object.")
    return value


def unescaped(text: str) -> str:
    r"""A JSON text with what its escapes say: ``\u0034`` is a 4 like any other.

    Raises:
        NotJson: an escape is none of JSON's.
    """
    if "\\" not in text:
        return text
    try:
        return _ESCAPES.sub(lambda escapes: str(json.loads(f'"{escapes[0]}"')), text)
    except ValueError:
        raise NotJson("This is not JSON.") from None


def repeats_a_key(text: str) -> bool:
    """Whether some object of a valid JSON text has a key twice.

    Without escapes a quote always begins or ends a string, and only a key is followed by a colon.
    So the strings can be picked out cheaply, and the keys among them; if all differ nothing
    repeats. Else look properly.
    """
    if "\\" not in text:
        parts = text.split('"')
        strings = parts[1::2]
        if len(strings) == len(set(strings)):
            return False
        keys = [key for key, rest in zip(strings, parts[2::2], strict=True) if _COLON.match(rest)]
        if len(keys) == len(set(keys)):
            return False
    try:
        # Numbers are left as text: reading 5,000 digits takes long, and Python refuses to.
        json.loads(text, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return True
    return False


def _distinct(members: list[tuple[str, object]]) -> None:
    if len({name for name, _ in members}) < len(members):
        raise ValueError("a key appears twice")
