"""Holds that a server has lost and their shoppers' gateways still know: brought back if the units
are left.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from gateway.clock import parse_rfc3339
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.model import Hold
from gateway.scripts import load
from gateway.settings import Settings

_BATCH = 64
"""Holds one script call brings back; it bounds how long the call keeps others waiting."""
_LEAST_MS = 30_000
"""How long a hold that comes back lasts at least: its shopper could do nothing meanwhile."""


class Known(Struct, frozen=True):
    """A hold as its shopper's gateway knows it."""

    shopper: str
    show: str
    hold: Hold


class _Lost(Struct, frozen=True):
    hold: str
    shopper: str
    show: str
    lines: str
    amount: str
    currency: str
    expires_at: int
    fulfillment: str


async def bring_back(
    lane: Lane, settings: Settings, shop: str, known: Sequence[Known]
) -> list[Known]:
    """Have the server hold what it has forgotten; return the holds whose units are gone.

    Again is fine: a hold that is there, in whatever state, stays as it is.

    Raises:
        Unavailable, Overloaded: Redis does not answer; repeat it.
    """
    keys, gone = ShopKeys(shop), []
    for at in range(0, len(known), _BATCH):
        batch = known[at : at + _BATCH]
        names = [keys.meta, keys.stock, keys.deadlines, keys.ledger, keys.news]
        for one in batch:
            names += (keys.hold(one.hold.id), keys.shopper(one.shopper))
        replies = await lane.call(
            load("hold_restore"),
            names,
            (
                msgspec.json.encode([_lost(one) for one in batch]),
                _LEAST_MS,
                settings.shopper_retention_days * 86_400_000,
            ),
        )
        gone += [one for one, reply in zip(batch, replies, strict=True) if reply[0] == b"GONE"]
    return gone


def _lost(known: Known) -> _Lost:
    hold = known.hold
    return _Lost(
        hold=hold.id,
        shopper=known.shopper,
        show=known.show,
        lines=msgspec.json.encode(hold.lines).decode(),
        amount=str(hold.total.amount),
        currency=hold.total.currency,
        expires_at=parse_rfc3339(hold.expires_at),
        fulfillment=msgspec.json.encode(hold.fulfillment).decode(),
    )
