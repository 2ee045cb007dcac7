"""The hold of a payment is gone: its units are sold after all, or its money is given back, once.

It ends when nothing is authorized any more, and only then is the shopper told. Until a request that
was sent cannot reach Stripe any more, the intent it would make is waited for.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import msgspec

from gateway.checkout.payment import Intent, Payments
from gateway.checkout.phases import Phase
from gateway.checkout.provider import NotPossible
from gateway.checkout.record import Record
from gateway.checkout.records import Records
from gateway.checkout.turns import CalledOff, OnWait
from gateway.clock import Clock
from gateway.errors import Unavailable
from gateway.settings import Settings

log = logging.getLogger(__name__)

_LOST_INTENT_MS = 60_000
"""How long after Stripe was last asked for an intent the request may still arrive, at least."""

Commit = Callable[[str, Record, str, bytes], Awaitable[object]]
"""Writes a sale: of ``Records``, ``commit`` or ``commit_late``."""


@dataclass(frozen=True, slots=True)
class Case:
    """One order at one recovery point."""

    shop: str
    record: Record
    on_wait: OnWait
    """Keeps the order ours while we queue for Stripe, and tells the shopper the place."""


@dataclass(frozen=True, slots=True)
class Voiding:
    """Voids orders. Every step may be repeated, by anybody."""

    records: Records
    payments: Payments
    clock: Clock
    settings: Settings
    sell: Callable[[Case, str, Commit], Awaitable[bool]]
    """Writes the sale of an intent; ``False`` when there is nothing to sell any more."""

    async def go_on(self, case: Case) -> bool:
        """Sell the units after all, or give the money back; ``False``: others must act first.

        Raises:
            CalledOff: the order has moved on meanwhile; look again.
            Unavailable: Redis or Stripe does not answer, or it cannot be voided yet.
        """
        shop, record = case.shop, case.record
        if not await self._is_over(case):
            return True
        intent = await self._lost_or_known(case)
        reason = record.reason or "expired"
        if intent is None and self._may_still_come(record):
            return False
        if intent and record.intent is None:
            if not await self._keep(case, intent=intent.id):
                return True
            record = msgspec.structs.replace(record, intent=intent.id)
            case = replace(case, record=record)
        may_sell = not record.given_back and intent and intent.approved
        if intent and may_sell and self.payments.may_settle(shop, record, intent):
            if await self._sell_late(case, intent):
                return True
            reason = "gone" if reason == "expired" else reason
        if intent and self.payments.is_for(shop, record.order, intent):
            await self.give_back(case, intent.id, intent.status)
        return await self.records.move(shop, record, Phase.VOIDED, {"reason": reason})

    async def _is_over(self, case: Case) -> bool:
        """That it is voided must not be forgotten once the shopper is told."""
        reason = case.record.reason or "expired"
        return await self._keep(case, durably=True, reason=reason)

    async def _keep(self, case: Case, *, durably: bool = False, **fields: str) -> bool:
        """Keep fields with an order being voided; ``False`` when it is not any more."""
        return await self.records.move(
            case.shop,
            case.record,
            Phase.VOIDING,
            fields,
            look_again_ms=self.settings.settle_interval_s * 1000,
            durably=durably,
        )

    async def _lost_or_known(self, case: Case) -> Intent | None:
        """The intent that the attempt has made at Stripe, if any."""
        record = case.record
        if record.intent:
            return await self.payments.read(record.intent, case.on_wait)
        return await self.payments.find(case.shop, record) if record.asked_at else None

    def _may_still_come(self, record: Record) -> bool:
        """A request may be on its way for as long as we wait for it, each time it is sent."""
        longest_ms = max(_LOST_INTENT_MS, 3 * self.settings.stripe_timeout_ms)
        return bool(record.asked_at and self.clock.now_ms() < record.asked_at + longest_ms)

    async def _sell_late(self, case: Case, intent: Intent) -> bool:
        """Approved after the deadline; ``False`` when the units are not there any more."""
        record = case.record
        if record.reason != "expired" and not (record.pinned and intent.status == "succeeded"):
            return False
        # A pinned payment's units are still held.
        commit = self.records.commit if record.pinned else self.records.commit_late
        return await self.sell(case, intent.id, commit)

    async def give_back(self, case: Case, intent: str, status: str) -> None:
        """Cancel an intent; refund it if its money was taken, and nothing can be sold for it.

        Raises:
            CalledOff: it may have been sold meanwhile; look again.
            Unavailable: it cannot be voided yet.
        """
        shop, record = case.shop, case.record
        try:
            await self.payments.cancel(shop, record, intent, status, case.on_wait)
        except NotPossible:
            state = await self.payments.read(intent)
            if state.status == "succeeded":
                # Written first: from then on nobody sells it, nor tells the shopper otherwise.
                if record.phase is not Phase.VOIDING or not await self.records.move(
                    shop, record, Phase.VOIDING, {"given_back": intent}, look_again_ms=0
                ):
                    raise CalledOff from None
                await self.payments.give_back(shop, record, intent)
            elif state.status != "canceled":
                log.error("payments: order %s: cannot void: %s", record.order, state.status)
                raise Unavailable("The payment could not be voided yet.") from None
