"""The way into the show for a shopper of the crowd: a ticket, a socket, and the bank's page."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from gateway.demo.visit import Away, Message, Visit, visiting

_MOST_WAITS = 60
"""Times a shopper looks again while the show is full, or the gateway asks for patience."""
_WAIT_MAX_S = 5.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where the show is, and the bank behind it."""

    client: httpx.AsyncClient
    url: str
    show: str
    sandbox_url: str

    @contextlib.asynccontextmanager
    async def enter(self, ticket: Message) -> AsyncIterator[tuple[Visit, Message]]:
        """Open a socket with a ticket, which is used then, and be welcomed.

        Raises:
            Away: not now; or never, if its code says so.
        """
        async with visiting(ticket["url"]) as visit:
            command = {"type": "connect", "token": ticket["token"], "show": self.show}
            welcome = await visit.ask(command)
            if welcome["type"] != "welcome":
                await visit.closed()
                raise Away(visit.socket.close_code)
            visit.shelf.welcome(welcome["stock"])
            yield visit, welcome

    async def ticket(self, shopper: str) -> Message:
        """Ask for a ticket, and stand in the queue when the show is full.

        Raises:
            Away: there is none now.
        """
        wanted: Message = {"show": self.show, "shopper": shopper}
        for _ in range(_MOST_WAITS):
            try:
                answer = await self.client.post(f"{self.url}/v1/tickets", json=wanted)
            except httpx.HTTPError:
                raise Away from None
            if answer.status_code == httpx.codes.OK:
                ticket: Message = answer.json()
                return ticket
            if answer.status_code != httpx.codes.ACCEPTED:
                raise Away
            place = answer.json()
            wanted["queue_token"] = place["queue_token"]
            await asyncio.sleep(min(_WAIT_MAX_S, place["retry_after_ms"] / 1000))
        raise Away

    async def tell_bank(self, client_secret: str, *, says_yes: bool) -> None:
        """Answer the bank's question, as the sandbox's page does for a person.

        Told nothing, the bank waits; the payment's budget ends that.
        """
        intent = quote(client_secret.partition("_secret_")[0], safe="")
        url = f"{self.sandbox_url}/v1/sandbox/payment_intents/{intent}/complete_action"
        answer = {"client_secret": client_secret, "outcome": "succeed" if says_yes else "fail"}
        for attempt in range(_TRIES):
            with contextlib.suppress(httpx.HTTPError):
                if (await self.client.post(url, data=answer)).status_code < 500:
                    return
            await asyncio.sleep(0.2 * 2**attempt)
