"""Errors as problem details."""

import json
from collections.abc import Awaitable, Callable

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway import errors
from gateway.api.problems import MEDIA_TYPE, answering, of_error, problem

REQUEST = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


def raising(error: Exception) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        raise error

    return answering(endpoint)


def test_a_problem_has_the_members_of_the_standard_the_code_and_the_facts() -> None:
    answer = of_error(errors.SoldOut("Only 1 is left.", sku="tee", available=1))
    assert answer.status_code == 409
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert json.loads(bytes(answer.body)) == {
        "type": "urn:holdfast:problem:sold_out",
        "title": "Sold out",
        "status": 409,
        "detail": "Only 1 is left.",
        "code": "sold_out",
        "sku": "tee",
        "available": 1,
    }


def test_a_fact_never_hides_a_member_of_the_standard() -> None:
    answer = problem(409, "show_not_live", "It is over.", {"status": "ended", "state": "ended"})
    body = json.loads(bytes(answer.body))
    assert (body["status"], body["state"]) == (409, "ended")


@pytest.mark.parametrize(("wait_ms", "seconds"), [(1, "1"), (200, "1"), (1000, "1"), (1001, "2")])
def test_retry_after_is_in_whole_seconds_and_never_too_early(wait_ms: int, seconds: str) -> None:
    answer = of_error(errors.Overloaded("Too much.", retry_after_ms=wait_ms))
    assert answer.headers["retry-after"] == seconds


def test_unauthenticated_says_how_to_authenticate() -> None:
    assert of_error(errors.Unauthenticated("No key.")).headers["www-authenticate"] == "Bearer"
    assert "www-authenticate" not in of_error(errors.Forbidden("No.")).headers


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
