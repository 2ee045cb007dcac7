"""One shopper of the crowd: looks, holds, hesitates, pays, and does again what failed.

Whatever is sent again after a failure carries the same key or the same hold, on whichever socket:
that is all it takes to be safe.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from gateway.demo.counts import Counts
from gateway.demo.entrance import Entrance
from gateway.demo.temper import GOOD_CARD, SECOND_STEP_CARD, Lines, Plan, Temper
from gateway.demo.visit import STOP_FROM, Away, Message, Visit

MOST_TRIES = 12
"""Of one request, before the shopper gives up and it counts as an error."""
_BACKOFF_S = 0.2
_BACKOFF_MAX_S = 2.0
_PUSH_WITHIN_S = 8.0
"""How long to wait for a push before asking again."""
_OUTCOME_WITHIN_S = 60.0
"""Longer than the budget of a payment: by then it is one thing or the other."""
_PATIENCE_S = 45.0
"""How long to wait in front of empty shelves: longer than any hold can keep a unit."""

_AGAIN = frozenset({"overloaded", "unavailable", "rate_limited"})
_BEATEN = frozenset({"sold_out", "limit_exceeded"})
_OVER = frozenset({"hold_expired", "hold_already_released", "not_found"})
_CLOSING = "show_not_live"


class Leaving(Exception):
    """It is time to go: the demo ends, the show is over, or everything is sold."""


class Unexpected(Exception):
    """An answer no shopper should get."""


@dataclass(slots=True)
class Shopper:
    """A shopper. ``stopping`` ends the visit at the next good moment."""

    name: str
    temper: Temper
    entrance: Entrance
    counts: Counts
    stopping: asyncio.Event
    _visit: Visit | None = None
    _ticket: Message | None = None
    """For the next socket: each welcome brings one."""
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _ranking: tuple[str, ...] = ()
    _wishes: int = 0

    async def run(self) -> None:
        """Come, shop until there is nothing left, and go."""
        try:
            await self._pause(self.temper.arrival_s())
            while True:
                await self._shop_once()
        except Leaving:
            pass
        except Unexpected as surprise:
            self.counts.blame(str(surprise))
        finally:
            await self._leave()

    async def _shop_once(self) -> None:
        await self._pause(self.temper.look_s())
        shelf = (await self._connected()).shelf
        lines = self.temper.basket(self._ranking, shelf.items)
        if not lines:
            await self._await_stock()
            return
        hold = await self._reserve(lines)
        if hold is None:
            self.counts.beaten += 1
            await self._pause(self.temper.react_s())
            return
        self.counts.held += 1
        async with self._giving_back(hold):
            await self._pause(self.temper.hesitate_s())
        await self._decide(hold)
        await self._pause(self.temper.rest_s())

    @contextlib.asynccontextmanager
    async def _giving_back(self, hold: Message) -> AsyncIterator[None]:
        """Whoever has to leave while thinking about it puts it back first."""
        try:
            yield
        except Leaving:
            await self._release(hold)
            raise

    async def _decide(self, hold: Message) -> None:
        match self.temper.plan():
            case Plan.GIVE_BACK:
                self.counts.given_up += 1
                await self._release(hold)
            case Plan.WALK_AWAY:
                self.counts.given_up += 1
                raise Leaving
            case Plan.PAY:
                await self._pay(hold, GOOD_CARD)
            case Plan.TRY_ANOTHER_CARD:
                await self._pay(hold, self.temper.bad_card(), GOOD_CARD)
            case Plan.ASK_THE_BANK:
                await self._pay(hold, SECOND_STEP_CARD)
            case Plan.FAIL_AT_THE_BANK:
                await self._pay(hold, SECOND_STEP_CARD, GOOD_CARD, says_yes=False)

    async def _pay(self, hold: Message, *cards: str, says_yes: bool = True) -> None:
        """Try one card after the other until one is taken or the hold is over."""
        for card in cards:
            outcome = await self._checkout(hold, card, says_yes=says_yes)
            if outcome.get("state") == "confirmed":
                self.counts.bought += 1
                return
            if outcome["code"] != "payment_declined":
                self.counts.lapsed += 1
                return
            self.counts.declined += 1
            async with self._giving_back(hold):
                await self._pause(self.temper.find_card_s())
        await self._release(hold)

    async def _reserve(self, lines: Lines) -> Message | None:
        """Hold these lines; ``None`` when somebody was faster."""
        self._wishes += 1
        reply = await self._ask(
            {
                "type": "reserve",
                "key": f"{self.name}-{self._wishes}",
                "lines": [{"sku": sku, "quantity": units} for sku, units in lines],
            },
            _BEATEN,
        )
        if reply["type"] == "error":
            if reply["code"] == "sold_out":
                # Its push may still be on the way; do not ask for the same again meanwhile.
                (await self._connected()).shelf.items[reply["sku"]] = reply["available"]
            return None
        hold: Message = reply["hold"]
        return hold if hold["state"] == "active" else None

    async def _release(self, hold: Message) -> None:
        await self._ask({"type": "release", "hold": hold["id"]}, _OVER | {"hold_already_committed"})

    async def _checkout(self, hold: Message, card: str, *, says_yes: bool) -> Message:
        """Pay, and wait until it is one thing or the other: the last frame about it."""
        command = {
            "type": "checkout",
            "hold": hold["id"],
            "expected_total": hold["total"],
            "payment": {"payment_method": card},
            "contact": {"email": f"{self.name}@example.com", "name": f"Shopper {self.name}"},
        }
        (await self._connected()).forget_checkout(hold["id"])
        told_bank = False
        reply = await self._ask(command, _OVER)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OUTCOME_WITHIN_S):
                while reply.get("state") in {"queued", "processing", "requires_action"}:
                    if reply["state"] == "requires_action" and not told_bank:
                        await asyncio.sleep(self.temper.find_card_s())
                        await self.entrance.tell_bank(reply["client_secret"], says_yes=says_yes)
                        self.counts.second_steps += 1
                        told_bank = True
                    visit = await self._connected()
                    heard = await visit.hear_checkout(hold["id"], _PUSH_WITHIN_S)
                    reply = heard or await self._ask(command, _OVER)
                return reply
        raise Unexpected(f"checkout: still {reply['state']} after {_OUTCOME_WITHIN_S:g} s")

    async def _ask(self, command: Message, allowed: frozenset[str]) -> Message:
        """Send a command until it has an answer: a good one, or one of these errors.

        Raises:
            Leaving: the show is over.
            Unexpected: another error, or none of ``MOST_TRIES`` came through.
        """
        failure = "no answer"
        for attempt in range(MOST_TRIES):
            if attempt:
                self.counts.retries += 1
            try:
                reply = await (await self._connected()).ask(command)
            except Away as away:
                failure = f"closed with {away.code}" if away.code else "no answer"
                await self._leave()
                wait_s = min(_BACKOFF_MAX_S, _BACKOFF_S * 2**attempt)
            else:
                code = reply.get("code")
                if reply["type"] != "error" or code in allowed:
                    return reply
                if code == _CLOSING:
                    raise Leaving
                failure = str(code)
                if code not in _AGAIN:
                    break
                wait_s = reply.get("retry_after_ms", 1000 * _BACKOFF_S) / 1000
            await asyncio.sleep(wait_s * self.temper.rng.uniform(0.5, 1.5))
        raise Unexpected(f"{command['type']}: {failure}")

    async def _connected(self) -> Visit:
        """The socket, opened if there is none.

        Raises:
            Leaving: the show is over, or the gateway wants no more of us.
            Unexpected: it cannot be opened.
        """
        if self._visit and self._visit.is_open:
            return self._visit
        if self._ranking:
            self.counts.reconnects += 1
        await self._leave()
        for attempt in range(MOST_TRIES):
            try:
                ticket = self._ticket or await self.entrance.ticket(self.name)
                visit, welcome = await self._stack.enter_async_context(self.entrance.enter(ticket))
            except Away as away:
                self._ticket = None
                if away.code and away.code >= STOP_FROM:
                    raise Unexpected(f"connect: closed with {away.code}") from None
                if self.stopping.is_set():
                    raise Leaving from None
                await asyncio.sleep(min(_BACKOFF_MAX_S, _BACKOFF_S * 2**attempt))
            else:
                self._visit, self._ticket = visit, ticket | {"token": welcome["token"]}
                self.counts.here += 1
                self._ranking = tuple(entry["sku"] for entry in welcome["catalog"])
                return visit
        raise Unexpected("connect: no way in")

    async def _leave(self) -> None:
        if self._visit:
            self.counts.here -= 1
            self._visit = None
        await self._stack.aclose()

    async def _await_stock(self) -> None:
        """Wait in front of empty shelves until something comes back.

        Raises:
            Leaving: nothing did.
        """
        shelf = (await self._connected()).shelf
        shelf.changed.clear()
        changed = asyncio.create_task(shelf.changed.wait())
        stopping = asyncio.create_task(self.stopping.wait())
        ends = {changed, stopping}
        done, _ = await asyncio.wait(ends, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if changed not in done:
            raise Leaving
        await self._pause(self.temper.react_s())

    async def _pause(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            Leaving: the demo ends meanwhile.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
            raise Leaving
