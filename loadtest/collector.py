"""A collector in this process: keeps the spans that gateways, relays and sweeps send it.

It speaks OTLP over HTTP as far as our own exporter does, and is given to ``HOLDFAST_OTLP_URL``.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it came."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for one that begins its trace."""
    kind: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, str | int | bool]
    error: str
    """What it ended in; empty when all went well."""


@dataclass(slots=True)
class Collector:
    """What has come in so far."""

    url: str
    spans: list[Received] = field(default_factory=list)

    def of(self, trace_id: str) -> list[Received]:
        """The spans of one trace, in the order they began."""
        mine = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(mine, key=lambda span: span.started_ns)

    def take(self, body: bytes) -> None:
        """Keep what one request brings."""
        request = ExportTraceServiceRequest.FromString(body)
        for sender in request.resource_spans:
            service = str(_read(sender.resource.attributes).get("service.name", ""))
            for scope in sender.scope_spans:
                self.spans += [_received(service, span) for span in scope.spans]


def _received(service: str, span: Sent) -> Received:
    return Received(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=Sent.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_read(span.attributes),
        error=span.status.message,
    )


def _read(attributes: Iterable[KeyValue]) -> dict[str, str | int | bool]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: AnyValue) -> str | int | bool:
    kind = value.WhichOneof("value") or "string_value"
    found: str | int | bool = getattr(value, kind)
    return found


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Collect inside the block, on a port of loopback, in threads of its own."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """It is quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        server.daemon_threads = True
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
