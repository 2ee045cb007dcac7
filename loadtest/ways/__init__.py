"""The ways to reserve a unit, ours and the alternatives, behind one small interface.

Each alternative is written as its friends would write it, and does less than ours: it takes a unit
from the shelf and writes a hold under the caller's key. Ours also checks the show, limits and
prices, writes the ledger and the deadline, and tells every gateway. A hold's key makes its id, so
that a request that is repeated finds its hold, except with the naive way.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

HOLD_S = 120
"""How long a hold of an alternative lasts."""


class Places(Struct, frozen=True):
    """Where the servers are: those a way needs are set."""

    valkeys: tuple[str, ...] = ()
    """Addresses; only Redlock uses more than the first."""
    postgres: str = ""
    claims: str = ""
    """Of a sale in strict mode: the table of claims."""


Options = dict[str, float]
"""What a way can be told; each names its own."""


class Wish(Struct, frozen=True):
    """One request: a unit of each sku for a shopper, under a key of the shopper's."""

    shopper: str
    key: str
    skus: tuple[str, ...]

    @property
    def hold(self) -> str:
        """The id of the hold it becomes, where a way makes its ids itself."""
        return f"h_{self.shopper}_{self.key}"


class Undecided(Exception):
    """No answer: given up after the last retry."""


class Books(Struct, frozen=True):
    """What the store says after a run."""

    moved: int
    """Units that are gone from the shelf."""
    holds: int
    """Distinct holds."""


class Way(Protocol):
    """One way to reserve, connected to its servers."""

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Empty the store and put so many units of each sku on the shelf."""

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out.

        Raises:
            Undecided: neither, after all retries.
        """

    async def books(self) -> Books:
        """Read what was sold from the store itself."""


Opener = Callable[[Places, Options], AbstractAsyncContextManager[Way]]
"""Connects a way; leaving the block disconnects it."""
