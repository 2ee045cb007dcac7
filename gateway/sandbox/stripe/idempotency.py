"""One key, one effect: Stripe's idempotency.

A key is claimed while its first request is answered (a second one meanwhile gets 409), and its
reply is kept for 24 hours, 402s and 500s included, to be replayed to whoever asks the same again.
Asking something else under the same key is 400. What never began, a 429 or a parameter that
failed validation, leaves the key as it was.
"""

import hashlib
import json
from collections.abc import Callable

from gateway.sandbox.stripe import refusal
from gateway.sandbox.stripe.forms import Form
from gateway.sandbox.stripe.store import Kept, Reply, Store

KEPT_FOR_S = 24 * 3600
LONGEST_KEY = 255


def fingerprint(form: Form) -> str:
    """Equal for equal parameters, whatever their order on the wire."""
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


class Keys:
    """The idempotency keys in use and their recorded replies."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._in_flight: set[str] = set()

    def claim(self, key: str, path: str, form: Form) -> Kept | None:
        """The reply to replay, or None: then the caller owns the key until `release`.

        Raises RefusedError: 409 while the first is in flight, 400 for another request.
        """
        if len(key) > LONGEST_KEY:
            message = f"Idempotency keys have at most {LONGEST_KEY} characters."
            raise refusal.reused_key(message)
        if key in self._in_flight:
            raise refusal.key_in_use(key)
        self._store.forget_replies(int(self._clock()) - KEPT_FOR_S)
        kept = self._store.recall(key)
        if kept is None:
            self._in_flight.add(key)
            return None
        self._require_same(key, kept, path, form)
        return kept

    def keep(self, key: str, path: str, form: Form, reply: Reply) -> None:
        """Record the reply; call it in the transaction of the effect."""
        kept = Kept(path, fingerprint(form), reply)
        self._store.record(key, kept, int(self._clock()))

    def release(self, key: str) -> None:
        """The request is answered, or came to nothing."""
        self._in_flight.discard(key)

    @staticmethod
    def _require_same(key: str, kept: Kept, path: str, form: Form) -> None:
        if path != kept.path:
            used = f"for the same endpoint they were first used for ('{path}' vs '{kept.path}')"
        elif fingerprint(form) != kept.fingerprint:
            used = "with the same parameters they were first used with"
        else:
            return
        raise refusal.reused_key(
            f"Keys for idempotent requests can only be used {used}. Try using a key other than "
            f"'{key}' if you meant to execute a different request."
        )
