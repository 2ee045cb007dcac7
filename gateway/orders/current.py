"""One order as the POS may see it now: the event its record keeps."""

from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders import entry
from gateway.orders.entry import OrderEvent
from gateway.orders.stream import Gate, gate


async def find(lane: Lane, shop: str, order: str) -> OrderEvent | None:
    """Read an order's latest event; ``None`` before its money is captured, or without an order.

    The record outlives the stream, which is trimmed.
    """
    phase, event = await lane.command("HMGET", ShopKeys(shop).order(order), "phase", "event")
    if event is None or gate(phase) is not Gate.OPEN:
        return None
    return entry.decode(event)
