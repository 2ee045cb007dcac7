"""The line before a full show: who is let in, in order of arrival, over all processes.

A show takes ``show_viewers``. Taken are as many as are counted, and the places kept for those who
were let in and are not counted yet. Who is in may leave and come again without waiting, for as long
as the session would have lasted and a little longer. Without a limit there is no line, and all that
is written is that the ticket was used.

A ticket that a shop signs itself needs no place: its shopper is counted, but never waits. Nor does
who is in need one for another device, and many who were in may come back together. So a show can
have more viewers than it takes; what one process bears is bounded at its door.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

from msgspec import Struct

from gateway.errors import Overloaded
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply
from gateway.scripts import load
from gateway.settings import Settings
from gateway.tickets import Ticket, TicketExpired, Tokens, mark

Said = Literal["let_in", "queued", "line_full", "late", "used"]
SAID: tuple[Said, ...] = get_args(Said)
"""A ticket, a place in the line, that the line is too long, that the place was not kept, or that
the ticket was used."""

PROCESS_SILENT_MS = 3_000
"""A process whose viewer count is older than this is gone."""
_COUNTED_WITHIN_MS = PROCESS_SILENT_MS
"""Who comes in is in the next count; until then the place stays taken by the invitation."""
_COMES_AGAIN_S = 120
"""How long after the end of a session its shopper still comes in before those who wait."""
_MOST_IN_LINE = 1_000_000
_RETRY_LEAST_MS = 1_000
_RETRY_PER_PLACE_MS = 20
"""The farther from the head, the longer until anything can change."""
_TIMES_HEARD = 3
"""Who does as told asks so often before silence counts; a longer silence is less to answer."""


class Place(Struct, frozen=True):
    """A place in the line: how many are ahead, oneself included, and when to ask again."""

    position: int
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets shoppers into the shows of any shop of this Redis."""

    lane: Lane
    settings: Settings
    tokens: Tokens
    rng: random.Random
    said: Counter[Said] = field(default_factory=Counter)
    """How often this process told what."""

    @property
    def limited(self) -> bool:
        """Whether a show takes only so many, so that a ticket needs a place."""
        return self.settings.show_viewers > 0

    async def ask(self, shop: str, show: str, shopper: str) -> Place | None:
        """Let a shopper in, or tell the place in the line; asking again loses nothing.

        Raises:
            Overloaded: the line is as long as it may be.
        """
        if not self.limited:
            return None
        keys, settings = ShopKeys(shop), self.settings
        reply = await self.lane.call(
            load("admission_ask"),
            (
                keys.viewers(show),
                keys.line(show),
                keys.heard(show),
                keys.invited(show),
                keys.inside(show),
                keys.patient(show),
            ),
            (
                shopper,
                settings.show_viewers,
                self._kept_ms,
                settings.queue_silence_s * 1000,
                PROCESS_SILENT_MS,
                _MOST_IN_LINE,
            ),
        )
        match reply:
            case [b"IN"]:
                self.said["let_in"] += 1
                return None
            case [b"LINE", int(position)]:
                self.said["queued"] += 1
                return Place(position, self._retry_ms(position))
            case [b"FULL"]:
                self.said["line_full"] += 1
                raise Overloaded(
                    "So many wait that the line is closed; try again.",
                    retry_after_ms=self._retry_ms(_MOST_IN_LINE),
                )
            case _:
                raise AssertionError(f"admission_ask said {reply}")

    @property
    def _kept_ms(self) -> int:
        """How long a place is kept; all places are forgotten after so long without a new one."""
        return max(self.settings.invitation_s * 1000, _COUNTED_WITHIN_MS)

    def _retry_ms(self, position: int) -> int:
        """When to ask again: well before silence counts, and not all at once."""
        wait_ms = min(
            _RETRY_LEAST_MS + position * _RETRY_PER_PLACE_MS,
            self.settings.queue_silence_s * 1000 // _TIMES_HEARD,
        )
        return round(wait_ms * self.rng.uniform(0.75, 1))

    def arrives(self, ticket: Ticket, token: str, session: str) -> asyncio.Future[Reply]:
        """A shopper comes in with a ticket, read from this token: use it up for the session.

        Say so before the welcome, and hand the reply to ``let_in``. It is no coroutine, so that it
        takes no round trip of its own from whoever asks for more at once.
        """
        return self._note(
            ticket,
            token,
            session,
            needs_place=ticket.needs_place,
            counted_within_ms=_COUNTED_WITHIN_MS,
        )

    async def stays(self, ticket: Ticket, token: str, session: str) -> None:
        """A shopper who is in has a new ticket, and it is used up as well.

        Raises:
            TicketExpired: it was used.
        """
        self.let_in(
            await self._note(ticket, token, session, needs_place=False, counted_within_ms=0)
        )

    def let_in(self, reply: Reply) -> None:
        """Take the reply of ``arrives``.

        Raises:
            TicketExpired: another session used the ticket, or the place was not kept for so long.
        """
        match reply:
            case [b"IN"] | [b"TAKEN"]:
                return
            case [b"USED"]:
                self.said["used"] += 1
                raise TicketExpired("This ticket was used; ask for another.")
            case [b"LATE"]:
                self.said["late"] += 1
                raise TicketExpired("Your place was kept for a while; ask for a new ticket.")
            case _:
                raise AssertionError(f"a ticket was answered with {reply}")

    def _note(
        self,
        ticket: Ticket,
        token: str,
        session: str,
        *,
        needs_place: bool,
        counted_within_ms: int,
    ) -> asyncio.Future[Reply]:
        keys, settings = ShopKeys(ticket.shop), self.settings
        taken, taking = keys.ticket(mark(token)), (session, self.tokens.keep_mark_ms(ticket))
        if not self.limited:
            return self.lane.call(load("ticket_take"), (taken,), taking)
        return self.lane.call(
            load("admission_arrive"),
            (keys.invited(ticket.show), keys.inside(ticket.show), taken),
            (
                ticket.sub,
                int(needs_place),
                counted_within_ms,
                (settings.session_ttl_s + _COMES_AGAIN_S) * 1000,
                self._kept_ms,
                *taking,
            ),
        )
