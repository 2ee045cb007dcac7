"""Takes one shopper out of everything that is stored; the ledger and the books stay as they are.

Quantities, money, unit numbers, order ids and payments remain; who it was does not. An order's
events cannot be changed, so that they are dropped and one more version is told, without contact.
First it is asked whether everything may be erased; then each part is, by itself: whoever is cut off
in the middle erases again.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gateway.checkout.records import Records
from gateway.clock import Clock, rfc3339
from gateway.errors import Frozen, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Reply
from gateway.orders import entry
from gateway.orders.entry import OrderEvent
from gateway.privacy.found import PSEUDONYM, Found, Texts, place_key, record_of
from gateway.privacy.walk import Walk
from gateway.scripts import load
from gateway.settings import Settings
from gateway.stock.holds import Holds

_TRIES = 5
"""Times all is looked for again, when an order changes meanwhile."""
_PERSONAL = frozenset(
    {"contact", "ship_to", "client_secret", "tried", "token", "event", "event_id", "shopper"}
)
"""Fields of an order's record that a claim gives up when Redis has no record any more."""


class NotYet(Exception):
    """Something is under way that needs to know the shopper; the message says what, and what to do.

    Nothing is erased, unless it began while the shopper was being erased: then orders may be.
    """


@dataclass(frozen=True, slots=True)
class Erasure:
    """Erases shoppers of one shop."""

    walk: Walk
    settings: Settings
    clock: Clock
    rng: random.Random

    async def look(self, shopper: str, *, release: bool = False) -> Found:
        """Find what would be erased.

        Raises:
            NotYet: it may not be erased now; with ``release``, active holds are no reason.
            NotFound, Unavailable: see ``Walk.find``.
        """
        found = await self.walk.find(shopper)
        await self._check(found, release=release)
        return found

    async def erase(self, shopper: str, *, release: bool = False) -> Found:
        """Erase a shopper; again is fine. Returns what there was.

        Args:
            release: give active holds back first.

        Raises:
            NotYet: it may not be erased now.
            NotFound, Unavailable: see ``Walk.find``; what is left is erased by the next try.
        """
        first = found = await self.look(shopper, release=release)
        for _ in range(_TRIES):
            if found.active:
                await self._release(found)
            elif await self._erase(found):
                return first
            found = await self.look(shopper, release=release)
        raise Unavailable("The shopper is too busy to be erased now; try again.")

    async def _check(self, found: Found, *, release: bool) -> None:
        for order in sorted(found.orders):
            match await self._ask(found, order, asked_only=True):
                case [b"UNDER_WAY", phase]:
                    what = "refund" if phase == b"refunding" else "payment"
                    raise NotYet(f"A {what} of {order} is under way; try again when it has ended.")
                case [b"UNDELIVERED", webhook]:
                    raise NotYet(
                        f"{order} is not delivered to the webhook {webhook.decode()} yet; let the "
                        "relay deliver it, or remove the webhook."
                    )
        if found.active and not release:
            raise NotYet(
                f"The shopper holds something ({', '.join(found.active)}); wait until it lapses, "
                "or add --release."
            )

    async def _release(self, found: Found) -> None:
        holds = Holds(self.walk.lane, self.settings)
        for hold in found.active:
            await holds.release(found.shop, found.shopper, hold)

    async def _erase(self, found: Found) -> bool:
        """Erase what was found; ``False`` when it has to be looked for again."""
        for order in sorted(found.orders):
            reply = await self._ask(found, order)
            if reply[0] != b"ERASED":
                return False
        await self._erase_claims(found)
        await self._erase_traces(found)
        return await self._erase_shopper(found)

    async def _ask(self, found: Found, order: str, *, asked_only: bool = False) -> Reply:
        """Run ``order_erase``.

        Raises:
            Frozen: not now.
        """
        keys, record = ShopKeys(found.shop), found.orders[order]
        told = _next_version(found, order, self.clock.now_ms())
        reply = await self.walk.lane.call(
            load("order_erase"),
            (
                keys.meta,
                keys.orders,
                keys.order(order),
                *(keys.parked(webhook) for webhook in sorted(found.webhooks)),
            ),
            (
                order,
                found.shopper,
                self._pseudonym(),
                record.get("order_version", "1"),
                told.id if told else "",
                entry.encode(told) if told else "",
                msgspec.json.encode(found.written(order)),
                self.settings.order_retention_days * 86_400_000,
                "1" if asked_only else "",
            ),
        )
        if reply[0] == b"FROZEN":
            raise Frozen
        return reply

    async def _erase_claims(self, found: Found) -> None:
        """What a claim would restore is what the record says by now."""
        records = Records(self.walk.lane, self.settings)
        for sale in found.claims:
            assert self.walk.claims
            kept = await records.kept(found.shop, sale.order)
            if not kept or kept["shopper"] == found.shopper:
                kept = self._without_shopper(record_of(sale))
            record = msgspec.json.encode(kept)
            await self.walk.claims.rewrite(found.shop, sale.order, record)

    def _without_shopper(self, record: Mapping[str, str]) -> Texts:
        kept = {name: text for name, text in record.items() if name not in _PERSONAL}
        return {**kept, "shopper": self._pseudonym(), "token": ""}

    async def _erase_traces(self, found: Found) -> None:
        lane, keys = self.walk.lane, ShopKeys(found.shop)
        for question in found.questions:
            await lane.command("ZREM", keys.questions(question.show), question.member)
        for place in found.places:
            await lane.command("ZREM", place_key(keys, place.where, place.show), found.shopper)
        for told in found.entries:
            # Only a claim still knows its shopper. What is erased already tells the POS so.
            if told.order not in found.orders and not entry.decode(told.event).data.erased:
                await lane.command("XDEL", keys.orders, told.id)
        for delivery in found.deliveries:
            await lane.command("HDEL", keys.parked(delivery.webhook), delivery.entry)

    async def _erase_shopper(self, found: Found) -> bool:
        """The last step: who has its write on a replica has all that were before it.

        Raises:
            Frozen: not now.
            Unavailable: the replicas asked for do not have it yet.
        """
        keys = ShopKeys(found.shop)
        held = {name.partition(":")[2] for name in found.visits if name.startswith("hold:")}
        holds = sorted(held | found.holds.keys())
        bought = [name.partition(":")[2] for name in found.visits if name.startswith("order:")]
        durable = await self.walk.lane.call_durably(
            load("shopper_erase"),
            (
                keys.meta,
                keys.deadlines,
                keys.shopper(found.shopper),
                *(keys.hold(hold) for hold in holds),
            ),
            (
                found.shopper,
                msgspec.json.encode([(hold, self._pseudonym()) for hold in holds]),
                msgspec.json.encode(bought),
                found.expires_at,
            ),
        )
        if durable.reply[0] == b"FROZEN":
            raise Frozen
        if durable.replicas < self.settings.wait_replicas:
            raise Unavailable("It is erased here, and not on the replicas yet; erase again.")
        return bool(durable.reply[0] == b"ERASED")

    def _pseudonym(self) -> str:
        """Another one each time: what was one shopper's is not to be put together again."""
        return f"{PSEUDONYM}{self.rng.getrandbits(64):016x}"


def _next_version(found: Found, order: str, now_ms: int) -> OrderEvent | None:
    """What the POS is told of an erased order; ``None`` if it never heard of it, or never will."""
    record = found.orders[order]
    bodies = [one.event for one in found.entries if one.order == order]
    bodies += [record["event"].encode()] if "event" in record else []
    if record.get("phase") != "captured" or not bodies:
        return None
    newest = max((entry.decode(body).data for body in bodies), key=lambda one: one.order_version)
    erased = msgspec.structs.replace(
        newest,
        order_version=int(record.get("order_version", "1")) + 1,
        contact=None,
        fulfillment=msgspec.structs.replace(newest.fulfillment, ship_to=None),
        recorded_at=rfc3339(now_ms),
        erased=True,
    )
    return entry.event(found.shop, erased)
