"""What an audit found, in words: of the stock, and of the payments."""

from gateway.clock import rfc3339
from gateway.reconcile.findings import Reconciliation
from gateway.stock.audit import UNREADABLE, Drift, Verdict


def reconciled(found: Reconciliation) -> str:
    """The differences between Redis, Stripe and the order stream."""
    summary = (
        f"{found.orders} orders of {found.shops} shops, {found.intents} payments, "
        f"{found.events} events since {rfc3339(found.since_ms)}: "
        f"{found.repaired + found.left} differences, {found.repaired} repaired, {found.left} left"
    )
    lines = [summary, *(f"  {shop} does not answer, and is left out" for shop in found.silent)]
    lines += [*(f"  {name}: {count}" for name, count in found.differences.items())]
    for one in found.findings:
        which = "".join(f" {name}" for name in (one.intent, one.entry) if name)
        fate = "; repaired" if one.repaired else ""
        lines.append(f"  {one.shop} {one.order}{which}: {one.difference}{fate}")
    return "\n".join(lines) + "\n"


def in_words(verdict: Verdict) -> str:
    """The drift of one shop's stock."""
    summary = (
        f"{verdict.shop}: {len(verdict.drift)} drift after {verdict.movements} movements, "
        f"{verdict.committed_units} units sold, {verdict.active_holds} holds active, "
        f"{verdict.shortfalls} shortfalls"
    )
    lines = [summary]
    for drift in verdict.drift:
        fate = "; repaired" if drift.repaired else ""
        why = f" ({drift.why})" if drift.why else ""
        lines.append(f"  {_wrong(drift)}{why}{fate}")
    return "\n".join(lines) + "\n"


def _wrong(drift: Drift) -> str:
    if drift.quantity == UNREADABLE:
        return f"{drift.sku}: {drift.quantity}"
    where = f"{drift.sku} at {drift.location}: " if drift.sku else ""
    return f"{where}{drift.quantity} is {drift.found}, must be {drift.expected}"
