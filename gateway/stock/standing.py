"""How a shop stands with the server that has it: served, frozen, or not there at all."""

from enum import Enum

from msgspec import Struct

from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane
from gateway.scripts import load


class State(Enum):
    """May the server serve the shop?"""

    SERVING = "SERVING"
    FROZEN = "FROZEN"
    NEW = "NEW"
    """Nothing is known of the shop."""


class Position(Struct, frozen=True):
    """How far a shop's stock is: any later state of it has a higher epoch, or version in it."""

    epoch: int = 0
    version: int = 0
    born: str = ""
    """When the shop was opened on an empty server, if that is known."""

    def lacks(self, seen: "Position") -> bool:
        """Whether a server at this position has lost something of what was seen.

        A shop that was opened again in place of one that was lost may be as far by now.
        """
        if self.epoch != seen.epoch:
            return self.epoch < seen.epoch
        another = bool(seen.born) and self.born != seen.born
        return another or self.version < seen.version


class Standing(Struct, frozen=True):
    """How a shop stands; ``clock`` is the highest time at which its server promised anything, ms,
    or 0 when it did so after it had lost some; ``here`` is the name of the server that was asked.
    """

    state: State
    position: Position = Position()
    clock: int = 0
    here: str = ""


async def stand(lane: Lane, shop: str) -> Standing:
    """Ask the shop's server.

    Raises:
        Unavailable, Overloaded: it does not answer.
    """
    state, *known = await lane.call(load("shop_state"), [ShopKeys(shop).meta], [])
    if not known:
        return Standing(State.NEW, Position(1, 0))
    epoch, version, clock = map(int, known[:3])
    here, born = (word.decode() for word in known[3:])
    return Standing(State(state.decode()), Position(epoch, version, born), clock, here)


async def freeze(lane: Lane, shop: str, seen: Position | None = None) -> bool:
    """Stop a shop: because somebody has seen more of it than its server knows, or by hand.

    ``False`` when the server knows as much as was seen.
    """
    # Whoever lost the shop may have lost that there is one.
    await lane.command("SADD", SHOPS, shop)
    args = (seen.epoch, seen.version, seen.born) if seen else (0, "", "")
    reply = await lane.call(load("shop_freeze"), [ShopKeys(shop).meta], args)
    return bool(reply[0] == b"FROZEN")


async def thaw(lane: Lane, shop: str, owner: str, frozen: Standing) -> int | None:
    """Let the shop be served, by whoever has the lease, and rebuilt it as it stood ``frozen``.

    The new epoch, or ``None`` without the lease, or when writes may have been lost once more since:
    what was rebuilt may be among them.
    """
    keys = ShopKeys(shop)
    reply = await lane.call(
        load("shop_thaw"),
        [keys.meta, keys.rebuilding, keys.news],
        [owner, frozen.position.epoch, frozen.here],
    )
    return int(reply[1]) if reply[0] == b"SERVING" else None
