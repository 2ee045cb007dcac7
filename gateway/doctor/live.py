"""A ticket, a socket, a welcome, and some silence; and a foreign page that is turned away."""

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    WebSocketException,
)
from websockets.typing import Origin, Subprotocol

from gateway.api.tickets import SOCKET_PATH, TicketAnswer
from gateway.doctor.finding import WITHIN_S, Outcome, Patient, code_of
from gateway.messages import SUBPROTOCOL
from gateway.settings import page_origin

_FOREIGN = Origin("https://doctor.invalid")
"""A page nobody can have allowed."""
_WELCOME_BYTES = 16_777_216

_NO_UPGRADE = (
    "Have the proxy pass on the headers Upgrade and Connection, speak HTTP/1.1 to the gateway, and "
    "not gather answers before it sends them on."
)


class _Straight(connect):
    """Follows no redirect, as browsers do not."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def live(patient: Patient) -> list[Outcome]:
    """Go in as a shopper does."""
    answer = await _ticket(patient)
    if isinstance(answer, Outcome):
        return [answer, *await _foreign(_guess(patient))]
    outcomes = [_address(patient, answer.url)]
    outcomes.append(await _socket(patient, answer))
    return [*outcomes, *await _foreign(answer.url)]


async def _ticket(patient: Patient) -> TicketAnswer | Outcome:
    """A ticket, or why there is none."""
    async with patient.client() as client:
        try:
            answer = await client.post("/v1/tickets", json={"show": patient.show})
        except httpx.HTTPError as error:
            why = f"Nobody answers a ticket's request: {type(error).__name__}."
            return Outcome("socket", "failed", why, "See that the ingress passes on POST.")
    if answer.status_code == 200:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(answer.content, type=TicketAnswer)
    if answer.status_code == 202:
        why = f"The show {patient.show} is full, so that the socket was not tried."
        return Outcome("socket", "skipped", why, "Ask again later, or for another --show.")
    code = code_of(answer)
    if code in {"not_found", "show_not_live"}:
        why = f"There is no show {patient.show}, or it is over, so that the socket was not tried."
        return Outcome("socket", "warning", why, "Name a show with --show.")
    why = f"A ticket's request is answered {answer.status_code} {code}".rstrip() + "."
    fix = "See that the ingress sends /v1/tickets to a gateway."
    if code:
        fix = "It is a gateway that says so: see what /readyz?verbose says is wrong with it."
    return Outcome("socket", "failed", why, fix)


def _guess(patient: Patient) -> str:
    return patient.url.replace("http", "ws", 1) + SOCKET_PATH


def _address(patient: Patient, url: str) -> Outcome:
    """Tickets carry the socket's address: it must be one that browsers can use."""
    fix = "Set HOLDFAST_PUBLIC_URL to the address that browsers use."
    if patient.secure and not url.startswith("wss://"):
        why = "Tickets name a socket without TLS, which no browser opens from a page with it."
        return Outcome("ticket", "failed", why, fix)
    if urlsplit(url).netloc != urlsplit(patient.url).netloc:
        why = f"Tickets send browsers to {urlsplit(url).netloc}, which is not where we asked."
        return Outcome("ticket", "warning", why, fix)
    return Outcome("ticket", "ok", "A ticket is given, and names an address that browsers can use.")


async def _socket(patient: Patient, ticket: TicketAnswer) -> Outcome:
    try:
        async with _Straight(
            ticket.url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origin=Origin(page_origin(ticket.url)),
            open_timeout=WITHIN_S,
            max_size=_WELCOME_BYTES,
            proxy=None,
        ) as socket:
            return await _inside(patient, socket, ticket.token)
    except InvalidStatus as refusal:
        status = refusal.response.status_code
        why = f"The upgrade is answered {status}, not 101."
        full = b"urn:holdfast:problem:overloaded" in (refusal.response.body or b"")
        return Outcome(
            "socket", "failed", why, "Add gateways: this one is full." if full else _NO_UPGRADE
        )
    except (InvalidMessage, InvalidHandshake) as error:
        why = f"What answers the upgrade is not a WebSocket: {type(error).__name__}."
        return Outcome("socket", "failed", why, _NO_UPGRADE)
    except TimeoutError:
        why = f"The upgrade is not answered within {WITHIN_S:.0f} s: somebody gathers the answer."
        return Outcome("socket", "failed", why, _NO_UPGRADE)
    except (OSError, WebSocketException) as error:
        why = f"The socket cannot be opened: {type(error).__name__}."
        fix = "See that the address in the ticket can be reached from where browsers are."
        return Outcome("socket", "failed", why, fix)


async def _inside(patient: Patient, socket: ClientConnection, token: str) -> Outcome:
    """Be welcomed, be silent for a while, and see whether the socket has outlived it."""
    first = {"type": "connect", "id": 1, "token": token, "show": patient.show}
    try:
        await socket.send(msgspec.json.encode(first).decode())
        async with asyncio.timeout(WITHIN_S):
            welcome = await _reply(socket)
        if welcome.get("type") != "welcome":
            why = f"The first frame is answered with {welcome.get('code', 'something else')}."
            return Outcome("socket", "failed", why, "See what /readyz?verbose says.")
        await _silence(socket, patient.idle_s)
        async with asyncio.timeout(WITHIN_S):
            await (await socket.ping())
    except TimeoutError:
        why = "The socket opens, and then nothing arrives: somebody between gathers frames."
        return Outcome("socket", "failed", why, _NO_UPGRADE)
    except ConnectionClosed as end:
        code = end.rcvd.code if end.rcvd else 1006
        why = f"The socket was closed with {code} within {patient.idle_s:g} s of silence."
        fix = "Let sockets be silent for 60 s: the gateway pings them every 20 s."
        return Outcome("socket", "failed", why, fix)
    return Outcome(
        "socket", "ok", f"A shopper is welcomed, and still there after {patient.idle_s:g} s."
    )


async def _reply(socket: ClientConnection) -> dict[str, Any]:
    """The answer to the first frame; news may come before it."""
    while True:
        frame: dict[str, Any] = msgspec.json.decode(await socket.recv())
        if frame.get("id") == 1 or frame.get("type") == "error":
            return frame


async def _silence(socket: ClientConnection, for_s: float) -> None:
    """Send nothing; what arrives is read, so that a close is noticed."""
    try:
        async with asyncio.timeout(for_s):
            while True:
                await socket.recv()
    except TimeoutError:
        return


async def _foreign(url: str) -> list[Outcome]:
    """A page of somebody else must not open sockets."""
    try:
        async with _Straight(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origin=_FOREIGN,
            open_timeout=WITHIN_S,
            proxy=None,
        ):
            why = "A page of any other site can open sockets here."
            fix = (
                "Have the proxy pass on the header Origin as it is, and name your pages alone in "
                "HOLDFAST_ALLOWED_ORIGINS."
            )
            return [Outcome("origin", "failed", why, fix)]
    except InvalidStatus as refusal:
        if refusal.response.status_code == httpx.codes.FORBIDDEN:
            return [Outcome("origin", "ok", "A page of another site is turned away.")]
    except (OSError, TimeoutError, WebSocketException):
        pass
    why = "Whether a page of another site is turned away could not be seen."
    return [Outcome("origin", "skipped", why, f"See the socket's outcome; it was tried at {url}.")]
