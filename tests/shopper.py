"""A shopper for tests: a real WebSocket client that speaks the protocol."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from gateway.messages import SUBPROTOCOL
from gateway.settings import page_origin

PATIENCE_S = 10

Message = dict[str, Any]


class Shopper:
    """One socket. Replies are matched by their id; everything else is a push."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.pushes: list[Message] = []
        self.welcome: Message = {}
        self.patience_s: float = PATIENCE_S
        self._ids = itertools.count(1)

    async def ask(self, kind: str, **fields: Any) -> Message:
        """Send a command and wait for its reply."""
        number = next(self._ids)
        await self.socket.send(json.dumps({"type": kind, "id": number, **fields}))
        return await self.until(lambda message: message.get("id") == number)

    async def hears(self, kind: str, **fields: Any) -> Message:
        """Wait for a push of a type with these fields; earlier ones count."""

        def wanted(message: Message) -> bool:
            return message["type"] == kind and fields.items() <= message.items()

        for message in self.pushes:
            if wanted(message):
                return message
        return await self.until(wanted)

    async def until(self, wanted: Any) -> Message:
        """Read until a message is what is wanted; the others are kept as pushes."""
        async with asyncio.timeout(self.patience_s):
            while True:
                message: Message = json.loads(await self.socket.recv())
                if wanted(message):
                    return message
                self.pushes.append(message)

    async def closed(self) -> int:
        """Wait until the gateway closes the socket; return the code."""
        async with asyncio.timeout(self.patience_s):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code

    async def buys(self, sku: str, key: str, method: str = "pm_card_visa") -> Message:
        """Reserve one unit and pay for it."""
        held = await self.ask("reserve", key=key, lines=[{"sku": sku, "quantity": 1}])
        assert held["type"] == "hold", held
        return await self.pays(held["hold"], method)

    async def pays(self, hold: Message, method: str = "pm_card_visa") -> Message:
        """Check a hold out."""
        return await self.ask(
            "checkout",
            hold=hold["id"],
            expected_total=hold["total"],
            payment={"payment_method": method},
            contact={"email": "shopper@example.com"},
        )


def narrow(url: str) -> socket.socket:
    """A connection to a server, of a client whose system keeps little of what is not read."""
    client, where = socket.socket(), urlsplit(url)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.connect((where.hostname, where.port))
    client.setblocking(False)  # noqa: FBT003
    return client


@contextlib.asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Shopper]:
    """A socket that has not said anything yet."""
    options = {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "origin": Origin(page_origin(url)),
        "compression": None,
        **options,
    }
    async with connect(url, **options) as socket:
        yield Shopper(socket)


@contextlib.asynccontextmanager
async def shopping(url: str, token: str, show: str, **said: object) -> AsyncIterator[Shopper]:
    """A shopper who was let in; says more than the token and the show, if asked to."""
    async with connected(url) as shopper:
        welcome = await shopper.ask("connect", token=token, show=show, **said)
        assert welcome["type"] == "welcome", welcome
        shopper.welcome = welcome
        yield shopper


async def refused_at(url: str, token: str, show: str) -> tuple[str, int]:
    """The code of the error and of the close that meet a connect."""
    async with connected(url) as shopper:
        error = await shopper.ask("connect", token=token, show=show)
        assert error["type"] == "error"
        return error["code"], await shopper.closed()
