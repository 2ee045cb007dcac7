"""How the sandbox says no: Stripe's error bodies, each with its HTTP status.

Stripe leaves out what is null in an error, so the builders here do too.
"""

from collections.abc import Iterable, Mapping
from typing import Any

DOCS = "https://stripe.com/docs/error-codes/"


class RefusedError(Exception):
    """The request is answered with `status` and `{"error": error}`.

    `executed` says whether the endpoint had begun its work: only then does Stripe keep the reply
    under the idempotency key.
    """

    def __init__(
        self,
        status: int,
        error: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        executed: bool = True,
    ) -> None:
        super().__init__(error.get("message", ""))
        self.status = status
        self.error = dict(error)
        self.headers = dict(headers or {})
        self.executed = executed


def _body(kind: str, message: str, code: str | None, **parts: object) -> dict[str, Any]:
    body: dict[str, Any] = {"message": message, "type": kind}
    if code:
        body |= {"code": code, "doc_url": DOCS + code.replace("_", "-")}
    return body | {name: part for name, part in parts.items() if part is not None}


def invalid(
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    status: int = 400,
    executed: bool = True,
    **parts: object,
) -> RefusedError:
    """An `invalid_request_error`; `parts` are further members such as `payment_intent`."""
    error = _body("invalid_request_error", message, code, param=param, **parts)
    return RefusedError(status, error, executed=executed)


def malformed(message: str, *, code: str | None = None, param: str | None = None) -> RefusedError:
    """A parameter that fails validation before anything was done."""
    return invalid(message, code=code, param=param, executed=False)


def no_such(kind: str, identifier: str, param: str, *, status: int = 404) -> RefusedError:
    """An id nobody knows: 404 in a path, 400 where it is a parameter of something else."""
    message = f"No such {kind}: '{identifier}'"
    return invalid(message, code="resource_missing", param=param, status=status)


def unexpected_state(message: str, intent: Mapping[str, Any]) -> RefusedError:
    """The PaymentIntent is in a state that forbids the request; the error carries it."""
    return invalid(message, code="payment_intent_unexpected_state", payment_intent=intent)


def wrong_state(
    intent: Mapping[str, Any], what: str, verb: str, allowed: Iterable[str]
) -> RefusedError:
    """As above, saying in which states it would have been possible."""
    message = (
        f"This PaymentIntent {what} because it has a status of {intent['status']}. Only a "
        f"PaymentIntent with one of the following statuses may be {verb}: {', '.join(allowed)}."
    )
    return unexpected_state(message, intent)


def declined(
    *, code: str, message: str, decline_code: str, param: str | None, **parts: object
) -> RefusedError:
    """402: the card said no. `parts` hold the charge, the intent and the payment method."""
    error = _body("card_error", message, code, decline_code=decline_code, param=param, **parts)
    return RefusedError(402, error, headers={"Stripe-Should-Retry": "false"})


def unauthorized(message: str, code: str | None = None) -> RefusedError:
    """401: no key, or not one for here."""
    return invalid(message, code=code, status=401, executed=False)


def reused_key(message: str) -> RefusedError:
    """400: an idempotency key met a second, different request."""
    return RefusedError(400, _body("idempotency_error", message, None), executed=False)


def key_in_use(key: str) -> RefusedError:
    """409: the first request with this idempotency key has not been answered yet."""
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably "
        "means you submitted twice, and the other request is still going through): "
        f"{key}. Please try again later."
    )
    error = _body("invalid_request_error", message, "idempotency_key_in_use")
    return RefusedError(409, error, headers={"Stripe-Should-Retry": "true"}, executed=False)


def rate_limited(reason: str) -> RefusedError:
    """429: `reason` is what Stripe-Rate-Limited-Reason says, e.g. `endpoint-rate`."""
    message = (
        "Testmode request rate limit exceeded, the rate limits in testmode are lower than "
        "livemode. You can learn more about rate limits here "
        "https://stripe.com/docs/rate-limits."
    )
    error = _body("invalid_request_error", message, "rate_limit")
    headers = {"Stripe-Rate-Limited-Reason": reason}
    return RefusedError(429, error, headers=headers, executed=False)


def locked() -> RefusedError:
    """429 without a limit: another request is busy with the same object."""
    message = (
        "This object cannot be accessed right now because another API request or Stripe process "
        "is currently accessing it. If you see this error intermittently, retry the request."
    )
    error = _body("invalid_request_error", message, "lock_timeout")
    return RefusedError(429, error, headers={"Stripe-Should-Retry": "true"}, executed=False)


def broken() -> RefusedError:
    """500: Stripe's own fault, and nobody can tell from it whether the effect happened."""
    message = (
        "Sorry! There was an error while talking to one of our backends. Support has been notified."
    )
    # The SDK's own comment: a 500 is kept under its key, so asking again is of no use.
    headers = {"Stripe-Should-Retry": "false"}
    return RefusedError(500, _body("api_error", message, None), headers=headers)
