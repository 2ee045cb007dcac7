"""Structs that can be shown: in a log line, a traceback, a failed assertion.

What is secret is known by its field's name, so that nobody has to think of it at each struct, and a
test finds the structs that have such a field and do not keep it.
"""

from msgspec import Struct

SECRET = frozenset(
    {
        *("token", "queue_token", "confirmation_token", "payment_method"),
        *("secret", "client_secret"),
        *("contact", "ship_to"),
    }
)
"""Fields whose values open something, or are somebody's own."""


class Discreet(Struct, frozen=True):
    """A struct whose ``repr`` has ``***`` for what nobody else may read."""

    def __repr__(self) -> str:
        return shown(self, SECRET)


def shown(struct: Struct, hidden: frozenset[str]) -> str:
    """The ``repr`` of a struct without some values; that one of them is empty is no secret."""
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    fields = (
        f"{name}={'***' if name in hidden and value else repr(value)}"
        for name, value in values.items()
    )
    return f"{type(struct).__name__}({', '.join(fields)})"
