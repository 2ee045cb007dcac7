"""One shopper: a ticket, a socket, a look, a hold, a payment, and again what failed.

Whatever is sent again after a failure carries the same key or the same hold, on whichever socket:
that is all it takes to be safe. Every round trip is measured once, by the id of its request.
Written for threads; under Locust they are greenlets.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from loadtest.drop.entrance import Entrance
from loadtest.drop.frames import Message, Shelf
from loadtest.drop.live_socket import Away, LiveSocket
from loadtest.drop.shop_api import Api, NoAnswer
from loadtest.drop.whims import GOOD_CARD, SECOND_STEP_CARD, Lines, Plan, Whims
from loadtest.drop.world import World

MOST_TRIES = 6
"""Of one request, before the shopper gives up."""
_BACKOFF_S = 0.2
_BACKOFF_MAX_S = 2.0
_PUSH_WITHIN_S = 8.0
"""How long to wait for a push before asking again."""
_OUTCOME_WITHIN_S = 90.0
"""Longer than the budget of a payment: by then it is one thing or the other."""
_GLANCE_S = 2.0
"""How often somebody who has lost interest looks up."""

_AGAIN = frozenset({"overloaded", "unavailable", "rate_limited"})
_ANSWERS = {
    "reserve": frozenset({"sold_out", "limit_exceeded", "show_not_live"}),
    "release": frozenset(
        {"hold_expired", "hold_already_released", "hold_already_committed", "not_found"}
    ),
    "checkout": frozenset(
        {"hold_expired", "hold_already_released", "payment_declined", "show_not_live"}
    ),
}
"""Errors that are answers: somebody was faster, or too slow."""
_ENDS = frozenset({"confirmed", "declined"}) | _ANSWERS["checkout"]
"""How a payment may end."""
_UNDER_WAY = frozenset({"queued", "processing", "requires_action"})


class GivesUp(Exception):
    """Nothing helps; it was counted where it happened."""


@dataclass(slots=True)
class Shopper:
    """Somebody who comes, buys or does not, and goes."""

    world: World
    name: str
    whims: Whims
    api: Api
    entrance: Entrance = field(init=False)
    _live: LiveSocket | None = None
    _second: LiveSocket | None = None
    _known: Shelf | None = None
    _leaves_at_s: float = 0.0
    _storms: int = 0
    _wishes: int = 0

    def __post_init__(self) -> None:
        self.entrance = Entrance(self.world, self.name, self.api)
        self._storms = self.world.storms

    def lingers(self) -> None:
        """Stay until the show closes, buying whenever there is something to be had."""
        while not self.world.closing:
            try:
                with self._here():
                    while not self.world.closing:
                        self._shops()
            except (Away, GivesUp):
                self._pause(self.whims.rng.uniform(0, _BACKOFF_MAX_S))

    def drops_in(self, lines: Lines | None = None) -> None:
        """Come once, for this or for anything, and go again."""
        with contextlib.suppress(Away, GivesUp), self._here():
            shelf = self._connected().shelf
            wanted = lines or self.whims.basket(self._wanted(shelf))
            if wanted:
                self._buys(wanted)

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        self.world.recorder.shoppers += 1
        try:
            self._connected()
            if self.whims.has_second_device():
                self._second = self._enter()
            yield
        finally:
            self.world.recorder.shoppers -= 1
            self._leave()
            if self._second:
                self._second.close()
                self._second = None

    def _shops(self) -> None:
        """Wait for something to be had, and have it."""
        live = self._connected()
        if not self._must_reconnect():
            self._waits(live)
        if self._must_reconnect():
            self._comes_back()
        elif self.world.closing or not live.shelf.has(self.world.wanted):
            return
        elif not self.whims.tries():
            self._pause(_GLANCE_S)
        else:
            self._pause(self.whims.react_s())
            if lines := self.whims.basket(self._wanted(self._connected().shelf)):
                self._buys(lines)
            else:
                self.whims.beaten()

    def _waits(self, live: LiveSocket) -> None:
        """Until there is something, the socket closes, or it is time to go."""
        left_s = min(self.world.next_moment_s(), max(0.0, self._leaves_at_s - self.world.now_s))
        live.stocked.wait(left_s + 0.01)

    def _must_reconnect(self) -> bool:
        return self._storms < self.world.storms or self.world.now_s >= self._leaves_at_s

    def _comes_back(self) -> None:
        stormed = self._storms < self.world.storms
        self._storms = self.world.storms
        self._leave()
        if not stormed:
            self._pause(self.whims.away_s())

    def _wanted(self, shelf: Shelf) -> list[tuple[str, int]]:
        return [(sku, shelf.items.get(sku, 0)) for sku in sorted(self.world.wanted)]

    def _buys(self, lines: Lines) -> None:
        hold = self._reserve(lines)
        if hold is None:
            self.whims.beaten()
            return
        self.world.recorder.busy += 1
        try:
            self._pause(self.whims.hesitate_s())
            self._decides(hold)
        finally:
            self.world.recorder.busy -= 1
        self._pause(self.whims.rest_s())

    def _decides(self, hold: Message) -> None:
        match self.whims.plan():
            case Plan.GIVE_BACK:
                self._release(hold)
            case Plan.WALK_AWAY:
                self._leave()
                self._known = None
            case Plan.PAY:
                self._pay(hold, GOOD_CARD)
            case Plan.TRY_ANOTHER_CARD:
                self._pay(hold, self.whims.bad_card(), GOOD_CARD)
            case Plan.ASK_THE_BANK | Plan.GIVE_UP_AT_THE_BANK if not self.world.sandbox_url:
                # A question nobody can answer stays open until the payment's budget ends.
                self._pay(hold, GOOD_CARD)
            case Plan.ASK_THE_BANK:
                self._pay(hold, SECOND_STEP_CARD)
            case Plan.GIVE_UP_AT_THE_BANK:
                self._pay(hold, SECOND_STEP_CARD, says_yes=False)

    def _reserve(self, lines: Lines) -> Message | None:
        """Hold these lines; ``None`` when somebody was faster."""
        self._wishes += 1
        command = {
            "type": "reserve",
            "key": f"{self.name}-{self._wishes}",
            "lines": [{"sku": sku, "quantity": units} for sku, units in lines],
        }
        reply = self._ask(command)
        if reply["type"] != "hold":
            if reply.get("code") == "sold_out":
                # Its push may still be on the way; do not ask for the same again meanwhile.
                self._connected().learns(reply["sku"], reply.get("available", 0))
            return None
        hold: Message = reply["hold"]
        return hold if hold["state"] == "active" else None

    def _release(self, hold: Message) -> None:
        self._ask({"type": "release", "hold": hold["id"]})

    def _pay(self, hold: Message, *cards: str, says_yes: bool = True) -> None:
        """Try one card after the other until one is taken or the hold is over."""
        for number, card in enumerate(cards):
            began = time.monotonic()
            code = self._checkout(hold, card, says_yes=says_yes)
            took_ms = (time.monotonic() - began) * 1000
            wrong = code not in _ENDS
            self.world.recorder.answered("checkout", code, took_ms, wrong=wrong)
            if code != "declined":
                break
            if number + 1 < len(cards):
                self._pause(self.whims.find_card_s())
        else:
            self._release(hold)
        if self._second and hold["id"] not in self._second.holds_told:
            self.world.recorder.answered("second device", "not told", 0.0, wrong=True)

    def _checkout(self, hold: Message, card: str, *, says_yes: bool) -> str:
        """Pay, and wait until it is one thing or the other; how it ended, in a word."""
        command = {
            "type": "checkout",
            "hold": hold["id"],
            "expected_total": hold["total"],
            "payment": {"payment_method": card},
            "contact": {"email": f"{self.name}@example.com", "name": f"Shopper {self.name}"},
        }
        until = time.monotonic() + _OUTCOME_WITHIN_S
        self._connected().checkouts.pop(hold["id"], None)
        reply, told = self._ask(command), False
        while reply.get("state") in _UNDER_WAY:
            if reply["state"] == "requires_action" and not told:
                self._pause(self.whims.find_card_s())
                self._tell_bank(reply["client_secret"], says_yes=says_yes)
                told = True
            if time.monotonic() > until:
                return "timeout"
            heard = self._connected().hear_checkout(hold["id"], _PUSH_WITHIN_S)
            reply = heard or self._ask(command)
        code = str(reply.get("state") or reply.get("code"))
        return "declined" if code == "payment_declined" else code

    def _tell_bank(self, client_secret: str, *, says_yes: bool) -> None:
        """Answer the bank's question, as the sandbox's page does for a person."""
        outcome = "succeed" if says_yes else "fail"
        intent = client_secret.partition("_secret_")[0]
        path = f"/v1/sandbox/payment_intents/{intent}/complete_action"
        form = f"client_secret={client_secret}&outcome={outcome}"
        with contextlib.suppress(NoAnswer):
            Api(self.world.sandbox_url or "").call("POST", path, form)

    def _ask(self, command: Message) -> Message:
        """Send a command until it has an answer; each round trip is measured.

        A checkout is measured by whoever waits for its end, but what goes wrong with it here.

        Raises:
            GivesUp: none of ``MOST_TRIES`` came through, or the answer should not have been.
            Away: there is no way back in.
        """
        step, recorder = command["type"], self.world.recorder
        for attempt in range(MOST_TRIES):
            live = self._connected()
            began = time.monotonic()
            try:
                reply = live.ask(command)
                code = str(reply.get("code", "error")) if reply["type"] == "error" else "ok"
            except Away as away:
                reply, code = {}, away.why
                self._leave()
            took_ms = (time.monotonic() - began) * 1000
            good = code == "ok" or code in _ANSWERS[step]
            if step != "checkout" or not good:
                recorder.answered(step, code, took_ms, wrong=not good)
            if good:
                return reply
            if reply and code not in _AGAIN:
                break
            wait_s = reply.get("retry_after_ms", 1000 * _BACKOFF_S * 2**attempt) / 1000
            time.sleep(min(_BACKOFF_MAX_S, wait_s) * self.whims.rng.uniform(0.5, 1.5))
        raise GivesUp(step)

    def _connected(self) -> LiveSocket:
        """The socket, opened if there is none.

        Raises:
            Away: there is no way in.
        """
        if self._live and self._live.open:
            return self._live
        self._leave()
        self._live = self._enter(self._known)
        self._leaves_at_s = self.world.now_s + self.whims.stay_s()
        return self._live

    def _enter(self, known: Shelf | None = None) -> LiveSocket:
        for attempt in range(MOST_TRIES):
            try:
                return self.entrance.enter(known)
            except Away as away:
                if away.final or attempt == MOST_TRIES - 1:
                    raise
                pause_s = min(_BACKOFF_MAX_S, _BACKOFF_S * 2**attempt)
                time.sleep(pause_s * self.whims.rng.uniform(0.5, 1.5))
        raise Away("disconnected")

    def _leave(self) -> None:
        if self._live:
            self._known = self._live.shelf if self._live.shelf.version >= 0 else None
            self._live.close()
            self._live = None

    def _pause(self, seconds: float) -> None:
        """Let time pass, but not beyond the end."""
        time.sleep(max(0.0, min(seconds, self.world.closes_at_s - self.world.now_s)))
