"""The time of a shop: Redis' clock, and never before what a script has seen already.

The scripts write the highest time they have seen into the shop's ``meta``; whoever asks what is due
goes by the same clock.
"""

import asyncio

from gateway.keys import ShopKeys
from gateway.lane import Lane


async def now(lane: Lane, shop: str) -> int:
    """Milliseconds since the epoch."""
    meta = ShopKeys(shop).meta
    (seconds, micros), seen = await asyncio.gather(
        lane.command("TIME", at=meta), lane.command("HGET", meta, "clock")
    )
    return max(int(seconds) * 1000 + int(micros) // 1000, int(seen or 0))
