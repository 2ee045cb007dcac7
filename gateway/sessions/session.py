"""Performs what a shopper's session asks for: each command becomes one frame, or an error."""

import asyncio
from dataclasses import dataclass
from functools import partial

from gateway.checkout.desk import Desk
from gateway.errors import Forbidden, Frozen, HoldfastError, Invalid, ShowNotLive
from gateway.keys import ShopKeys
from gateway.lane import pairs
from gateway.messages import (
    SUBPROTOCOL,
    AnyCommand,
    Ask,
    Checkout,
    Connect,
    Extend,
    Frame,
    HoldFrame,
    Ok,
    OrderView,
    Refresh,
    Release,
    Reserve,
)
from gateway.model import Hold, Show
from gateway.rooms import Rooms
from gateway.stock.holds import Held, held, hold_id
from gateway.stock.reservations import Words
from gateway.tickets import Ticket
from gateway.traces import Kind, Step, Trace, about, parse, within

_MOST_ORDERS = 50
"""Orders of one shopper that a welcome names, the newest."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What a shopper finds when coming in."""

    show: Show
    holds: tuple[Hold, ...]
    orders: tuple[OrderView, ...]


def admit(rooms: Rooms, command: Connect) -> Ticket:
    """Check the ticket.

    Raises:
        Unauthenticated, TicketExpired: it is not good.
        Forbidden: it is for another show.
    """
    ticket = rooms.tokens.read_ticket(command.token)
    if ticket.show != command.show:
        raise Forbidden("This ticket is for another show.")
    return ticket


async def join(rooms: Rooms, ticket: Ticket, token: str, session: str, show: Show) -> Joined:
    """Use the ticket up, and read what the shopper has. Who still holds something may come to pay.

    Who has nothing costs one round trip, which many share; who has, one more.

    Raises:
        TicketExpired: another session used the ticket, or the place it needs was not kept.
        ShowNotLive: the show is over.
    """
    arrived, fields = await asyncio.gather(
        rooms.admission.arrives(ticket, token, session),
        rooms.lane.command("HGETALL", ShopKeys(ticket.shop).shopper(ticket.sub)),
    )
    rooms.admission.let_in(arrived)
    holds, orders = await _belongings(rooms, ticket.shop, pairs(fields))
    if show.state == "ended" and not holds:
        raise ShowNotLive("The show is over.", state="ended")
    return Joined(show, holds, orders)


async def _belongings(
    rooms: Rooms, shop: str, fields: dict[str, bytes]
) -> tuple[tuple[Hold, ...], tuple[OrderView, ...]]:
    """What a shopper holds and has bought, by the fields of the shopper's key."""
    if not fields:
        return (), ()
    holds = [name.partition(":")[2] for name in fields if name.startswith("hold:")]
    bought = sorted(
        (int(at), name.partition(":")[2])
        for name, at in fields.items()
        if name.startswith("order:")
    )
    newest = bought[-_MOST_ORDERS:]
    found, records = await asyncio.gather(
        rooms.holds.of(shop, tuple(holds)),
        asyncio.gather(*(rooms.records.legible(shop, order) for _, order in newest)),
    )
    active = tuple(hold for hold in found if hold.state == "active")
    return active, tuple(record.view for record in records if record)


@dataclass(frozen=True, slots=True)
class Session:
    """One shopper in one show."""

    id: str
    shop: str
    show: str
    shopper: str
    rooms: Rooms
    desk: Desk
    trace: Trace | None = None
    """Of the commands that name none."""

    async def perform(self, command: AnyCommand) -> Frame:
        """Do what a command asks for; the frame is its answer but for the ``id``.

        While the shop is rebuilt it waits a little: its shopper shall hear the answer, not of that.

        Raises:
            HoldfastError: what the client is told instead.
        """
        ids = self.ids(command)
        # What is about one hold meets in one trace, on whichever socket it is said.
        trace = self._trace(command, ids.get("hold") or ids["request"])
        with about(**ids), self._step(command, trace):
            try:
                return await self._perform(command)
            except Frozen:
                await self.rooms.recovery.served(self.shop)
                return await self._perform(command)

    def ids(self, command: AnyCommand) -> dict[str, str]:
        """What log lines about a command carry."""
        known = {"session": self.id, "request": f"{self.id}-{command.id}", "shop": self.shop}
        match command:
            case Reserve():
                known["hold"] = hold_id(self.shop, self.shopper, command.key)
            case Extend() | Release() | Checkout():
                known["hold"] = command.hold
        return known

    def _trace(self, command: AnyCommand, seed: str) -> Trace | None:
        """The trace a command is part of: its own, the socket's, or one that it begins."""
        return parse(command.traceparent) or self.trace or self.rooms.tracer.fresh(seed)

    def _step(self, command: AnyCommand, trace: Trace | None) -> Step:
        name = type(command).__name__.lower()
        told = {"rpc.system.name": SUBPROTOCOL, "rpc.method": name}
        return self.rooms.tracer.enter(trace, f"live/{name}", Kind.SERVER, told)

    async def _perform(self, command: AnyCommand) -> Frame:
        rooms, shop, shopper = self.rooms, self.shop, self.shopper
        match command:
            case Reserve():
                return reserved(await self._decide(command))
            case Extend():
                return _hold(await rooms.holds.extend(shop, shopper, command.hold))
            case Release():
                return _hold(await rooms.holds.release(shop, shopper, command.hold))
            case Checkout():
                order = await rooms.records.begin(shop, shopper, command)
                return await self.desk.settle(shop, order, command.hold)
            case Ask():
                asked = f"{self.id}-{command.id}"
                at_ms = rooms.clock.now_ms()
                await rooms.shows.ask(shop, self.show, shopper, command.text, asked, at_ms)
                return Ok()
            case Connect() | Refresh():
                raise Invalid("This socket is connected already.")

    def reserve(self, command: Reserve) -> asyncio.Future[Words]:
        """What ``perform`` awaits for this command, so that it takes no task; see ``reserved``.

        Raises:
            HoldfastError: what the client is told instead.
        """
        if self.rooms.tracer.on:
            trace = self._trace(command, hold_id(self.shop, self.shopper, command.key))
            if trace and trace.sampled:
                return self._reserve_within(command, trace)
        return self._decide(command)

    def _reserve_within(self, command: Reserve, trace: Trace) -> asyncio.Future[Words]:
        with about(**self.ids(command)):
            step = self._step(command, trace)
        try:
            with within(step):
                answer = self._decide(command)
        except HoldfastError as error:
            step.end(error)
            raise
        answer.add_done_callback(partial(_end, step))
        return answer

    def _decide(self, command: Reserve) -> asyncio.Future[Words]:
        return self.rooms.holds.decide(
            self.shop, self.shopper, self.show, command.key, command.lines, command.fulfillment
        )


def reserved(words: Words) -> Frame:
    """The answer to a ``reserve``.

    Raises:
        HoldfastError: what the client is told instead.
    """
    return _hold(held(words))


def _end(step: Step, answer: asyncio.Future[Words]) -> None:
    """The reservation is decided."""
    if answer.cancelled():
        step.end("cancelled")
    elif error := answer.exception():
        step.end(error)
    else:
        step.note({"holdfast.outcome": answer.result()[0].lower()})
        step.end()


def _hold(now: Held) -> HoldFrame:
    return HoldFrame(hold=now.hold, version=now.version)
