"""One delivery: an event posted to a webhook, signed, and what the answer means.

The body is the event exactly as it was committed. Signatures follow Standard Webhooks; the
receiver drops what it has already by ``webhook-id``, which is the event's id.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import httpx
from standardwebhooks import Webhook as Signer

from gateway.clock import Clock
from gateway.orders.entry import CONTENT_TYPE
from gateway.orders.stream import Entry
from gateway.pos.backoff import retry_after_s
from gateway.pos.fence import Fence, FencedOffError, FencedTransport
from gateway.pos.webhooks import Webhook
from gateway.traces import Kind, span, traceparent

log = logging.getLogger(__name__)

_ANSWER_BYTES = 65_536
"""Answers are read, so that the connection can be used again, but no further than this."""

_CONFLICT, _GONE = 409, 410


class Verdict(Enum):
    """What to do after a delivery."""

    DONE = "the receiver has it"
    AGAIN = (
        "it was refused, or nobody knows whether it arrived: try again, a bounded number of times"
    )
    STOP = "the receiver says that no repetition will help"
    UNREACHABLE = "nobody was there, which says nothing about this order: try again until there is"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with its reason in a few words, and how long the receiver asked us to wait."""

    verdict: Verdict
    reason: str = ""
    retry_after_s: float | None = None


class Line:
    """The way to one webhook: a small pool of connections of its own.

    Args:
        webhook: where to, and signed with what.
        timeout_s: for one delivery as a whole.
        connections: most connections at once; callers keep to it.
        tls: shared by all lines, for it takes long to make.
        fence: where deliveries may go.
    """

    def __init__(
        self,
        webhook: Webhook,
        timeout_s: float,
        connections: int,
        tls: ssl.SSLContext,
        fence: Fence,
        clock: Clock,
    ) -> None:
        self._url = webhook.url
        self._signer = Signer(webhook.secret)
        self._timeout_s = timeout_s
        self._clock = clock
        self._http = httpx.AsyncClient(
            transport=FencedTransport(fence, tls, connections),
            # Connecting has less, so that a host which swallows packets counts as unreachable.
            timeout=httpx.Timeout(timeout_s, connect=timeout_s / 2),
            follow_redirects=False,
            trust_env=False,
        )

    async def post(self, entry: Entry) -> Outcome:
        """Deliver an event once."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(entry)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Outcome(Verdict.UNREACHABLE, type(error).__name__)
        except FencedOffError as fenced:
            return Outcome(Verdict.AGAIN, f"fenced: {fenced}")
        except (TimeoutError, httpx.TimeoutException):
            return Outcome(Verdict.AGAIN, f"no answer within {self._timeout_s:g} s")
        except httpx.HTTPError as error:
            return Outcome(Verdict.AGAIN, type(error).__name__)
        except Exception as error:
            # One event that cannot be sent must not keep up the others: it will be parked.
            log.exception("relay: event %s could not be sent", entry.event_id)
            return Outcome(Verdict.AGAIN, type(error).__name__)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _post(self, entry: Entry) -> Outcome:
        told = {"http.request.method": "POST", "cloudevents.event_id": entry.event_id}
        with span("deliver order", Kind.CLIENT, told) as step:
            request = self._http.build_request(
                "POST", self._url, content=entry.event, headers=self._headers(entry)
            )
            response = await self._http.send(request, stream=True)
            try:
                await _read_some(response)
            finally:
                await response.aclose()
            step.note({"http.response.status_code": response.status_code})
        return self._judge(response)

    def _headers(self, entry: Entry) -> dict[str, str]:
        now_s = self._clock.now_ms() // 1000
        # The signer takes the digits of any datetime for UTC, so it must be given one in UTC.
        signature = self._signer.sign(
            entry.event_id, datetime.fromtimestamp(now_s, UTC), entry.event.decode()
        )
        here = traceparent()
        return {
            **({"traceparent": here} if here else {}),
            "content-type": CONTENT_TYPE,
            "user-agent": "holdfast",
            "webhook-id": entry.event_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": signature,
        }

    def _judge(self, response: httpx.Response) -> Outcome:
        status = response.status_code
        if response.is_success or status == _CONFLICT:
            return Outcome(Verdict.DONE)
        if status == _GONE:
            return Outcome(Verdict.STOP, f"status {status}")
        wait_s = retry_after_s(response.headers.get("retry-after"), self._clock.now_ms())
        return Outcome(Verdict.AGAIN, f"status {status}", wait_s)


async def _read_some(response: httpx.Response) -> None:
    """Read an answer nobody looks at."""
    left = _ANSWER_BYTES
    async for chunk in response.aiter_raw():
        left -= len(chunk)
        if left < 0:
            return
