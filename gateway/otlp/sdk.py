"""Our spans, handed to OpenTelemetry's SDK, which sends them.

They wait in a bounded queue and are sent in batches by a thread of the SDK's. When the collector is
slow or away they are dropped, and nobody waits for it. ``OTEL_EXPORTER_OTLP_HEADERS`` and
``OTEL_RESOURCE_ATTRIBUTES`` mean what they mean everywhere.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from requests import Session

from gateway.settings import Settings
from gateway.traces import Attributes, Span, Trace, Tracer

_QUEUE, _BATCH = 4_096, 256
"""Spans that may wait, and those of one request; about 1 KB each."""
_SEND_EVERY_MS = 1_000
_TIMEOUT_S = 2.0
"""For one request to the collector, and for its repetitions."""
_FLUSH_S = 3.0
"""How long the end of a process may take to send what still waits."""


def exporting(settings: Settings, url: str, service: str) -> Tracer:
    """A tracer whose spans go to the collector at a URL, under the name of a service."""
    session = Session()
    session.trust_env = False  # No proxy of the environment, as for all but Stripe.
    exporter = OTLPSpanExporter(f"{url.rstrip('/')}/v1/traces", timeout=_TIMEOUT_S, session=session)
    batches = BatchSpanProcessor(
        exporter,
        max_queue_size=_QUEUE,
        max_export_batch_size=_BATCH,
        schedule_delay_millis=_SEND_EVERY_MS,
    )
    translate = _Translation(_resource(settings, service))
    return Tracer(
        keep=lambda span: batches.on_end(translate(span)),
        close=lambda: _within(_FLUSH_S, batches.shutdown),
        percent=settings.trace_percent,
    )


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do it, or leave it: the SDK would wait for ten times as long."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)


def _resource(settings: Settings, service: str) -> Resource:
    return Resource.create(
        {
            "service.namespace": "holdfast",
            "service.name": service,
            "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
            "deployment.environment.name": settings.environment,
        }
    )


@dataclass(frozen=True, slots=True)
class _Translation:
    """How a span of ours is one of the SDK's."""

    resource: Resource
    scope: InstrumentationScope = InstrumentationScope("holdfast")  # noqa: RUF009 (never changes)

    def __call__(self, span: Span) -> ReadableSpan:
        failed: Attributes = {"error.type": span.error} if span.error else {}
        return ReadableSpan(
            span.name,
            context=_place(span.trace),
            parent=_place(span.before) if span.before.span_id else None,
            resource=self.resource,
            attributes={**span.attributes, **failed},
            kind=SpanKind[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.failed else Status(),
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self.scope,
        )


def _place(trace: Trace) -> SpanContext:
    ids = int(trace.trace_id, 16), int(trace.span_id, 16)
    return SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(trace.flags))
