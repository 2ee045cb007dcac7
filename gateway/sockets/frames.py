"""JSON text from a socket into a typed command. Pure.

What is not one JSON object is a bad frame; an object that is not a command we know is an unknown
type; a command with a wrong field is invalid, and the message names the field.
"""

import json

import msgspec
from msgspec import Struct

from gateway.errors import BadFrame, HoldfastError, Invalid, UnknownType
from gateway.messages import AnyCommand, ErrorFrame

_COMMAND: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)


class _Envelope(Struct):
    type: str | None = None
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
    return msgspec.convert(
        {
            "type": "error",
            "code": error.code,
            "message": error.message,
            **({} if command is None else {"id": command}),
            **error.facts,
        },
        ErrorFrame,
    )


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
        json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        return True
    return False


def _distinct(members: list[tuple[str, object]]) -> None:
    if len({name for name, _ in members}) < len(members):
        raise ValueError("a key appears twice")


def _explain(reason: str) -> HoldfastError:
    """Turn msgspec's reason into an error that names the field as the client wrote it."""
    if reason.startswith("Expected `object`"):
        return BadFrame("A frame is one JSON object.")
    if "required field `type`" in reason or reason.endswith("`$.type`"):
        return UnknownType("The type names no command.")
    rule, _, path = reason.partition(" - at `$.")
    where = path.rstrip("`")
    return Invalid(f"{where}: {rule}." if where else f"{rule}.")
