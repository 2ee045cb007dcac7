"""Who may come in, counted; and what somebody hears who may not."""

import json

from gateway.problems import MEDIA_TYPE
from gateway.sockets.door import Door, refusals


def test_as_many_come_in_as_fit_and_one_more_for_each_that_leaves() -> None:
    door = Door(most=2)
    for _ in range(2):
        assert door.refuses() is None
        door.enter()
    assert door.refuses() == "full"
    door.exit()
    assert door.refuses() is None
    assert (door.open, door.refused) == (1, {"full": 1})


def test_nobody_comes_in_while_it_drains() -> None:
    door = Door(most=2, draining=True)
    assert door.refuses() == "draining"
    assert door.refused == {"draining": 1}


def test_a_refusal_is_a_whole_answer_with_a_problem_and_when_to_come_back() -> None:
    for answer in (*refusals("full"), *refusals("draining")):
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ") for line in lines)
        assert status == "HTTP/1.1 503 Service Unavailable"
        assert headers["connection"] == "close"
        assert headers["content-type"] == MEDIA_TYPE
        assert int(headers["content-length"]) == len(body)
        problem = json.loads(body)
        assert (problem["code"], problem["status"]) == ("overloaded", 503)
        assert problem["retry_after_ms"] == int(headers["retry-after"]) * 1000


def test_not_all_are_told_to_come_back_in_the_same_second() -> None:
    assert len(set(refusals("full"))) >= 5
