"""Every Redis key, in one place.

All keys of a shop carry the hash tag ``{shop}``: they live in one slot of a cluster, so that one
script may touch a whole purchase in one atomic step, and shops spread over the cluster. Ids match
``model.ID_PATTERN``: no braces, no colons, so that no id can name another's key.
"""

from dataclasses import dataclass

SHOPS = "hf:shops"
"""Set of the shops this server knows; what the sweep and the relay walk."""


def unknown_events(environment: str) -> str:
    """Sorted set: JSON of events about orders nobody here knows, by when to look again, ms."""
    return f"hf:{{stripe}}:events:{environment}"


@dataclass(frozen=True, slots=True)
class StripeKeys:
    """The keys of one Stripe account; it serves all shops, and has a slot of its own."""

    account: str
    """Tells accounts apart; see ``Settings.stripe_account``."""

    def _key(self, name: str) -> str:
        return f"hf:{{stripe-{self.account}}}:{name}"

    @property
    def all(self) -> str:
        """Hash: the queue of all requests, whichever the endpoint; see ``stripe_turn``."""
        return self._key("all")

    def ticket(self, mine: str) -> str:
        """String: a ticket just taken, by a name its taker made up."""
        return self._key(f"ticket:{mine}")

    @property
    def reconciling(self) -> str:
        """String with an expiry: which sweep compares the books of the account just now."""
        return self._key("reconciling")

    def queue(self, endpoint: str) -> str:
        """Hash: the queue before one of Stripe's endpoints; see ``stripe_turn``."""
        return self._key(f"queue:{endpoint}")


@dataclass(frozen=True, slots=True)
class ShopKeys:
    """The keys of one shop."""

    shop: str

    def _key(self, name: str) -> str:
        return f"hf:{{{self.shop}}}:{name}"

    @property
    def every(self) -> str:
        """The pattern of all keys of the shop, for SCAN."""
        return self._key("*")

    @property
    def meta(self) -> str:
        """Hash: ``epoch``, ``version`` of the stock, ``clock`` (highest time seen, ms), ``server``
        (run id and last promotion of the one server that is known to have everything), ``adrift``
        (frozen after it had served without all it once had).
        """
        return self._key("meta")

    @property
    def stock(self) -> str:
        """Hash: sku → JSON rows, one per location (see ``stock.rows``)."""
        return self._key("stock")

    @property
    def catalog(self) -> str:
        """Hash: sku → JSON catalogue entry."""
        return self._key("catalog")

    @property
    def shows(self) -> str:
        """Hash: ``<show>`` → JSON, ``<show>:state``, ``<show>:highlight``."""
        return self._key("shows")

    @property
    def deadlines(self) -> str:
        """Sorted set: ``<hold>:<shopper>`` scored by the hold's deadline, ms."""
        return self._key("deadlines")

    @property
    def unsettled(self) -> str:
        """Sorted set: order id scored by when to look at its payment again, ms."""
        return self._key("unsettled")

    @property
    def ledger(self) -> str:
        """Stream: every movement of stock, in the order it happened."""
        return self._key("ledger")

    @property
    def orders(self) -> str:
        """Stream: the events the POS gets, one entry each."""
        return self._key("orders")

    @property
    def news(self) -> str:
        """Sharded pub/sub channel: what changed, for every gateway that serves the shop."""
        return self._key("news")

    @property
    def webhooks(self) -> str:
        """Hash: name → JSON of where to push orders."""
        return self._key("webhooks")

    def parked(self, webhook: str) -> str:
        """Hash: stream entry id → JSON of a delivery given up, for one webhook."""
        return self._key(f"parked:{webhook}")

    def redrive(self, webhook: str) -> str:
        """Set: orders whose parked deliveries somebody wants tried again."""
        return self._key(f"redrive:{webhook}")

    @property
    def relay(self) -> str:
        """String with an expiry: which relay delivers the shop's orders just now."""
        return self._key("relay")

    @property
    def rebuilding(self) -> str:
        """String with an expiry: which process rebuilds the shop just now."""
        return self._key("rebuilding")

    def hold(self, hold: str) -> str:
        """Hash: one hold."""
        return self._key(f"hold:{hold}")

    def order(self, order: str) -> str:
        """Hash: one order and its payment's recovery point."""
        return self._key(f"order:{order}")

    def shopper(self, shopper: str) -> str:
        """Hash: what one shopper holds and has bought, for limits and for resuming."""
        return self._key(f"shopper:{shopper}")

    def movement(self, reference: str) -> str:
        """String: the answer given to a reported movement, kept to answer its repetition."""
        return self._key(f"movement:{reference}")

    def questions(self, show: str) -> str:
        """Sorted set: what viewers asked during a show, JSON ``[asked, shopper, text]``, scored by
        when, ms.
        """
        return self._key(f"questions:{show}")

    def ticket(self, mark: str) -> str:
        """String with an expiry: the session that took a ticket; see ``tickets.mark``."""
        return self._key(f"ticket:{mark}")

    def viewers(self, show: str) -> str:
        """Hash: gateway process → ``<viewers> <seen at, ms>``."""
        return self._key(f"viewers:{show}")

    def line(self, show: str) -> str:
        """Sorted set: shoppers who wait to be let in, by number of arrival."""
        return self._key(f"line:{show}")

    def heard(self, show: str) -> str:
        """Sorted set: shoppers who wait, by when they asked last, ms."""
        return self._key(f"heard:{show}")

    def invited(self, show: str) -> str:
        """Sorted set: shoppers let in and not counted yet, by how long a place is kept, ms."""
        return self._key(f"invited:{show}")

    def inside(self, show: str) -> str:
        """Sorted set: shoppers who came in, by until when they come again without waiting, ms."""
        return self._key(f"inside:{show}")

    def patient(self, show: str) -> str:
        """String with an expiry: nobody who waits is dropped for having been silent."""
        return self._key(f"patient:{show}")
