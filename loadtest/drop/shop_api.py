"""HTTP to a gateway, in as much as a load test needs: tickets, set-up, the books, metrics.

A connection for each request, by nothing but the standard library. Under Locust all of it yields
to other shoppers, for the library is patched.
"""

import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_MOST_BYTES = 16_000_000
_MOST_PAGES = 5_000
"""Of anything; beyond it a cursor does not move."""

AUDIT_S = 75.0
"""Longest to wait for one answer: a gateway gives up an audit after 60 s."""
_PAUSE_S = 1.0
_TRIES = 3
"""Of a request that gets no answer at all."""
_PATIENCE_S = 150.0
"""Longest to ask again for what is busy: two audits of others."""
_BUSY = {429, 503}

Message = Any
"""JSON, read; of a page that is none its text."""


class NoAnswer(Exception):
    """The gateway cannot be reached, or did not answer in time."""


class Refused(Exception):
    """The gateway answered, but not as it had to."""

    def __init__(self, what: str, status: int, said: object) -> None:
        detail = said.get("detail", "") if isinstance(said, Mapping) else ""
        super().__init__(f"{what}: {status} {detail}".strip())
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``said`` is JSON read, or the text."""

    status: int
    said: Message


@dataclass(frozen=True, slots=True)
class Api:
    """One gateway; ``key`` goes along with every request, if there is one."""

    url: str
    key: str = field(default="", repr=False)
    timeout_s: float = 15.0

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request.

        Raises:
            NoAnswer: there was none.
        """
        parts = urllib.parse.urlsplit(self.url)
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        data: str | None = None
        if body is not None:
            data = body if isinstance(body, str) else json.dumps(body)
            kind = "x-www-form-urlencoded" if data is body else "json"
            headers["Content-Type"] = f"application/{kind}"
        connection = _connection(parts, self.timeout_s)
        try:
            connection.request(method, parts.path.rstrip("/") + path, data, headers)
            response = connection.getresponse()
            text = response.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"{self.url} does not answer: {error}") from None
        finally:
            connection.close()
        return Answer(response.status, _read(text))

    def expect(self, method: str, path: str, body: object = None) -> Message:
        """Send a request that has to succeed, and return what it says.

        Raises:
            NoAnswer: there was no answer.
            Refused: it was another.
        """
        answer = self.call(method, path, body)
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path}", answer.status, answer.said)
        return answer.said


def patiently(api: Api, path: str) -> Message:
    """Read something; what is too busy just now, or silent for once, is asked again.

    Raises:
        NoAnswer: there was none in several tries.
        Refused: the answer is another, or it was busy for too long.
    """
    until_s, tries = time.monotonic() + _PATIENCE_S, 0
    while True:
        tries += 1
        try:
            return api.expect("GET", path)
        except NoAnswer:
            if tries >= _TRIES:
                raise
        except Refused as error:
            if error.status not in _BUSY or time.monotonic() > until_s:
                raise
        time.sleep(_PAUSE_S)


def pages(read: Callable[[str], Message], path: str, limit: int) -> Iterator[Message]:
    """Everything that is read by a cursor, page by page.

    Raises:
        Refused: it does not end.
    """
    after = "0-0"
    for _ in range(_MOST_PAGES):
        page = read(f"{path}?limit={limit}&after={after}")
        yield page
        if page["next"] == after:
            return
        after = page["next"]
    raise Refused(f"GET {path}", 200, {"detail": "it does not end"})


def _connection(parts: urllib.parse.SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def _read(text: bytes) -> Message:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")
