"""What happened, written down as Stripe's event objects in the same transaction as the effect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.sandbox.stripe import objects
from gateway.sandbox.stripe.ids import Ids
from gateway.sandbox.stripe.store import Json, Store

_NOBODYS: Json = {"id": None, "idempotency_key": None}


class Journal:
    """Records events while a request is carried out, and hands them over once it is committed."""

    def __init__(
        self, store: Store, ids: Ids, clock: Callable[[], float], *, delivered: bool
    ) -> None:
        """`delivered` says that a webhook endpoint waits for every event."""
        self._store = store
        self._ids = ids
        self._clock = clock
        self._pending = int(delivered)
        self._request = _NOBODYS
        self._written: list[Json] = []

    def open(self, request_id: str | None, idempotency_key: str | None) -> None:
        """A new request begins; the events that follow are its doing."""
        self._request = {"id": request_id, "idempotency_key": idempotency_key}
        self._written = []

    @contextmanager
    def unasked(self) -> Iterator[None]:
        """What is written meanwhile was done by somebody else, with no request of the shop's."""
        request, self._request = self._request, _NOBODYS
        yield
        self._request = request

    def write(self, kind: str, resource: Json) -> None:
        """`kind` happened to `resource`, which is shown as it is now."""
        event = objects.event(
            self._ids.new("evt"),
            kind,
            resource,
            int(self._clock()),
            self._request,
            pending=self._pending,
        )
        self._written.append(self._store.add(event))

    def close(self) -> list[Json]:
        """The events of this request, in order; to be called after the commit."""
        written, self._written = self._written, []
        return written
