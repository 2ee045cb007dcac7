"""Whatever goes wrong with a request is answered, as a problem."""

import json
from collections.abc import Awaitable, Callable

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway import errors
from gateway.api.failures import answering

REQUEST = Request(
    {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
)


def raising(error: Exception) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        raise error

    return answering(endpoint)


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.HoldfastError)
        and kind is not errors.HoldfastError
    ],
)
async def test_every_error_of_ours_has_its_own_status(kind: type[errors.HoldfastError]) -> None:
    answer = await raising(kind("A sentence."))(REQUEST)
    assert answer.status_code == kind.status
    assert json.loads(bytes(answer.body))["code"] == kind.code


async def test_a_defect_is_logged_inside_and_silent_outside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = await raising(ZeroDivisionError("the secret of the house"))(REQUEST)
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, body["code"]) == (500, "unavailable")
    assert b"secret" not in bytes(answer.body)
    assert "the secret of the house" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_refusal_of_the_router_keeps_its_headers() -> None:
    answer = await raising(HTTPException(405, headers={"Allow": "POST"}))(REQUEST)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert json.loads(bytes(answer.body))["code"] == "invalid"
    assert (await raising(HTTPException(404))(REQUEST)).status_code == 404


async def test_a_client_that_left_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    answer = await raising(ClientDisconnect())(REQUEST)
    assert answer.status_code == 400
    assert not caplog.records
