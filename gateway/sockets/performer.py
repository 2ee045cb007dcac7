"""Performs the commands of one session: each gets one answer, and is counted by what became of it.

Commands are performed in tasks of their own; but ``reserve``, of which thousands come at once,
needs no more than to be called back.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from gateway.errors import Frozen, HoldfastError, Paused, Unavailable
from gateway.messages import AnyCommand, Frame, Refresh, Refreshed, Reserve, encode
from gateway.sessions.machine import Machine
from gateway.sessions.session import Session, reserved
from gateway.sockets import frames
from gateway.sockets.outbox import Outbox
from gateway.sockets.tally import Tally
from gateway.stock.reservations import Words
from gateway.traces import about

log = logging.getLogger(__name__)

_WHY_NOT: dict[type[HoldfastError], str] = {Frozen: "frozen", Paused: "paused"}
"""Clients are told both as ``unavailable``; whoever is on call must tell them apart."""


@dataclass(eq=False, frozen=True, slots=True)
class Performer:
    """What a shopper who was let in asks for, from the command to the answer."""

    session: Session
    machine: Machine
    outbox: Outbox
    tally: Tally
    start: Callable[[Coroutine[Any, Any, Frame]], asyncio.Task[Frame]]
    """Has something done beside the socket, and ended with it."""

    def perform(self, command: AnyCommand) -> None:
        """Do what a command asks for; its answer is put into the outbox."""
        began_s = self.session.rooms.clock.monotonic_s()
        try:
            answer = self._begin(command)
        except HoldfastError as error:
            self._reply(command, began_s, error)
        else:
            answer.add_done_callback(partial(self._answered, command, began_s))

    def _begin(self, command: AnyCommand) -> asyncio.Future[Words] | asyncio.Future[Frame]:
        if isinstance(command, Reserve):
            return self.session.reserve(command)
        return self.start(self._answer(command))

    def _answered(
        self,
        command: AnyCommand,
        began_s: float,
        answer: asyncio.Future[Words] | asyncio.Future[Frame],
    ) -> None:
        if answer.cancelled():
            return  # The socket is gone.
        frame: Frame | HoldfastError
        try:
            said = answer.result()
            frame = said if isinstance(said, Frame) else reserved(said)
        except Frozen as frozen:
            if not isinstance(answer, asyncio.Task):
                # The session waits until the shop is served, and asks again.
                later = self.start(self._answer(command))
                later.add_done_callback(partial(self._answered, command, began_s))
                return
            frame = frozen
        except HoldfastError as error:
            frame = error
        except Exception:
            with about(**self.session.ids(command)):
                log.exception("sockets: a command failed")
            frame = our_fault()
        self._reply(command, began_s, frame)

    def _reply(self, command: AnyCommand, began_s: float, answer: Frame | HoldfastError) -> None:
        outcome = "ok"
        if isinstance(answer, HoldfastError):
            outcome = _WHY_NOT.get(type(answer), answer.code)
            self.outbox.put(encode(frames.error_frame(answer, command.id)))
        else:
            self.outbox.put(encode(msgspec.structs.replace(answer, id=command.id)))
        took_s = self.session.rooms.clock.monotonic_s() - began_s
        self.tally.answered(type(command).__name__.lower(), outcome, took_s)
        self.machine.answered()

    async def _answer(self, command: AnyCommand) -> Frame:
        if isinstance(command, Refresh):
            return await self._refresh(command)
        return await self.session.perform(command)

    async def _refresh(self, command: Refresh) -> Frame:
        rooms = self.session.rooms
        ticket = rooms.tokens.read_ticket(command.token)
        self.machine.may_refresh(ticket, rooms.clock.monotonic_s())
        await rooms.admission.stays(ticket, command.token, self.session.id)
        token, ticket = rooms.tokens.sign_next(ticket)
        self.machine.refreshed(ticket)
        return Refreshed(token=token, token_ttl_s=rooms.tokens.left_s(ticket))


def our_fault() -> Unavailable:
    """What a client is told when something failed that should not; the log has the rest."""
    return Unavailable("Something went wrong here; try again.")
