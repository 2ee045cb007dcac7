"""What every part of the sandbox works with, and what it is asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.sandbox.stripe import refusal
from gateway.sandbox.stripe.events import Journal
from gateway.sandbox.stripe.ids import Ids
from gateway.sandbox.stripe.params import Params
from gateway.sandbox.stripe.store import Json, Store


@dataclass(frozen=True, slots=True)
class Call:
    """One request whose key, limit and parameters are checked."""

    endpoint: str
    path: Mapping[str, str]
    params: Params
    base_url: str

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.path["id"]


@dataclass(frozen=True, slots=True)
class Bench:
    """The store, the ids, the clock and the journal."""

    store: Store
    ids: Ids
    clock: Callable[[], float]
    journal: Journal

    def now(self) -> int:
        """Whole seconds since 1970, as Stripe writes times."""
        return int(self.clock())

    def require(self, kind: str, identifier: str, param: str, *, status: int = 404) -> Json:
        """The resource, or RefusedError resource_missing."""
        resource = self.store.get(kind, identifier)
        if resource is None:
            raise refusal.no_such(kind, identifier, param, status=status)
        return resource
