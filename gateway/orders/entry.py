"""The event of an order, as the POS gets it: a CloudEvent whose ``data`` is the order. Pure.

The event is encoded once, when the hold is committed or the order changes, and kept as it is: every
delivery of it, by push or by pull, is the same bytes.
"""

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.model import Order, Timestamp

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/cloudevents+json"


class OrderEvent(Struct, frozen=True):
    """A CloudEvent 1.0 in JSON. ``id`` is the event id the POS drops duplicates by."""

    id: str
    source: str
    type: str
    subject: str
    time: Timestamp
    data: Order
    specversion: str = SPEC_VERSION
    datacontenttype: str = "application/json"
    traceparent: str | UnsetType = UNSET
    """The trace in which it came about (CloudEvents' extension for distributed tracing)."""


def event_id(order: str, version: int) -> str:
    """The id of an order's event: the same for every copy of it."""
    return f"evt_{order}_{version}"


def event(shop: str, order: Order, traceparent: str | None = None) -> OrderEvent:
    """Wrap an order for the POS."""
    return OrderEvent(
        id=event_id(order.id, order.order_version),
        source=f"/shops/{shop}",
        type=f"holdfast.order.{order.state}",
        subject=order.id,
        time=order.recorded_at,
        data=order,
        traceparent=traceparent or UNSET,
    )


def encode(order_event: OrderEvent) -> bytes:
    """Write an event as it will be delivered."""
    return msgspec.json.encode(order_event)


_DECODER = msgspec.json.Decoder(OrderEvent)


def decode(body: bytes) -> OrderEvent:
    """Read an event back.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: these bytes are not an event of ours.
    """
    return _DECODER.decode(body)


def legible(body: bytes) -> OrderEvent | None:
    """Read an event back; ``None`` when it makes no sense here: a newer version wrote it, or
    somebody by hand, or it is damaged.
    """
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Traced(Struct, frozen=True):
    traceparent: str | None = None


_TRACED = msgspec.json.Decoder(_Traced)


def traceparent_of(body: bytes) -> str | None:
    """The trace an event came about in, and nothing else of it."""
    try:
        return _TRACED.decode(body).traceparent
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
