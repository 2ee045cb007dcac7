"""Where records of orders are kept: a method for each script that moves one."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import msgspec

from gateway import traces
from gateway.checkout.phases import Phase, why_in_few_words
from gateway.checkout.record import Record, read_record
from gateway.errors import (
    CompletionInProgress,
    Frozen,
    LimitExceeded,
    NotFound,
    Paused,
    TotalChanged,
    Unavailable,
)
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply, Word, texts
from gateway.messages import Checkout
from gateway.model import UNITS, Units
from gateway.scripts import Script, load, of_script
from gateway.settings import Settings
from gateway.stock.holds import order_id, raise_ended
from gateway.stock.now import now
from gateway.traces import Kind

log = logging.getLogger(__name__)


class CommitEnded(Exception):
    """The hold was over before the commit: the money must be voided."""


class CommitRefused(Exception):
    """The order is not paying under this attempt any more: look again."""


class NotDurable(Exception):
    """It is written, but not yet on the replicas asked for: act on it later."""


@dataclass(frozen=True, slots=True)
class Records:
    """Reads and moves orders, for any shop of this Redis."""

    lane: Lane
    settings: Settings
    moved: Counter[tuple[Phase, str]] = field(default_factory=Counter)
    """Orders moved from here, to a phase and why. Of two who do it at one moment both count it."""

    async def find(self, shop: str, order: str) -> Record | None:
        """Read a record; ``None`` when there is none."""
        fields = await self.kept(shop, order)
        return read_record(order, fields) if fields.get("phase") else None

    async def legible(self, shop: str, order: str) -> Record | None:
        """Read a record to tell its shopper of it; ``None`` when there is none, or it makes no
        sense here, as one of a newer version may. What else is to be told is told all the same.
        """
        try:
            return await self.find(shop, order)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("orders: shop %s: order %s cannot be read: %s", shop, order, error)
            return None

    async def kept(self, shop: str, order: str) -> dict[str, str]:
        """Everything Redis keeps of an order, as text: enough to restore it; empty if nothing."""
        return texts(await self.lane.command("HGETALL", ShopKeys(shop).order(order)))

    async def begin(self, shop: str, shopper: str, checkout: Checkout) -> str:
        """Begin a payment, or the next attempt after a decline; return the order's id.

        The same request again changes nothing. When it returns, ``settle`` the order.

        Raises:
            NotFound, HoldExpired, HoldAlreadyReleased: there is nothing to pay for.
            TotalChanged: the shopper saw another price; nothing was begun.
            CompletionInProgress: an attempt with another method is under way.
            LimitExceeded: too many methods were tried.
            Unavailable: begun, but where the money may be taken at once the replicas do not have it
                yet; repeat it. Or nothing was begun, for a newer version has moved the order.
        """
        keys, settings, order = ShopKeys(shop), self.settings, order_id(checkout.hold)
        details: dict[str, str] = {
            "contact": msgspec.json.encode(checkout.contact).decode(),
            "token_kind": (
                "confirmation_token" if checkout.payment.confirmation_token else "payment_method"
            ),
        }
        if checkout.ship_to:
            details["ship_to"] = msgspec.json.encode(checkout.ship_to).decode()
        if trace := traces.traceparent():
            details["traceparent"] = trace
        reply, durable = await self._run(
            load("pay_begin"),
            (
                keys.meta,
                keys.deadlines,
                keys.unsettled,
                keys.hold(checkout.hold),
                keys.order(order),
                keys.news,
            ),
            (
                checkout.hold,
                shopper,
                order,
                checkout.expected_total.amount,
                checkout.expected_total.currency,
                checkout.payment.token,
                msgspec.json.encode(details),
                settings.payment_budget_s * 1000,
                settings.settle_interval_s * 1000,
                settings.order_retention_days * 86_400_000,
                settings.stripe_queue_s * 1000,
                "1" if settings.automatic_methods else "",
                settings.payment_attempts,
                settings.wait_replicas,
            ),
            # The money may be taken at once: the units must be held for it on the replicas too.
            durably=bool(settings.automatic_methods),
        )
        if not durable:
            raise Unavailable("The payment cannot begin yet; send it again.")
        _check_begun([word.decode() for word in reply])
        return order

    async def commit(self, shop: str, record: Record, event_id: str, event: bytes) -> Units:
        """Make the hold a sale, with the order's event in the same step; again is fine.

        The units are those it has by now: a server that had lost the sale numbers them anew.

        Raises:
            CommitEnded, CommitRefused: no sale; void, or look again.
            NotDurable: sold, but the replicas do not have it yet.
        """
        keys, settings = ShopKeys(shop), self.settings
        return await self._sell(
            load("hold_commit"),
            (
                keys.meta,
                keys.stock,
                keys.deadlines,
                keys.ledger,
                keys.orders,
                keys.news,
                keys.unsettled,
                keys.hold(record.hold),
                keys.shopper(record.shopper),
                keys.order(record.order),
            ),
            (
                record.order,
                record.attempt,
                event_id,
                event,
                settings.settle_interval_s * 1000,
                settings.order_retention_days * 86_400_000,
                record.intent or "",
            ),
        )

    async def commit_late(self, shop: str, record: Record, event_id: str, event: bytes) -> Units:
        """Hold the units of an expired hold again and sell them, in one step; again is fine.

        Raises:
            CommitEnded: the units are gone; void.
            CommitRefused: the order is not being voided for its expiry any more, look again.
            NotDurable: sold, but the replicas do not have it yet.
        """
        keys = ShopKeys(shop)
        return await self._sell(
            load("hold_again"),
            (
                keys.meta,
                keys.stock,
                keys.catalog,
                keys.ledger,
                keys.orders,
                keys.news,
                keys.unsettled,
                keys.shopper(record.shopper),
                keys.order(record.order),
            ),
            (
                record.order,
                record.attempt,
                event_id,
                event,
                self.settings.settle_interval_s * 1000,
                record.intent or "",
            ),
        )

    async def _sell(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> Units:
        """Run a commit; its units, or raise what its words mean."""
        reply, durable = await self._run(script, keys, args, durably=True)
        match reply[0]:
            case b"ENDED" | b"GONE":
                raise CommitEnded
            case b"REFUSED":
                raise CommitRefused
            case b"FROZEN":
                raise Frozen
        if not durable:
            raise NotDurable
        return UNITS.decode(reply[1])

    async def move(
        self,
        shop: str,
        record: Record,
        phase: Phase,
        fields: Mapping[str, str] = MappingProxyType({}),
        *,
        look_again_ms: int | None = None,
        hold_for_ms: int | Literal["waits"] | None = None,
        durably: bool = False,
    ) -> bool:
        """Move a record to a phase, or keep fields with it; ``False`` when it has moved on.

        ``look_again_ms`` says when the sweep looks. ``hold_for_ms`` is how long the hold still has;
        ``waits``: Stripe has not answered; until then no time counts.

        Raises:
            NotDurable: with ``durably``, moved, but the replicas do not have it yet.
        """
        keys = ShopKeys(shop)
        reply, durable = await self._run(
            load("order_move"),
            (
                keys.meta,
                keys.deadlines,
                keys.unsettled,
                keys.hold(record.hold),
                keys.order(record.order),
                keys.news,
            ),
            (
                record.order,
                record.attempt,
                phase,
                msgspec.json.encode(dict(fields)),
                "" if look_again_ms is None else look_again_ms,
                "" if hold_for_ms is None else hold_for_ms,
                record.intent or "",
                self.settings.stripe_queue_s * 1000,
            ),
            durably=durably,
        )
        if reply[0] == b"MOVED" and phase is not record.phase:
            self.moved[phase, why_in_few_words(fields)] += 1
        if not durable:
            raise NotDurable
        return bool(reply[0] == b"MOVED")

    async def _run(
        self, script: Script, keys: Sequence[str], args: Sequence[Word], *, durably: bool
    ) -> tuple[Reply, bool]:
        """Run a script; its reply, and ``False`` if it had to be durable and is not yet."""
        with traces.span(f"EVALSHA {script.name}", Kind.CLIENT, of_script(script)) as step:
            if not durably:
                return await self.lane.call(script, keys, args), True
            durable = await self.lane.call_durably(script, keys, args)
            step.note({"holdfast.replicas": durable.replicas})
            return durable.reply, durable.replicas >= self.settings.wait_replicas

    async def fail(self, shop: str, record: Record, reason: str) -> bool:
        """Undo a commit whose money could not be captured; ``False`` when it was, after all."""
        keys = ShopKeys(shop)
        reply: Reply = await self.lane.call(
            load("order_fail"),
            (
                keys.meta,
                keys.stock,
                keys.ledger,
                keys.news,
                keys.unsettled,
                keys.shopper(record.shopper),
                keys.order(record.order),
            ),
            (record.order, reason),
        )
        self.moved[Phase.FAILED, reason] += reply[0] == b"FAILED"
        return bool(reply[0] == b"FAILED")

    async def due(self, shop: str, limit: int) -> list[str]:
        """Orders to look at now. Each is put off first, so that two sweeps rarely meet at one."""
        key, now_ms = ShopKeys(shop).unsettled, await now(self.lane, shop)
        members = await self.lane.command(
            "ZRANGE", key, "-inf", now_ms, "BYSCORE", "LIMIT", 0, limit
        )
        orders = [member.decode() for member in members]
        later = now_ms + self.settings.settle_interval_s * 1000
        for order in orders:
            await self.lane.command("ZADD", key, "XX", later, order)
        return orders


def _check_begun(words: list[str]) -> None:
    """Raise what the words of ``pay_begin`` mean."""
    match words:
        case ["PAYING", _] | ["DONE", _]:
            return
        case ["IN_PROGRESS"]:
            raise CompletionInProgress("A payment for this is already under way.")
        case ["LIMIT", limit]:
            raise LimitExceeded("Too many payment methods were tried.", limit=int(limit))
        case ["TOTAL_CHANGED", amount, currency]:
            raise TotalChanged(
                "The total is not what you saw; nothing was charged.",
                total={"amount": int(amount), "currency": currency},
            )
        case ["ENDED", state]:
            raise_ended(state)
        case ["FROZEN"]:
            raise Frozen
        case ["PAUSED"]:
            raise Paused
        case ["NOT_FOUND"]:
            raise NotFound("There is no such hold.")
        case ["UNKNOWN", phase]:
            raise Unavailable(
                "This payment cannot be looked at here now; no other was begun.",
                f"The order is in phase {phase}, which only a newer version knows.",
            )
        case _:
            raise AssertionError(f"pay_begin said {words}")
