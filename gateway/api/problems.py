"""Every error as RFC 9457 problem details, with the codes the socket uses.

An error of ours is told as it is. Anything else is a defect: it is logged, and the caller learns
nothing but that it was not his fault.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from gateway.errors import HoldfastError, Invalid, NotFound, Unauthenticated, Unavailable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

Endpoint = Callable[[Request], Awaitable[Response]]


def problem(
    status: int,
    code: str,
    detail: str,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with a problem; ``members`` are its facts and never hide a member of the standard."""
    body = {
        **(members or {}),
        "type": f"urn:holdfast:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    return Response(msgspec.json.encode(body), status, dict(headers or {}), media_type=MEDIA_TYPE)


def of_error(error: HoldfastError) -> Response:
    """Tell an error of ours, with the header HTTP has for it."""
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    wait_ms = error.facts.get("retry_after_ms")
    if isinstance(wait_ms, int):
        headers["Retry-After"] = str(max(1, -(-wait_ms // 1000)))
    return problem(error.status, error.code, error.message, error.facts, headers)


async def of_router(request: Request, error: Exception) -> Response:
    """Tell what the router refused: no such path, or no such method."""
    if not isinstance(error, HTTPException):
        return await of_defect(request, error)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(404, NotFound.code, "There is nothing at this address.")
    detail = f"{HTTPStatus(error.status_code).phrase}."
    return problem(error.status_code, Invalid.code, detail, headers=error.headers)


async def of_defect(_: Request, error: Exception) -> Response:
    """Tell of a defect of ours, without a word about it."""
    log.error("api: a request broke", exc_info=error)
    return problem(500, Unavailable.code, "Something went wrong here; it is not your request.")


HANDLERS: Mapping[Any, ExceptionHandler] = {HTTPException: of_router, Exception: of_defect}
"""For ``Starlette(exception_handlers=...)``: what happens outside of our own endpoints."""


def answering(endpoint: Endpoint) -> Endpoint:
    """Make an endpoint answer always: what it raises becomes a problem."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HoldfastError as error:
            return of_error(error)
        except HTTPException as error:
            return await of_router(request, error)
        except ClientDisconnect:
            return problem(400, Invalid.code, "The body ended early.")
        except Exception as error:
            return await of_defect(request, error)

    return answer
