"""Any test key opens the sandbox, no other does."""

import base64

import pytest

from gateway.sandbox.stripe import keys
from gateway.sandbox.stripe.refusal import RefusedError


def _basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


@pytest.mark.parametrize(
    "header", ["Bearer sk_test_1", "bearer rk_test_1", _basic("sk_test_1:"), _basic("sk_test_1")]
)
def test_test_keys_pass(header: str) -> None:
    keys.check(header)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (None, "You did not provide an API key"),
        ("Bearer ", "You did not provide an API key"),
        ("Basic !!!", "You did not provide an API key"),
        ("Bearer pk_test_1", "publishable API key"),
        ("Bearer nonsense", "Invalid API Key provided: \\*"),
        ("Bearer sk_live_0123456789abcdefghij", "live key"),
        ("Bearer rk_live_0123456789abcdefghij", "live key"),
    ],
)
def test_others_are_refused(header: str | None, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as refused:
        keys.check(header)
    assert (refused.value.status, refused.value.executed) == (401, False)


def test_a_refusal_does_not_repeat_the_key() -> None:
    with pytest.raises(RefusedError) as refused:
        keys.check("Bearer sk_live_0123456789abcdefghij")
    assert "0123456789" not in str(refused.value)
