"""One check's outcome, and the patient."""

from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from gateway.settings import Settings

State = Literal["ok", "warning", "failed", "skipped"]
WITHIN_S = 10.0
"""How long one question may take; whoever is slower is not fit for a drop."""
_HERE = {"localhost", "127.0.0.1", "::1"}


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What one check found: a sentence, and if it is not well, another on what mends it, unless
    the first says that, too.
    """

    check: str
    state: State
    message: str
    fix: str = ""


class Patient(Struct, frozen=True):
    """The deployment that is looked at, and what we have to look with."""

    url: str
    """Where the shop's page finds it, without a slash at the end."""
    show: str
    idle_s: float
    """How long a socket is left silent."""
    key: str
    """An admin key of the shop, or nothing."""
    given: frozenset[str]
    """Which variables the environment holds: those of Redis and of Stripe are used if they do."""
    settings: Settings
    now_ms: Callable[[], int]

    @property
    def host(self) -> str:
        """Its name."""
        return urlsplit(self.url).hostname or ""

    @property
    def secure(self) -> bool:
        """Whether nobody on the way reads what is sent."""
        return self.url.startswith("https://")

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return self.host in _HERE

    @property
    def headers(self) -> dict[str, str]:
        """Opens what needs a key; a key is never sent where others can read it."""
        if self.key and (self.secure or self.here):
            return {"Authorization": f"Bearer {self.key}"}
        return {}

    def client(self) -> httpx.AsyncClient:
        """Asks it, and follows no redirect: programs and Stripe do not either."""
        return httpx.AsyncClient(base_url=self.url, timeout=WITHIN_S, trust_env=False)


def code_of(answer: httpx.Response) -> str:
    """The code of a problem of ours; empty when it was somebody else who answered."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    ours = isinstance(body, dict) and str(body.get("type", "")).startswith("urn:holdfast:problem:")
    return str(body["code"]) if ours else ""
