"""JSON text from a socket into a typed command. Pure.

What is not one JSON object is a bad frame; an object that is not a command we know is an unknown
type; a command with a wrong field is invalid, and the message names the field. So is a frame with a
card number anywhere in it, were it the client's own number for the command.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct

from gateway import strict_json
from gateway.cards import holds_card_number
from gateway.errors import BadFrame, HoldfastError, Invalid, UnknownType
from gateway.messages import AnyCommand, ErrorFrame
from gateway.model import Money

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
        return strict_json.decode(text, _COMMAND)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except strict_json.HoldsNul as error:
        raise Invalid(f"{error}") from None
    except strict_json.NotStrict as error:
        raise BadFrame(f"{error}") from None


def id_of(text: str) -> int | None:
    """The ``id`` of a frame that may be wrong otherwise, so that its error can carry it.

    A card number is no id: it would be repeated.
    """
    try:
        number = _ENVELOPE.decode(text).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if number is None or not 0 <= number < 2**53 or holds_card_number(str(number)):
        return None
    return number


def error_frame(error: HoldfastError, command: int | None) -> ErrorFrame:
    """Say an error as a frame; as the reply to a command when its id is known."""
    facts: dict[str, Any] = {
        name: fact for name, fact in error.facts.items() if name in ErrorFrame.__struct_fields__
    }
    if isinstance(total := facts.get("total"), dict):
        facts["total"] = Money(**total)
    reply_to = UNSET if command is None else command
    return ErrorFrame(id=reply_to, code=error.code, message=error.message, **facts)


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
