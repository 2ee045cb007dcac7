"""Errors as RFC 9457 problem details, with the codes the socket uses: what HTTP answers, and what a
socket is refused with before its upgrade.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.errors import HoldfastError, Unauthenticated

MEDIA_TYPE = "application/problem+json"


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


def as_bytes(error: HoldfastError) -> bytes:
    """The whole HTTP answer of an error, which ends its connection: for whoever is turned away
    before anything was made for the request.

    It has no ``X-Request-ID``: nothing is logged of it, so that an id would lead nowhere.
    """
    answer = of_error(error)
    status = HTTPStatus(answer.status_code)
    head = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    head += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*head, b"connection: close", b"", bytes(answer.body)])
