"""Who may call: any test key, and never a live one.

A sandbox that took a live key would teach people to send it places.
"""

import base64
import binascii

from gateway.sandbox.stripe import refusal

SECRET_PREFIXES = ("sk_test_", "rk_test_")

_MISSING = (
    "You did not provide an API key. You need to provide your API key in the Authorization "
    "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
    "https://stripe.com/docs/api#authentication for details, or we can help at "
    "https://support.stripe.com/."
)


def check(authorization: str | None) -> None:
    """Let a test secret key pass; raises RefusedError (401) otherwise."""
    key = _key(authorization or "")
    if not key:
        raise refusal.unauthorized(_MISSING)
    if key.startswith("pk_"):
        message = (
            "This API call cannot be made with a publishable API key. Please use a secret API key."
        )
        raise refusal.unauthorized(message, "secret_key_required")
    if "_live_" in key:
        message = (
            f"{_masked(key)} is a live key, and this is a local sandbox: it moves no money and "
            "takes test keys only (sk_test_… or rk_test_…)."
        )
        raise refusal.unauthorized(message)
    if not key.startswith(SECRET_PREFIXES):
        raise refusal.unauthorized(f"Invalid API Key provided: {_masked(key)}")


def _key(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode("ascii").partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _masked(key: str) -> str:
    return f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 20 else "*" * len(key)
