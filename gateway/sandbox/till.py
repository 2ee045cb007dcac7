"""A point of sale for the demo and for tests: it takes orders by webhook and keeps them in SQLite.

It shows what a receiver must do to get every order exactly once: check the signature, keep the
event's id in the same transaction as its effect, answer a repetition like the first copy, and let a
newer ``order_version`` win whatever the order of arrival, also when it takes the contact away.

Run as a program it prints ``{"url": …}`` on one line once it listens (see ``serving``).
"""

import argparse
import asyncio
import contextlib
import html
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.sandbox import serving as sandbox_serving
from gateway.sandbox.serving import CUT
from gateway.sandbox.tillbook import Book, Event

MAX_BODY_BYTES = 1_048_576
ORDERS_SHOWN = 50
_NO_CENTS = frozenset({"CLP", "JPY", "KRW", "VND"})
"""The better known of the currencies whose minor unit is the unit."""


class Faults(Struct, forbid_unknown_fields=True):
    """What goes wrong next, for tests; posted as JSON to ``/faults``, where ``{}`` ends it all.

    The first ``count`` deliveries are answered with ``status`` and have no effect; then
    ``lose_reply`` deliveries take effect, but the connection is cut before the answer.
    ``delay_ms`` holds up every delivery. ``order`` narrows all of it to one order.
    """

    status: Annotated[int, Meta(ge=200, le=599)] = 503
    count: Annotated[int, Meta(ge=0)] = 0
    retry_after_s: Annotated[int, Meta(ge=0)] | None = None
    lose_reply: Annotated[int, Meta(ge=0)] = 0
    delay_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    order: str | None = None

    def refuses(self, order: str) -> bool:
        """Whether this delivery is refused; counts down."""
        if not self.count or not self.concerns(order):
            return False
        self.count -= 1
        return True

    def loses_reply(self, order: str) -> bool:
        """Whether the answer to this delivery is lost; counts down."""
        if not self.lose_reply or not self.concerns(order):
            return False
        self.lose_reply -= 1
        return True

    def concerns(self, order: str) -> bool:
        """Whether an order is among those things go wrong with."""
        return self.order in (None, order)


class _Till:
    """The endpoints."""

    def __init__(self, book: Book, secret: str) -> None:
        self._book = book
        self._signature = Webhook(secret)
        self._faults = Faults()

    async def take_order(self, request: Request) -> Response:
        body = await _read(request)
        if body is None:
            return _refusal(413, "too_large", f"An event has at most {MAX_BODY_BYTES} bytes.")
        if (reason := self._forgery(request, body)) is not None:
            return _refusal(401, "unauthenticated", f"The signature is not right: {reason}.")
        try:
            event = msgspec.json.decode(body, type=Event)
        except msgspec.DecodeError as error:
            return _refusal(422, "invalid", f"This is no order event: {error}.")
        faults, order = self._faults, event.data.id
        if faults.delay_ms and faults.concerns(order):
            await asyncio.sleep(faults.delay_ms / 1000)
        if faults.refuses(order):
            return _fault(faults)
        new = self._book.take(event, body.decode())
        if faults.loses_reply(order):
            request.scope["extensions"][CUT]["cut"]()
        return _json({"status": "stored" if new else "duplicate"})

    async def orders(self, request: Request) -> Response:
        if (text := request.query_params.get("since")) is None:
            return _json(self._book.orders())
        try:
            since = datetime.fromisoformat(text)
        except ValueError:
            since = None
        if since is None or since.tzinfo is None:
            return _refusal(422, "invalid", "since is a time in RFC 3339.")
        return _json(self._book.orders(since=since))

    async def summary(self, _: Request) -> Response:
        return _json(self._book.summary())

    async def page(self, _: Request) -> Response:
        return HTMLResponse(_page(self._book.summary(), self._book.orders(ORDERS_SHOWN)))

    async def set_faults(self, request: Request) -> Response:
        try:
            self._faults = msgspec.json.decode(await request.body(), type=Faults)
        except msgspec.DecodeError as error:
            return _refusal(422, "invalid", f"These are no faults: {error}.")
        return Response(status_code=204)

    def _forgery(self, request: Request, body: bytes) -> str | None:
        """Why the signature does not hold, or ``None`` if it does."""
        try:
            self._signature.verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError as error:
            return str(error).lower()
        except ValueError:
            # The package lets a signature that is not base64, or a body that is not UTF-8, through.
            return "it is not readable"
        return None


async def _read(request: Request) -> bytes | None:
    """Read the body, or ``None`` if it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _json(content: object, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(msgspec.json.encode(content), status, media_type=media_type)


def _refusal(status: int, code: str, detail: str) -> Response:
    problem = {"status": status, "code": code, "detail": detail}
    return _json(problem, status, "application/problem+json")


def _fault(faults: Faults) -> Response:
    response = _refusal(faults.status, "fault", "This was asked for by a test.")
    if faults.retry_after_s is not None:
        response.headers["retry-after"] = str(faults.retry_after_s)
    return response


def _page(summary: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """A page for people; everything on it is somebody else's text, so all of it is escaped."""
    rows = "".join(_row(event["data"]) for event in events)
    taken, back = _sums(summary["amount"]), _sums(summary["refunded"])
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Till</title>
<meta http-equiv="refresh" content="2">
<style>body{{font:16px system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.4rem .6rem;
border-bottom:1px solid #ddd}}td.n,th.n{{text-align:right}}</style>
<h1>Till</h1><p>{summary["orders"]} orders, {summary["units"]} units, {html.escape(taken) or "0"},
{html.escape(back) or "0"} of it refunded; {summary["duplicates"]} duplicates dropped.</p>
<table><tr><th>Order<th>State<th>Lines<th class="n">Total<th>Placed</tr>{rows}</table></html>"""


def _row(order: dict[str, Any]) -> str:
    lines = ", ".join(f"{line['quantity']} x {line.get('sku', '?')}" for line in order["lines"])
    total = order["total"]
    cells = (order["id"], order.get("state", ""), lines)
    left = "".join(f"<td>{html.escape(str(cell))}" for cell in cells)
    amount = html.escape(_money(total["amount"], total["currency"]))
    placed = html.escape(str(order.get("occurred_at", "")))
    return f'<tr>{left}<td class="n">{amount}<td>{placed}</tr>'


def _sums(amounts: dict[str, int]) -> str:
    return ", ".join(_money(amount, name) for name, amount in amounts.items())


def _money(amount: int, currency: str) -> str:
    return f"{amount} {currency}" if currency in _NO_CENTS else f"{amount / 100:.2f} {currency}"


def build(data: str, secret: str) -> Starlette:
    """Make the application.

    Args:
        data: path of the SQLite file, or ``:memory:``.
        secret: what deliveries are signed with (``whsec_…``).
    """
    book = Book(data)
    till = _Till(book, secret)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        book.close()

    async def hung_up(_: Request, __: Exception) -> Response:
        return Response(status_code=400)

    return Starlette(
        routes=[
            Route("/", till.page),
            Route("/orders", till.take_order, methods=["POST"]),
            Route("/orders", till.orders, methods=["GET"]),
            Route("/summary", till.summary),
            Route("/faults", till.set_faults, methods=["POST"]),
        ],
        exception_handlers={ClientDisconnect: hung_up},
        lifespan=lifespan,
    )


def serving(
    data: str, secret: str, *, host: str = sandbox_serving.HOST, port: int = 0
) -> contextlib.AbstractAsyncContextManager[str]:
    """A running till's URL; ``port`` 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    return sandbox_serving.serving(build(data, secret), host=host, port=port)


def main(argv: Sequence[str]) -> int:
    """The command line; answers the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.sandbox.till",
        description="A point of sale that takes orders by webhook. Deliveries go to /orders; the "
        "orders are at /orders (?since=TIME) and /summary as JSON, and at / for people.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the till can be told."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    add("--data", default=":memory:", metavar="FILE", help="SQLite file that keeps the orders")
    add("--secret", metavar="SECRET", help="what deliveries are signed with; or set TILL_SECRET")


def run(given: argparse.Namespace) -> int:
    """Run a till until it is told to end; the exit code."""
    secret = given.secret or os.environ.get("TILL_SECRET", "")
    try:
        Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        sys.stderr.write("--secret, or TILL_SECRET, must be a Standard Webhooks secret: whsec_…\n")
        return 2
    try:
        app = build(given.data, secret)
    except sqlite3.Error as error:
        sys.stderr.write(f"cannot use {given.data}: {error}\n")
        return 1
    return sandbox_serving.run(app, given.host, given.port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
