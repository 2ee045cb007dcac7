"""The way into the show: a ticket, a socket, a welcome. Each is measured."""

import time
from dataclasses import dataclass

from loadtest.drop.frames import Message, Shelf
from loadtest.drop.live_socket import Away, LiveSocket, dial
from loadtest.drop.shop_api import Api, NoAnswer
from loadtest.drop.world import World

_MOST_WAITS = 60
"""Times a shopper looks again while the show is full."""
_WAIT_MAX_S = 5.0


@dataclass(slots=True)
class Entrance:
    """One shopper's, at one gateway."""

    world: World
    shopper: str
    api: Api
    _ticket: str = ""
    """A fresh one from the last welcome, for tickets are good for one socket."""
    _url: str = ""

    def enter(self, known: Shelf | None = None) -> LiveSocket:
        """Get a ticket, open a socket and be welcomed; ``known`` is what is known already.

        Raises:
            Away: not now; or never, if it is ``final``.
        """
        token, url = self._take_ticket()
        world = self.world
        began = time.monotonic()
        live = None
        try:
            live = dial(url, world.recorder, world.reading(self.api.url), world.wanted, world.start)
            welcome = live.connect(token, world.show, known)
        except Away as away:
            self._answered("connect", away.why, began, wrong=True)
            if live:
                live.close()
            raise
        self._answered("connect", "ok", began)
        self._ticket, self._url = welcome.get("token", ""), url
        return live

    def _take_ticket(self) -> tuple[str, str]:
        ticket, self._ticket = self._ticket, ""
        if ticket:
            return ticket, self._url
        wanted: Message = {"show": self.world.show, "shopper": self.shopper}
        for _ in range(_MOST_WAITS):
            said = self._ask_for_ticket(wanted)
            if "token" in said:
                url = self.world.socket_url or said["url"]
                if not self.world.may_dial(url):
                    self.world.recorder.problem(
                        f"The gateway sends sockets to {url}, which was not allowed."
                    )
                    raise Away("not allowed", final=True)
                return said["token"], url
            wanted["queue_token"] = said["queue_token"]
            time.sleep(min(_WAIT_MAX_S, said["retry_after_ms"] / 1000))
        raise Away("still queued")

    def _ask_for_ticket(self, wanted: Message) -> Message:
        """The ticket, or a place in the line."""
        began = time.monotonic()
        try:
            answer = self.api.call("POST", "/v1/tickets", wanted)
        except NoAnswer:
            self._answered("ticket", "disconnected", began, wrong=True)
            raise Away("disconnected") from None
        if answer.status not in {200, 202}:
            code = answer.said.get("code", "") if isinstance(answer.said, dict) else ""
            self._answered("ticket", code or str(answer.status), began, wrong=True)
            raise Away(code or str(answer.status))
        self._answered("ticket", "ok" if answer.status == 200 else "queued", began)
        said: Message = answer.said
        return said

    def _answered(self, step: str, code: str, began: float, *, wrong: bool = False) -> None:
        took_ms = (time.monotonic() - began) * 1000
        self.world.recorder.answered(step, code, took_ms, wrong=wrong)
