"""The order of a sale, as the POS gets it. Pure.

``rooms`` hands ``settle`` the encoder of its event (``orders.entry``), for checkout does not know
the orders room.
"""

from gateway.checkout.record import Record
from gateway.clock import rfc3339
from gateway.model import Order, OrderFulfillment, Tender


def order_of(record: Record, intent: str, now_ms: int) -> Order:
    """The first version of an order, paid by one intent."""
    now = rfc3339(now_ms)
    return Order(
        id=record.order,
        order_version=1,
        state="confirmed",
        lines=record.lines,
        total=record.total,
        tenders=(Tender("card", record.total, "stripe", intent),),
        contact=record.contact,
        fulfillment=OrderFulfillment(
            type=record.fulfillment.type,
            state="proposed",
            location=record.fulfillment.location,
            ship_to=record.ship_to,
        ),
        show=record.show,
        occurred_at=now,
        recorded_at=now,
    )
