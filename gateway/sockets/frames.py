"""JSON text from a socket into a typed command. Pure.

What is not one JSON object is a bad frame; an object that is not a command we know is an unknown
type; a command with a wrong field is invalid, and the message names the field.
"""

import json
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from gateway.errors import BadFrame, HoldfastError, Invalid, UnknownType
from gateway.messages import AnyCommand, ErrorFrame
from gateway.model import Money
from gateway.sockets.cards import card_numbers

_COMMAND: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)


class _Envelope(Struct):
    id: int | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def decode(text: str) -> AnyCommand:
    """Read a command.

    Raises:
        BadFrame, UnknownType, Invalid: see above.
    """
    try:
        command = _COMMAND.decode(text)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadFrame("This is not JSON.") from None
    if repeats_a_key(text):
        raise BadFrame("A key appears twice in one object.")
    if set(card_numbers(text)) - {str(command.id)}:
        raise Invalid("Card numbers are never sent here; the payment form takes them.")
    return command


def id_of(text: str) -> int | None:
    """The ``id`` of a frame that may be wrong otherwise, so that its error can carry it."""
    try:
        number = _ENVELOPE.decode(text).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return number if number is not None and 0 <= number < 2**53 else None


def error_frame(error: HoldfastError, command: int | None) -> ErrorFrame:
    """Say an error as a frame; as the reply to a command when its id is known."""
    facts: dict[str, Any] = {
        name: fact for name, fact in error.facts.items() if name in ErrorFrame.__struct_fields__
    }
    if isinstance(total := facts.get("total"), dict):
        facts["total"] = Money(**total)
    reply_to = UNSET if command is None else command
    return ErrorFrame(id=reply_to, code=error.code, message=error.message, **facts)


def repeats_a_key(text: str) -> bool:
    """Whether some object of a valid JSON text has a key twice; parsers silently keep the last.

    Without escapes a quote always begins or ends a string, and only a key is followed by a colon.
    So the keys can be picked out cheaply, and if all differ nothing repeats. Else look properly.
    """
    if "\\" not in text:
        parts = text.split('"')
        keys = [
            parts[at] for at in range(1, len(parts) - 1, 2) if parts[at + 1].lstrip()[:1] == ":"
        ]
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


def _explain(reason: str) -> HoldfastError:
    """Turn msgspec's reason into an error that names the field as the client wrote it."""
    rule, _, path = reason.partition(" - at `$.")
    where = path.rstrip("`")
    if not where and rule.startswith("Expected `object`"):
        return BadFrame("A frame is one JSON object.")
    if where == "type" or (not where and "required field `type`" in rule):
        return UnknownType("The type names no command.")
    if rule.startswith("Invalid enum value"):
        rule = "Not one of the words allowed here"  # msgspec repeats the value, however long
    return Invalid(f"{where}: {rule}." if where else f"{rule}.")
