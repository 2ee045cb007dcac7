"""Returns the units of holds whose deadline has passed.

Expiry is decided by the server's clock from a sorted set of deadlines, never by key expiry, which
is late and tells nobody for sure. Several sweeps may run at once: the script looks at each hold
again.
"""

import msgspec
from msgspec import Struct

from gateway.errors import Frozen
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.scripts import load
from gateway.settings import Settings
from gateway.stock.holds import order_id
from gateway.stock.now import now
from gateway.stock.witness import Witness

_BATCH = 100
"""Holds one script call expires; it bounds how long the call keeps others waiting."""


class _Due(Struct, frozen=True):
    hold: str
    shopper: str
    order: str


class ClockJumped(Exception):
    """The server's clock does not go as ours does, so that nobody knows what is due."""


async def expire_due(
    lane: Lane, settings: Settings, shop: str, witness: Witness | None = None
) -> int:
    """Expire every hold of a shop that is due; return how many were.

    Raises:
        Frozen: the server may have lost writes, so nothing lapses.
        ClockJumped: the witness disagrees with the server, so nothing lapses.
    """
    keys, expired = ShopKeys(shop), 0
    while True:
        now_ms = await now(lane, shop)
        if witness and not witness.agrees(shop, now_ms):
            off_s = witness.drift_ms(shop, now_ms) / 1000
            raise ClockJumped(f"its clock is {off_s:+.0f} s off")
        members = await lane.command(
            "ZRANGE", keys.deadlines, "-inf", now_ms, "BYSCORE", "LIMIT", 0, _BATCH
        )
        if not members:
            return expired
        due = [_Due(hold, shopper, order_id(hold)) for hold, shopper in map(_split, members)]
        names = [keys.meta, keys.stock, keys.deadlines, keys.ledger, keys.news, keys.unsettled]
        for one in due:
            names += (keys.hold(one.hold), keys.shopper(one.shopper), keys.order(one.order))
        said, *ids = await lane.call(
            load("hold_expire"),
            names,
            (
                msgspec.json.encode(due),
                settings.hold_retention_s * 1000,
                settings.late_approval_s * 1000,
            ),
        )
        if said == b"FROZEN":
            raise Frozen
        expired += len(ids)
        if len(members) < _BATCH:
            return expired


def _split(member: bytes) -> tuple[str, str]:
    hold, _, shopper = member.decode().partition(":")
    return hold, shopper
