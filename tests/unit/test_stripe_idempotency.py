"""One key, one effect; the reply is replayed for a day."""

from collections.abc import Iterator

import pytest

from gateway.sandbox.stripe.idempotency import KEPT_FOR_S, Keys
from gateway.sandbox.stripe.refusal import RefusedError
from gateway.sandbox.stripe.store import Reply, Store
from tests.stripe_inprocess import Clock

REPLY = Reply(402, b"declined", {"Original-Request": "req_1"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def used(clock: Clock) -> Iterator[Keys]:
    store = Store(":memory:")
    yield Keys(store, clock)
    store.close()


def _answer(used: Keys, key: str) -> None:
    assert used.claim(key, "/v1/refunds", {"amount": "1"}) is None
    used.keep(key, "/v1/refunds", {"amount": "1"}, REPLY)
    used.release(key)


def test_the_same_request_gets_the_same_reply(used: Keys) -> None:
    _answer(used, "k")
    kept = used.claim("k", "/v1/refunds", {"amount": "1"})
    assert kept is not None
    assert kept.reply == REPLY


def test_a_second_request_while_the_first_is_under_way_is_409(used: Keys) -> None:
    used.claim("k", "/v1/refunds", {})
    with pytest.raises(RefusedError) as refused:
        used.claim("k", "/v1/refunds", {})
    assert refused.value.status == 409
    assert refused.value.error["code"] == "idempotency_key_in_use"


def test_a_request_that_came_to_nothing_leaves_the_key_free(used: Keys) -> None:
    used.claim("k", "/v1/refunds", {})
    used.release("k")
    assert used.claim("k", "/v1/refunds", {"amount": "2"}) is None


@pytest.mark.parametrize(
    ("path", "amount", "says"),
    [("/v1/refunds", "2", "same parameters"), ("/v1/other", "1", "same endpoint")],
)
def test_another_request_is_refused(used: Keys, path: str, amount: str, says: str) -> None:
    _answer(used, "k")
    with pytest.raises(RefusedError, match=says) as refused:
        used.claim("k", path, {"amount": amount})
    assert refused.value.status == 400
    assert refused.value.error["type"] == "idempotency_error"


def test_the_order_of_parameters_does_not_matter(used: Keys) -> None:
    used.claim("k", "/v1/refunds", {"a": "1", "b": "2"})
    used.keep("k", "/v1/refunds", {"a": "1", "b": "2"}, REPLY)
    used.release("k")
    assert used.claim("k", "/v1/refunds", {"b": "2", "a": "1"}) is not None


def test_a_key_is_forgotten_after_a_day(used: Keys, clock: Clock) -> None:
    _answer(used, "k")
    clock.now += KEPT_FOR_S
    assert used.claim("k", "/v1/refunds", {"amount": "1"}) is not None
    clock.now += 1
    assert used.claim("k", "/v1/refunds", {"amount": "1"}) is None


def test_a_key_is_at_most_255_characters(used: Keys) -> None:
    assert used.claim("k" * 255, "/v1/refunds", {}) is None
    with pytest.raises(RefusedError):
        used.claim("k" * 256, "/v1/refunds", {})
