"""Every error a client can meet, in one tree.

``HoldfastError`` carries what crosses the wire: a stable ``code``, one clear sentence, and the
facts a program needs. ``status`` is the HTTP status of the same error (RFC 9457).

    HoldfastError
    ├── the message is wrong, sending it again will not help
    │   BadFrame  UnknownType  Invalid  IdempotencyKeyReused
    ├── the caller may not
    │   Unauthenticated  Forbidden  NotFound
    ├── the answer is no, and the shopper should hear why
    │   SoldOut  LimitExceeded  ShowNotLive  TotalChanged  PaymentDeclined
    │   HoldExpired  HoldAlreadyCommitted  HoldAlreadyReleased  CompletionInProgress
    │   NotCaptured  RefundTooMuch
    └── not now: send the same request again after ``retry_after_ms``
        RateLimited  Overloaded  Unavailable (Frozen  Paused)

``CloseCode`` lists why a socket is closed. The range says what the client does next, as in
centrifugo's protocol: 4000-4499 reconnect, 4500-4999 stop.
"""

from enum import IntEnum
from typing import ClassVar

Fact = str | int | dict[str, str | int]


class HoldfastError(Exception):
    """Something a client is told: a stable code, one sentence, and facts.

    Args:
        why: the same for operators, where the sentence is for shoppers: what a log line or a
            command says, by ``str()``.
    """

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, message: str, why: str = "", /, **facts: Fact) -> None:
        super().__init__(why or message)
        self.message = message
        self.facts = facts


class BadFrame(HoldfastError):
    """The frame is not one JSON object."""

    code, status = "bad_frame", 400


class UnknownType(HoldfastError):
    """The frame's ``type`` names no command."""

    code, status = "unknown_type", 400


class Invalid(HoldfastError):
    """A field is missing or holds what it must not; the message names it."""

    code, status = "invalid", 422


class IdempotencyKeyReused(HoldfastError):
    """The key came before, with other content."""

    code, status = "idempotency_key_reused", 422


class Unauthenticated(HoldfastError):
    """The token is missing, forged or expired."""

    code, status = "unauthenticated", 401


class Forbidden(HoldfastError):
    """The token is good, but not for this."""

    code, status = "forbidden", 403


class NotFound(HoldfastError):
    """No such thing, or it is somebody else's: the answer is the same on purpose."""

    code, status = "not_found", 404


class SoldOut(HoldfastError):
    """Fewer units are available than were asked for; facts: ``sku``, ``available``."""

    code, status = "sold_out", 409


class LimitExceeded(HoldfastError):
    """The shopper would have more than the shop allows, or the shop more than we do; facts:
    ``limit``, and ``sku`` if of one.
    """

    code, status = "limit_exceeded", 409


class ShowNotLive(HoldfastError):
    """The show has not started, or is over; fact: ``state``."""

    code, status = "show_not_live", 409


class HoldExpired(HoldfastError):
    """The hold's deadline has passed; its units are back on sale."""

    code, status = "hold_expired", 409


class HoldAlreadyCommitted(HoldfastError):
    """The hold has become a sale."""

    code, status = "hold_already_committed", 409


class HoldAlreadyReleased(HoldfastError):
    """The hold was given back."""

    code, status = "hold_already_released", 409


class TotalChanged(HoldfastError):
    """The price the shopper saw is not the hold's price; fact: ``total``. Nothing was charged."""

    code, status = "total_changed", 409


class CompletionInProgress(HoldfastError):
    """A payment for this hold is already under way with another payment method."""

    code, status = "completion_in_progress", 409


class PaymentDeclined(HoldfastError):
    """The payment provider declined; fact: ``decline_code``. Another method may work."""

    code, status = "payment_declined", 402


class NotCaptured(HoldfastError):
    """The order's money is not ours, so there is none to give back; fact: ``state``."""

    code, status = "not_captured", 409


class RefundTooMuch(HoldfastError):
    """More than is left to refund; facts: ``refundable`` (money), and for a line that was not sold
    so often or came back already, ``sku`` and ``quantity``, the units still to refund.
    """

    code, status = "refund_too_much", 409


class RateLimited(HoldfastError):
    """Too many messages; fact: ``retry_after_ms``."""

    code, status = "rate_limited", 429


class Overloaded(HoldfastError):
    """A queue is full, so the request was not taken; fact: ``retry_after_ms``."""

    code, status = "overloaded", 503


class Unavailable(HoldfastError):
    """A part we need does not answer. Send the same request, with the same key, again."""

    code, status = "unavailable", 503


class Frozen(Unavailable):
    """The server may have lost writes of this shop: it is being rebuilt, which takes seconds.

    Fact: ``reason``, so that a page can say it in its own words.
    """

    def __init__(self, message: str = "", **facts: Fact) -> None:
        super().__init__(
            message or "One moment: the stock is being checked.",
            message or "The shop is frozen: its server may have lost writes.",
            **(facts or {"reason": "frozen", "retry_after_ms": 500}),
        )


class Paused(Unavailable):
    """There are too few replicas to make a sale safe, so nothing is held or paid for."""

    def __init__(self, message: str = "", **facts: Fact) -> None:
        super().__init__(
            message or "Checkout is paused for a moment; nothing is lost.",
            message or "The shop is paused: there are fewer replicas than asked for.",
            **(facts or {"reason": "paused", "retry_after_ms": 1000}),
        )


class CloseCode(IntEnum):
    """Why a socket is closed: below 4500 the client reconnects, from 4500 on it stops."""

    NORMAL = 1000
    DRAIN = 1012
    OVERLOADED = 1013
    TOKEN_EXPIRED = 4001
    SLOW_CONSUMER = 4008
    EPOCH_CHANGED = 4009
    COMMAND_RATE = 4029
    BAD_TOKEN = 4500
    BAD_FRAME = 4501
    NEVER_CONNECTED = 4502
    TOO_MANY_CONNECTIONS = 4504
    VERSION = 4506
    SHOW_ENDED = 4510
