"""Answers one request, in Stripe's order.

[faults] -> key -> limit -> form -> idempotency -> parameters -> [faults] -> effect, events and
the recorded reply, committed together -> webhooks -> [faults] -> reply
"""

import asyncio

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.sandbox.serving import CUT
from gateway.sandbox.stripe import faults as failing
from gateway.sandbox.stripe import forms, keys, objects, params, refusal
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.endpoints import Endpoint
from gateway.sandbox.stripe.faults import Faults
from gateway.sandbox.stripe.forms import Form
from gateway.sandbox.stripe.idempotency import Keys
from gateway.sandbox.stripe.limit import Limiter
from gateway.sandbox.stripe.listing import expand
from gateway.sandbox.stripe.store import Json, Reply
from gateway.sandbox.stripe.webhooks import Webhooks

MAX_BODY = 256 * 1024


class Desk:
    """Takes requests for any endpoint and sees to all that is not the endpoint's own business."""

    def __init__(
        self, bench: Bench, limiter: Limiter, used: Keys, faults: Faults, webhooks: Webhooks
    ) -> None:
        self._bench = bench
        self._limiter = limiter
        self._used = used
        self._faults = faults
        self._webhooks = webhooks

    async def answer(
        self, endpoint: Endpoint, request: Request, *, public: bool = False
    ) -> Response:
        """The reply; `public` endpoints need no API key."""
        if self._faults.cuts(endpoint.name):
            return LostReply()
        request_id = self._bench.ids.new("req")
        try:
            if not public:
                keys.check(request.headers.get("authorization"))
            self._admit(endpoint)
            reply = await self._reply(endpoint, request, request_id)
        except refusal.RefusedError as refused:
            reply = _refused(refused)
        except (ClientDisconnect, _UnansweredError):  # nothing has happened
            return LostReply()
        await self._faults.hold_back(endpoint.name)
        if self._faults.loses_reply(endpoint.name):
            return LostReply()
        headers = {
            "Request-Id": request_id,
            "Stripe-Version": request.headers.get("stripe-version", objects.API_VERSION),
        }
        return Response(
            reply.body, reply.status, {**headers, **reply.headers}, media_type="application/json"
        )

    def _admit(self, endpoint: Endpoint) -> None:
        reason = self._limiter.refuses(endpoint.name) if endpoint.limited else None
        if reason is not None:
            raise refusal.rate_limited(reason)
        if self._faults.locks(endpoint.name):
            raise refusal.locked()

    async def _reply(self, endpoint: Endpoint, request: Request, request_id: str) -> Reply:
        form = await _form(request)
        key = request.headers.get("idempotency-key")
        if key is None or endpoint.method != "POST":
            return await self._carry_out(endpoint, request, form, request_id, None)
        path = request.url.path
        kept = self._used.claim(key, path, form)
        if kept is not None:
            replayed = {**kept.reply.headers, "Idempotent-Replayed": "true"}
            return Reply(kept.reply.status, kept.reply.body, replayed)
        try:
            return await self._carry_out(endpoint, request, form, request_id, key)
        finally:
            self._used.release(key)

    async def _carry_out(
        self, endpoint: Endpoint, request: Request, form: Form, request_id: str, key: str | None
    ) -> Reply:
        given = params.read(endpoint.takes, form, endpoint.requires)
        if self._faults.hangs(endpoint.name):
            await _wait_until_gone(request)
            raise _UnansweredError
        await self._faults.hold_up(endpoint.name)
        call = Call(endpoint.name, request.path_params, given, str(request.base_url))
        journal = self._bench.journal
        journal.open(request_id, key)
        # Nothing is awaited in here: a request that has begun is finished before the next begins.
        with self._bench.store.transaction():
            reply = self._effect(endpoint, call)
            if key is not None:
                named = {"Idempotency-Key": key, "Original-Request": request_id}
                reply = Reply(reply.status, reply.body, {**reply.headers, **named})
                self._used.keep(key, request.url.path, form, reply)
        for event in journal.close():
            self._webhooks.schedule(event)
        return reply

    def _effect(self, endpoint: Endpoint, call: Call) -> Reply:
        """Do it; a refusal that comes before any effect is raised and leaves nothing behind."""
        broken = self._faults.breaks(endpoint.name)
        if broken and not self._faults.plan.error_500_effect:
            return _refused(refusal.broken())
        try:
            resource = endpoint.does(call)
            body = expand(resource, call.params.get("expand", []), self._bench.store)
        except refusal.RefusedError as refused:
            if not refused.executed:
                raise
            reply = _refused(refused)
        else:
            reply = Reply(200, _json(body), {})
        return _refused(refusal.broken()) if broken else reply


class _UnansweredError(Exception):
    """Nobody answers this request, and its caller has gone."""


async def _wait_until_gone(request: Request) -> None:
    try:
        async with asyncio.timeout(failing.HANG_S):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


class LostReply(Response):
    """The connection is cut: whatever has happened, nobody hears of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the point is that nothing is sent
        """Cut the connection and see that it is cut."""
        cut = scope.get("extensions", {}).get(CUT, {}).get("cut")
        if cut is None:
            raise ConnectionResetError("the connection is cut by a fault switch")
        cut()
        while (await receive())["type"] != "http.disconnect":
            pass


def unknown(request: Request) -> Response:
    """404 for a path or method that this sandbox does not have."""
    message = (
        f"Unrecognized request URL ({request.method}: {request.url.path}). This is a local "
        "sandbox that has the part of Stripe's API listed in gateway/sandbox/stripe/endpoints.py."
    )
    reply = _refused(refusal.invalid(message, status=404))
    return Response(reply.body, reply.status, media_type="application/json")


async def _form(request: Request) -> Form:
    if request.method == "GET":
        return forms.parse(request.url.query)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise refusal.malformed(f"Request bodies have at most {MAX_BODY} bytes.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if body and kind != "application/x-www-form-urlencoded":
        message = (
            "Invalid request (check that your POST content type is "
            "application/x-www-form-urlencoded)."
        )
        raise refusal.malformed(message)
    try:
        return forms.parse(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise refusal.malformed("Invalid form encoding: not UTF-8") from error


def _refused(refused: refusal.RefusedError) -> Reply:
    return Reply(refused.status, _json({"error": refused.error}), refused.headers)


def _json(body: Json) -> bytes:
    # Indented as Stripe's own replies are: a developer reads them in a terminal.
    return msgspec.json.format(msgspec.json.encode(body), indent=2)
