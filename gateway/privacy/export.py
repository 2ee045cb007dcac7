"""Everything that is stored about one shopper, as one document with plain names.

Times are RFC 3339. What opens a payment (Stripe's client secret) is left out: a document is sent
around, and whoever has that secret may see the payment at Stripe.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from gateway.clock import rfc3339
from gateway.model import Timestamp
from gateway.privacy.found import Delivery, Found, Place, Question, Texts, record_of

_TIMES = frozenset(
    {
        "attempt_at",
        "asked_at",
        "budget_until",
        "committed_at",
        "created_at",
        "erased_at",
        "expires_at",
        "held_until",
    }
)
_JSON = frozenset({"contact", "event", "fulfillment", "lines", "refunds", "ship_to", "units"})
_OPENS_A_PAYMENT = frozenset({"client_secret"})

Document = dict[str, Any]


class AtStripe(Struct, frozen=True):
    """What Stripe has of the shopper; Holdfast does not ask it."""

    payment_intents: tuple[str, ...]
    refunds: tuple[str, ...]
    payment_methods: tuple[str, ...]
    search: str
    """Finds all payments, those of former attempts too."""


class Export(Struct, frozen=True):
    """The document."""

    shop: str
    shopper: str
    exported_at: Timestamp
    visits: Document
    orders: tuple[Document, ...]
    holds: tuple[Document, ...]
    questions: tuple[Document, ...]
    queue: tuple[Document, ...]
    order_events: tuple[Document, ...]
    """What the point of sale was told, as far as it is kept."""
    parked_deliveries: tuple[Document, ...]
    claims: tuple[Document, ...]
    """Strict mode: the orders as the durable table keeps them."""
    at_stripe: AtStripe


def export(found: Found, now_ms: int) -> Export:
    """Write down what was found."""
    return Export(
        shop=found.shop,
        shopper=found.shopper,
        exported_at=rfc3339(now_ms),
        visits=_visits(found.visits),
        orders=tuple({"id": name, **_plain(kept)} for name, kept in sorted(found.orders.items())),
        holds=tuple({"id": name, **_plain(kept)} for name, kept in sorted(found.holds.items())),
        questions=tuple(map(_question, found.questions)),
        queue=tuple(map(_place, found.places)),
        order_events=tuple(
            {"id": one.event_id, "recorded_at": _recorded(one.id), **_event(one.event)}
            for one in found.entries
        ),
        parked_deliveries=tuple(map(_delivery, found.deliveries)),
        claims=tuple(
            {"id": one.order, "claimed_at": rfc3339(one.claimed_at), **_plain(record_of(one))}
            for one in found.claims
        ),
        at_stripe=at_stripe(found),
    )


def at_stripe(found: Found) -> AtStripe:
    """Name what Stripe has of the shopper, as far as it is known here."""
    records = [*found.orders.values(), *map(record_of, found.claims)]
    refunds = [
        refund.get("reference")
        for record in records
        for refund in msgspec.json.decode(record.get("refunds", "[]"))
    ]
    methods = [method for record in records for method in record.get("tried", "").split()]
    return AtStripe(
        payment_intents=_named(record.get("intent") for record in records),
        refunds=_named(refunds),
        payment_methods=_named([*methods, *(record.get("token") for record in records)]),
        search=f"metadata['shop']:'{found.shop}' AND metadata['shopper']:'{found.shopper}'",
    )


def _named(ids: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({one for one in ids if one}))


def _plain(kept: Mapping[str, str]) -> Document:
    """A hash of Redis with its times and structures readable."""
    return {
        name: _value(name, text)
        for name, text in sorted(kept.items())
        if name not in _OPENS_A_PAYMENT
    }


def _value(name: str, text: str) -> object:
    if name in _TIMES:
        return rfc3339(int(text))
    return msgspec.json.decode(text) if name in _JSON else text


def _visits(kept: Texts) -> Document:
    """What the shopper holds and has bought, by which limits are kept."""
    told: Document = {"holding": int(kept.get("holds", "0")), "holds": [], "orders": []}
    told["units"] = []
    for name, text in sorted(kept.items()):
        match name.split(":"):
            case ["hold", hold]:
                told["holds"].append({"id": hold, "show": text})
            case ["order", order]:
                told["orders"].append({"id": order, "sold_at": rfc3339(int(text))})
            case ["units", show, sku]:
                told["units"].append({"show": show, "sku": sku, "units": int(text)})
            case ["holds"]:
                pass
            case _:
                told[name] = text
    return told


def _question(one: Question) -> Document:
    return {"show": one.show, "asked_at": rfc3339(one.at_ms), "text": one.text}


_UNTIL = {"heard": "asked_at", "invited": "place_kept_until", "inside": "may_come_again_until"}


def _place(one: Place) -> Document:
    if one.where == "line":
        return {"show": one.show, "number_in_line": one.number}
    return {"show": one.show, _UNTIL[one.where]: rfc3339(one.number)}


def _recorded(entry: str) -> Timestamp:
    return rfc3339(int(entry.partition("-")[0]))


def _event(body: bytes) -> Document:
    return {"event": msgspec.json.decode(body)}


def _delivery(one: Delivery) -> Document:
    parked = one.parked
    return {
        "webhook": one.webhook,
        "order": parked.order,
        "parked_at": parked.parked_at,
        "attempts": parked.attempts,
        "reason": parked.reason,
        **_event(bytes(parked.event)),
    }
