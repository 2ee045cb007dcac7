"""Repairs what reconciling found. Each may be repeated, and stopped at any moment.

Nothing here decides what is wrong (``differences`` does), and nothing moves a record but by the
scripts and by ``settle``: a repair that comes too late is refused there.
"""

import logging
from dataclasses import dataclass

from gateway.checkout.phases import RESTING, Phase
from gateway.checkout.record import Record
from gateway.checkout.settle import Settler
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.news import tell
from gateway.orders.index import Copy
from gateway.reconcile.differences import REPAIRS, Charge, Difference, Repair
from gateway.reconcile.statement import Statement
from gateway.scripts import load
from gateway.stock.standing import State, stand

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repairs:
    """Repairs orders of any shop of this Redis."""

    settler: Settler
    statement: Statement

    @property
    def _lane(self) -> Lane:
        return self.settler.lane

    async def mend(
        self, difference: Difference, shop: str, order: str, charge: Charge | None, event_id: str
    ) -> None:
        """Do what the difference asks for; whether it helped is seen by looking again.

        Raises:
            HoldfastError: Redis or Stripe does not answer, or the order is gone by now.
            NotPossible: Stripe refuses it for good.
        """
        match REPAIRS[difference]:
            case Repair.SETTLE:
                await self._settle(shop, order)
            case Repair.CANCEL if charge:
                await self._cancel(shop, order, charge)
            case Repair.GIVE_BACK | Repair.GIVE_BACK_BY_HAND if charge:
                await self._give_back(shop, order, charge)
            case Repair.APPEND:
                keys = ShopKeys(shop)
                await self._lane.call(
                    load("orders_restore"), (keys.order(order), keys.orders), (order, event_id)
                )

    async def drop(self, shop: str, copy: Copy) -> bool:
        """Drop the later copy of an event; ``False`` when the two are not the same."""
        key = ShopKeys(shop).orders
        first = await self._lane.command("XRANGE", key, copy.first, copy.first)
        again = await self._lane.command("XRANGE", key, copy.again, copy.again)
        if first and again and first[0][1] != again[0][1]:
            return False
        if first and again:
            await self._lane.command("XDEL", key, copy.again)
        return True

    async def _settle(self, shop: str, order: str) -> None:
        await self.settler.settle(shop, order)
        record = await self.settler.records.find(shop, order)
        if record is None or record.phase is not Phase.PAYING:
            return
        state = await self._lane.command("HGET", ShopKeys(shop).hold(record.hold), "state")
        if state != b"active" and await self._move(shop, record, Phase.VOIDING, reason="expired"):
            await self.settler.settle(shop, order)

    async def _cancel(self, shop: str, order: str, charge: Charge) -> None:
        record = await self.settler.records.find(shop, order)
        if record:
            await self.settler.payments.cancel(shop, record, charge.id)
        elif await self._is_sure(shop):
            await self.statement.cancel(charge)

    async def _give_back(self, shop: str, order: str, charge: Charge) -> None:
        """Refund, where there is a record by the key ``settle`` would use as well.

        That it is given back is written before Stripe is asked: a shopper who comes back is told,
        even if nobody is left to push it.
        """
        record = await self.settler.records.find(shop, order)
        if record is None:
            if await self._is_sure(shop):
                await self.statement.give_back(charge)
            return
        unsold = record.phase in RESTING - {Phase.CAPTURED}
        if unsold and not await self._move(shop, record, record.phase, given_back=charge.id):
            return
        await self.settler.payments.give_back(shop, record, charge.id)
        if unsold:
            said = await self.settler.tidings(shop, order)
            await tell(self._lane, shop, record.shopper, said)

    async def _is_sure(self, shop: str) -> bool:
        """A shop that is rebuilt may only be about to learn of an order again."""
        return (await stand(self._lane, shop)).state is not State.FROZEN

    async def _move(self, shop: str, record: Record, phase: Phase, **fields: str) -> bool:
        look_again_ms = None if phase in RESTING else 0
        return await self.settler.records.move(
            shop, record, phase, fields, look_again_ms=look_again_ms
        )
