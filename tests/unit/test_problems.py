"""Errors as problem details."""

import json

import pytest

from gateway import errors
from gateway.problems import MEDIA_TYPE, of_error, problem


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
