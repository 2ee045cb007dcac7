"""Do the orders, the till, the ledger and the money agree?"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict


class Summary(Struct, frozen=True):
    """How a run ended; ``None`` where nobody answered in time.

    ``orders``: orders the shop's programs can read. ``committed_units``: units sold by the ledger.
    ``captured``: payments captured at the sandbox. ``till_orders``: orders the till has stored.
    ``drift``: quantities that the audit found wrong. ``errors``: answers no shopper should get,
    a part that ended by itself, and payments or deliveries that did not come to rest.
    """

    orders: int | None
    committed_units: int | None
    captured: int | None
    till_orders: int | None
    drift: int | None
    errors: int


class Sold(Struct, frozen=True):
    """What the order events say was sold."""

    orders: int
    units: int


def sold(events: Iterable[dict[str, Any]]) -> Sold:
    """Count each order once, whatever became of it later."""
    first: dict[str, dict[str, Any]] = {}
    for event in events:
        first.setdefault(event["data"]["id"], event["data"])
    units = sum(line["quantity"] for order in first.values() for line in order["lines"])
    return Sold(len(first), units)


def disagreements(summary: Summary, units: int | None) -> list[str]:
    """What does not agree, a sentence each; ``units`` are those of the orders' lines."""
    wrong = []
    if summary.drift is None:
        wrong.append("The audit did not finish.")
    elif summary.drift:
        wrong.append(f"The audit found {summary.drift} quantities that have drifted.")
    if summary.orders is None or summary.orders != summary.till_orders:
        wrong.append(_differ(summary.orders, "orders", summary.till_orders, "at the till"))
    if summary.orders is None or summary.orders != summary.captured:
        wrong.append(_differ(summary.orders, "orders", summary.captured, "payments captured"))
    if units is None or units != summary.committed_units:
        wrong.append(_differ(units, "units ordered", summary.committed_units, "in the ledger"))
    return wrong


def report(summary: Summary, unexpected: Mapping[str, int], wrong: list[str] | None) -> str:
    """All of it in words, for people; ``wrong`` is ``None`` when nobody waited for it to agree."""
    lines = [
        f"  {name.replace('_', ' '):<18} {'unknown' if value is None else value}"
        for name, value in asdict(summary).items()
    ]
    lines += [f"  {times} x {what}" for what, times in unexpected.items()]
    if wrong is not None:
        lines += wrong or ["Orders, till, ledger and money agree."]
    return "\n".join(lines)


def _differ(one: int | None, what: str, other: int | None, where: str) -> str:
    return f"{_shown(one)} {what}, but {_shown(other)} {where}."


def _shown(number: int | None) -> str:
    return "an unknown number of" if number is None else str(number)
