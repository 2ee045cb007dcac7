"""What was found of one shopper, as it is kept."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from gateway.claims.sale import Sale
from gateway.keys import ShopKeys
from gateway.orders.stream import Entry
from gateway.pos.parked import Parked

PSEUDONYM = "erased_"
"""How the ids begin that stand for erased shoppers; no ticket carries one."""

Where = Literal["line", "heard", "invited", "inside"]
PLACES: tuple[Where, ...] = get_args(Where)
"""The kinds of keys that keep places in or behind the line before a show."""

Texts = dict[str, str]
_RECORD = msgspec.json.Decoder(dict[str, str])


class Question(Struct, frozen=True):
    """A question asked during a show; ``member`` is how the show keeps it."""

    show: str
    at_ms: int
    text: str
    member: bytes


class Place(Struct, frozen=True):
    """A place in or behind the line before a show; what the number means depends on which."""

    show: str
    where: Where
    number: int


class Delivery(Struct, frozen=True):
    """A delivery that a webhook has parked."""

    webhook: str
    entry: str
    parked: Parked


@dataclass(slots=True)
class Found:
    """What is stored about one shopper of one shop. Hashes are as Redis has them."""

    shop: str
    shopper: str
    expires_at: int = -2
    """When the shopper's key would have expired when the look began, ms, as ``PEXPIRETIME`` says.
    Each hold puts that off: so it tells whether there was one since."""
    visits: Texts = field(default_factory=dict)
    orders: dict[str, Texts] = field(default_factory=dict)
    holds: dict[str, Texts] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    claims: list[Sale] = field(default_factory=list)
    webhooks: set[str] = field(default_factory=set)
    """Those with anything parked, whoever's it is."""

    @property
    def nothing(self) -> bool:
        """Whether nothing is stored."""
        stored = (self.visits, self.orders, self.holds, self.questions, self.places, self.claims)
        return not any(stored)

    @property
    def active(self) -> list[str]:
        """Holds that are not over."""
        return sorted(name for name, hold in self.holds.items() if hold["state"] == "active")

    def written(self, order: str) -> list[str]:
        """Ids of the entries of an order: in the stream, and of parked deliveries."""
        ids = {one.id for one in self.entries if one.order == order}
        ids |= {one.entry for one in self.deliveries if one.parked.order == order}
        return sorted(ids)


def place_key(keys: ShopKeys, where: Where, show: str) -> str:
    """The key that keeps places of one kind."""
    made = {
        "line": keys.line,
        "heard": keys.heard,
        "invited": keys.invited,
        "inside": keys.inside,
    }
    return made[where](show)


def record_of(sale: Sale) -> Texts:
    """The order's record as a claim keeps it."""
    return _RECORD.decode(sale.record)
