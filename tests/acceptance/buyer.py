"""A shopper who wants one unit and pays for it, and comes back when the gateway is gone."""

import asyncio
import json
from dataclasses import dataclass, field

from websockets.exceptions import InvalidHandshake, WebSocketException

from tests.acceptance.market import Market
from tests.shopper import Message, Shopper, shopping
from tests.stall import SHOW

AGAIN = {"overloaded", "unavailable", "rate_limited"}
UNDER_WAY = {"queued", "processing"}
_COMES_BACK_S = 0.1


@dataclass
class Buyer:
    """Whatever is sent again carries the same key, the same hold and the same token."""

    market: Market
    name: str
    url: str
    answers: list[Message] = field(default_factory=list)
    """The replies to the reservation that say yes or no."""
    outcome: Message | None = None
    """The last word: the refusal of the reservation, or the end of the payment."""
    places: list[tuple[int, int]] = field(default_factory=list)
    """Position and seconds, as told while the payment was queued."""
    came_back: int = 0
    hold: Message | None = None
    is_in: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def visit(self, doors_open: asyncio.Event) -> None:
        """Wait for the doors, shop, and then watch the show until cancelled."""
        while True:
            try:
                async with shopping(self.url, self.market.ticket(self.name), SHOW) as shopper:
                    self.is_in.set()
                    await doors_open.wait()
                    await self._shops(shopper)
                    self.done.set()
                    await self._watches(shopper)
            except (OSError, WebSocketException, InvalidHandshake):
                one, other = self.market.sockets
                self.url = other if self.url == one else one
                self.came_back += 1
                await asyncio.sleep(_COMES_BACK_S)

    async def _shops(self, shopper: Shopper) -> None:
        if not self.answers:
            self.answers.append(await self._reserves(shopper))
            self.hold = self.answers[0].get("hold")
            if not self.hold:
                self.outcome = self.answers[0]
        while self.outcome is None:
            said = await self._pays(shopper)
            if said.get("state") not in UNDER_WAY and said.get("code") not in AGAIN:
                self.outcome = said

    async def _reserves(self, shopper: Shopper) -> Message:
        while True:
            reply = await shopper.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
            if reply.get("code") not in AGAIN:
                return reply
            await asyncio.sleep(reply.get("retry_after_ms", 200) / 1000)

    async def _pays(self, shopper: Shopper) -> Message:
        """Check out, again if need be, and wait for the outcome."""
        assert self.hold
        heard = len(shopper.pushes)
        said = await shopper.pays(self.hold)
        if said["type"] == "error":
            await asyncio.sleep(said.get("retry_after_ms", 200) / 1000)
            return said
        for message in [*shopper.pushes[heard:], said]:
            self._notes(message)
        while said["state"] in UNDER_WAY:
            try:
                said = await shopper.until(lambda message: message["type"] == "checkout")
            except TimeoutError:
                return said  # Nothing was heard for long: ask again.
            self._notes(said)
        return said

    def _notes(self, said: Message) -> None:
        if said.get("state") == "queued" and "position" in said:
            self.places.append((said["position"], said["eta_s"]))

    async def _watches(self, shopper: Shopper) -> None:
        """Nothing more is said of what was asked for."""
        while True:
            said = json.loads(await shopper.socket.recv())
            assert said["type"] != "error", said
