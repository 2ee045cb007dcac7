"""Every request is answered: whatever goes wrong becomes a problem.

An error of ours is told as it is. Anything else is a defect: it is logged, and the caller learns
nothing but that it was not his fault.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from gateway.api.inputs import check_address
from gateway.errors import HoldfastError, Invalid, NotFound, Unavailable
from gateway.problems import of_error, problem

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


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
            check_address(request)
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
