"""The rooms, joined: what the front doors (``api``, ``sockets``) and the sweep are given.

``join`` and ``of_process`` open nothing: whoever calls them also serves the lane, and closes the
rooms. ``opened`` does both, for a command that is done soon.
"""

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.admission import Admission
from gateway.checkout.payment import Payments
from gateway.checkout.records import Records
from gateway.checkout.refunds import Refunds
from gateway.checkout.settle import Settler
from gateway.checkout.unknown import UnknownEvents
from gateway.claims.address import open_claims
from gateway.claims.table import Claims
from gateway.clock import Clock, SystemClock
from gateway.durability import Durability
from gateway.lane import Lane, served
from gateway.model import Order
from gateway.orders import entry
from gateway.reconcile.statement import Statement
from gateway.recovery.rebuild import Rebuilder
from gateway.recovery.recovery import Recovery
from gateway.recovery.sold import Books
from gateway.settings import Settings
from gateway.shows.catalog import Catalog
from gateway.shows.shows import Shows
from gateway.stock.holds import Holds
from gateway.stock.movements import Movements
from gateway.tickets import Tokens
from gateway.traces import Tracer, traceparent


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything a shopper, a shop's program or the sweep can ask for."""

    settings: Settings
    clock: Clock
    rng: random.Random
    lane: Lane
    tokens: Tokens
    admission: Admission
    catalog: Catalog
    shows: Shows
    holds: Holds
    movements: Movements
    records: Records
    payments: Payments
    refunds: Refunds
    settler: Settler
    claims: Claims | None
    unknown: UnknownEvents
    recovery: Recovery
    durability: Durability
    tracer: Tracer

    async def aclose(self) -> None:
        """Give up what they hold: recoveries under way, and the ways to Stripe and the claims."""
        await self.recovery.aclose()
        await self.payments.aclose()
        if self.claims:
            await self.claims.aclose()
        await self.tracer.aclose()


def join(
    settings: Settings,
    clock: Clock,
    rng: random.Random,
    lane: Lane,
    payments: Payments,
    claims: Claims | None = None,
    tracer: Tracer | None = None,
) -> Rooms:
    """Join the rooms over one lane; with ``claims`` in strict mode."""
    tracer = tracer or Tracer()
    records = Records(lane, settings)
    books = Books(Statement(payments.provider, settings.environment), claims, clock)
    tokens = Tokens(settings, clock)
    refunds = Refunds(lane, payments, settings, clock, _encode_event)
    return Rooms(
        settings=settings,
        clock=clock,
        rng=rng,
        lane=lane,
        tokens=tokens,
        admission=Admission(lane, settings, tokens, rng),
        catalog=Catalog(lane, settings, clock),
        shows=Shows(lane),
        holds=Holds(lane, settings),
        movements=Movements(lane, settings),
        records=records,
        payments=payments,
        refunds=refunds,
        settler=Settler(
            *(lane, records, payments, clock, settings, refunds, _encode_event, tracer, claims)
        ),
        claims=claims,
        unknown=UnknownEvents(lane, clock, settings),
        recovery=Recovery(
            lane, Rebuilder(lane, settings, books), clock, owner=f"{rng.getrandbits(64):016x}"
        ),
        durability=Durability(lane, settings, clock),
        tracer=tracer,
    )


def of_process(settings: Settings, lane: Lane, tracer: Tracer | None = None) -> Rooms:
    """Join the rooms as the settings say, by the system's clock and chance.

    Raises:
        SettingsError: the driver of the claims is not installed.
    """
    clock = SystemClock()
    payments, claims = Payments(settings, lane, clock), open_claims(settings)
    return join(settings, clock, random.SystemRandom(), lane, payments, claims, tracer)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Rooms]:
    """The rooms of a command, open while the block runs.

    Raises:
        SettingsError: the driver of the claims is not installed.
    """
    async with served(settings) as lane:
        rooms = of_process(settings, lane)
        try:
            yield rooms
        finally:
            await rooms.aclose()


def _encode_event(shop: str, order: Order) -> tuple[str, bytes]:
    """What the commit writes for the POS; checkout does not know the orders room."""
    event = entry.event(shop, order, traceparent())
    return event.id, entry.encode(event)
