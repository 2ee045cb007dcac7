"""One socket from its upgrade to its close.

A connection owns a loop that receives (and never awaits slow work, or pongs would go unread and the
socket would die) and a writer that empties the outbox. The machine decides; commands are the
performer's.

Where the server offers it, frames come and go by the short way (``direct``) whenever nothing waits,
and the receiving loop and the writer have only the rest to do. There are thousands of viewers who
do nothing: what one costs is measured in ``loadtest/bench_fanout.py``.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.checkout.desk import Desk
from gateway.clock import rfc3339
from gateway.errors import CloseCode, HoldfastError, LimitExceeded
from gateway.messages import Connect, PreparedWelcome, encode
from gateway.model import Hold, ShowState
from gateway.rooms import Rooms
from gateway.sessions.limits import Bucket
from gateway.sessions.machine import Busy, Close, Effect, Machine, Perform, Refuse
from gateway.sessions.session import Session, admit, join
from gateway.sockets import frames
from gateway.sockets.direct import EXTENSION, Direct, Encoded
from gateway.sockets.feed import Feed
from gateway.sockets.listener import NewsListener
from gateway.sockets.outbox import AT_ONCE_BYTES, Outbox
from gateway.sockets.performer import Performer, our_fault
from gateway.sockets.roster import Seat
from gateway.sockets.tally import Tally
from gateway.tickets import Ticket
from gateway.traces import parse

T = TypeVar("T")

log = logging.getLogger(__name__)

_REFRESHES = 8
"""Times a session may be prolonged while it would have lasted by itself; one or two are enough."""


@dataclass(eq=False, slots=True)
class Connection:
    """One socket; what the roster knows as the holder of a seat, and the door as a guest."""

    socket: WebSocket
    rooms: Rooms
    desk: Desk
    listener: NewsListener
    tally: Tally = field(init=False)
    machine: Machine = field(init=False)
    outbox: Outbox = field(init=False)
    _performer: Performer | None = None
    """Of whoever was let in."""
    _feed: Feed | None = None
    _seat: Seat | None = None
    _direct: Direct | None = None
    _work: set[asyncio.Task[Any]] = field(default_factory=set)
    _closing: asyncio.Future[CloseCode | None] = field(init=False)
    """The code to close with; ``None`` once the peer has gone."""

    def __post_init__(self) -> None:
        self.tally = self.listener.tally
        settings, now_s = self.rooms.settings, self.rooms.clock.monotonic_s()
        burst = 2 * settings.commands_per_s
        self.machine = Machine(
            bucket=Bucket.full(settings.commands_per_s, burst, now_s),
            connect_by_s=now_s + settings.connect_timeout_s,
            most_in_flight=settings.commands_in_flight,
            refreshes=Bucket.full(_REFRESHES / settings.session_ttl_s, _REFRESHES, now_s),
        )
        self.outbox = Outbox(self._snapshot, settings.outbox_frames, self._overflowed, self.tally)
        self._closing = asyncio.get_running_loop().create_future()

    def _snapshot(self) -> Encoded:
        assert self._feed  # Without it no stock was told.
        return self._feed.snapshot()

    async def serve(self) -> None:
        """Serve until either side closes."""
        direct: Direct | None = self.socket.scope.get("extensions", {}).get(EXTENSION)
        self._direct = direct
        if direct:
            direct.attach(self.outbox, self.rooms.settings.send_buffer_bytes, AT_ONCE_BYTES)
            direct.hear(self._arrived)
        receiving = asyncio.create_task(self._receive())
        receiving.add_done_callback(self._hung_up)
        writing = asyncio.create_task(self.outbox.run(self.socket.send_text))
        try:
            code = await self._closing
            if code is not None:
                await self._close(code, writing)
        finally:
            if direct:
                direct.hear(None)
                direct.detach()
            await _end([receiving, writing, *self._work])
            self._leave()
            # What knows us would be kept with us until garbage is looked for: hundreds of sockets.
            self.outbox.ends()
            self._seat = self._performer = None

    def _hung_up(self, _: asyncio.Task[None]) -> None:
        if not self._closing.done():
            self._closing.set_result(None)

    def _leave(self) -> None:
        if self._feed and self._seat:
            self._feed.fanout.leave(self._seat)

    async def _close(self, code: CloseCode, writing: asyncio.Task[None]) -> None:
        """Write what is still waiting, for a moment, then close with a code in any case."""
        self._leave()
        patience_s = self.rooms.settings.close_timeout_ms / 1000
        if code is not CloseCode.SLOW_CONSUMER:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self.outbox.drained()
        writing.cancel()
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(patience_s):
                await self.socket.close(code)

    async def _receive(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                if not self._closing.done():
                    ours = self._direct.ended_with if self._direct else None
                    self.tally.went(message.get("code", 1005), ours)
                return
            text = message.get("text")
            if text is None:
                self._act(self.machine.binary())
            else:
                self._arrived(text)

    def _arrived(self, text: str) -> None:
        now_s = self.rooms.clock.monotonic_s()
        effects = self.machine.arrived(len(text), now_s)
        if effects:
            self._act([_with_id(effect, text) for effect in effects])
            return
        try:
            command = frames.decode(text)
        except HoldfastError as error:
            self._act(self.machine.garbled(error, frames.id_of(text)))
        else:
            self._act(self.machine.commanded(command))

    def _act(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Perform(Connect() as command):
                    self._start(self._connect(command))
                case Perform(command):
                    assert self._performer  # Until then the machine lets only ``connect`` pass.
                    self._performer.perform(command)
                case Refuse(error, command_id):
                    self.outbox.put(encode(frames.error_frame(error, command_id)))
                case Close(code):
                    if not self._closing.done():
                        self.tally.closed[code] += 1
                        self._closing.set_result(code)
                    if self._direct:
                        self._direct.hear(None)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _connect(self, command: Connect) -> None:
        try:
            welcome = await self._join(command)
        except HoldfastError as error:
            self._act(self.machine.refused(error, command.id))
        except Exception:
            log.exception("sockets: a shopper could not join")
            self._act(self.machine.refused(our_fault(), command.id))
        else:
            assert self._feed
            self.outbox.welcome(encode(welcome), self._feed.version)

    async def _join(self, command: Connect) -> PreparedWelcome:
        """Let a shopper in: from the welcome on, every change comes as a push.

        The seat is taken before anything is read, so that a change between the two is not missed,
        and the ticket used up last: who could not be served comes back with it.
        """
        rooms, settings = self.rooms, self.rooms.settings
        ticket = admit(rooms, command)
        self._feed = feed = await self.listener.feed(ticket.shop)
        seat = self._take_seat(feed, ticket)
        name = secrets.token_hex(8)
        show = await feed.show(ticket.show)
        joined = await join(rooms, ticket, command.token, name, show)
        session = Session(
            name,
            *(ticket.shop, ticket.show, ticket.sub, rooms, self.desk, parse(command.traceparent)),
        )
        self._performer = Performer(session, self.machine, self.outbox, self.tally, self._start)
        token, ticket = rooms.tokens.sign_next(ticket)
        self._share_allowance(feed, ticket.sub)
        self.machine.joined(ticket, joined.show.state, joined.holds)
        feed.greet(seat)
        now_ms = rooms.clock.now_ms()
        return PreparedWelcome(
            id=command.id,
            session=session.id,
            show=joined.show,
            stock=feed.showcase.stock_for(command.resume),
            catalog=feed.showcase.catalog_for(command.resume),
            catalog_tag=feed.showcase.catalog_tag,
            holds=joined.holds,
            orders=joined.orders,
            now=rfc3339(now_ms),
            ping_s=settings.ping_s,
            token=token,
            token_ttl_s=rooms.tokens.left_s(ticket),
        )

    def _take_seat(self, feed: Feed, ticket: Ticket) -> Seat:
        most = self.rooms.settings.sockets_per_shopper
        if len(feed.roster.of(ticket.sub)) >= most:
            raise LimitExceeded("This shopper has too many connections.", limit=most)
        seat = self._seat = Seat(ticket.show, ticket.sub, self.outbox, self)
        feed.roster.take(seat)
        return seat

    def ticked(self) -> None:
        """Time has passed."""
        clock = self.rooms.clock
        now_s = clock.monotonic_s()
        effects = self.machine.ticked(now_s, clock.now_ms())
        if effects:
            self._act(effects)
        self.outbox.ticked(now_s, self.rooms.settings.slow_grace_s)

    def _share_allowance(self, feed: Feed, shopper: str) -> None:
        rate, now_s = self.rooms.settings.commands_per_shopper_per_s, self.rooms.clock.monotonic_s()
        fresh = Bucket.full(rate, 2 * rate, now_s)
        self.machine.shared = feed.roster.allowance(shopper, fresh)

    def _overflowed(self) -> None:
        """The client does not read."""
        self._act(self.machine.overflowed())

    def active_holds(self) -> tuple[Hold, ...]:
        """The holds this shopper is known to have."""
        return self.machine.active

    def hold_changed(self, hold: Hold) -> None:
        """A hold of this shopper changed."""
        self.machine.hold_changed(hold)

    def show_changed(self, state: ShowState) -> None:
        """The show started or ended."""
        self.machine.show_changed(state)

    def epoch_changed(self) -> None:
        """What was said of the stock so far is void."""
        self._act(self.machine.epoch_changed())

    @property
    def busy(self) -> Busy:
        """What the shopper would be disturbed in."""
        return self.machine.busy

    def warn(self, frame: Encoded) -> None:
        """Tell the client that the socket will close."""
        self.outbox.push(frame)

    def leave(self) -> None:
        """Close for the drain."""
        self._act(self.machine.drained())


def _with_id(effect: Effect, text: str) -> Effect:
    if isinstance(effect, Refuse):
        return Refuse(effect.error, frames.id_of(text))
    return effect


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
            log.warning("sockets: %s while closing", type(outcome).__name__)
