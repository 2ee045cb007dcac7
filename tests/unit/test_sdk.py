"""Our spans as OpenTelemetry's: what is sent of each, and what happens where the SDK is missing."""

import sys
import time

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from gateway.errors import SoldOut, Unavailable
from gateway.otlp.address import open_tracer
from gateway.otlp.sdk import _FLUSH_S, _Translation, _within
from gateway.settings import Settings, SettingsError
from gateway.traces import Kind, Span, Tracer, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_span_is_theirs_with_its_place_its_time_and_its_error() -> None:
    kept: list[Span] = []
    tracer = Tracer(kept.append, percent=100)
    step = tracer.enter(parse(f"00-{TRACE}-{SPAN}-01"), "step", Kind.CLIENT, {"a": 1})
    with pytest.raises(Unavailable), step:
        raise Unavailable("Not now.")
    with pytest.raises(SoldOut), tracer.enter(parse(f"00-{TRACE}-{SPAN}-01"), "refused"):
        raise SoldOut("Only 1 left.")
    with tracer.enter(tracer.fresh("h_1"), "first"):
        pass
    translate = _Translation(Resource({"service.name": "gateway"}))
    theirs, refused, first = map(translate, kept)
    assert theirs.context
    assert theirs.parent
    assert (f"{theirs.context.trace_id:032x}", f"{theirs.parent.span_id:016x}") == (TRACE, SPAN)
    assert f"{theirs.context.span_id:016x}" == kept[0].trace.span_id
    assert theirs.context.trace_flags.sampled
    assert (theirs.name, theirs.kind) == ("step", SpanKind.CLIENT)
    assert (theirs.start_time, theirs.end_time) == (kept[0].started_ns, kept[0].ended_ns)
    assert dict(theirs.attributes or {}) == {"a": 1, "error.type": "unavailable"}
    assert (theirs.status.status_code, theirs.status.description) == (
        *(StatusCode.ERROR, "unavailable"),
    )
    assert dict(refused.attributes or {}) == {"error.type": "sold_out"}
    assert refused.status.status_code is StatusCode.UNSET, "to be sold out is no failure"
    assert first.parent is None
    assert first.status.status_code is StatusCode.UNSET


def test_without_a_collector_nothing_is_made_or_imported() -> None:
    assert not open_tracer(Settings(), "gateway").on


def test_a_missing_sdk_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.otlp.sdk", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"^HOLDFAST_OTLP_URL .* pip install 'holdfast\[otel\]"):
        open_tracer(Settings(otlp_url="http://127.0.0.1:4318"), "gateway")


def test_the_end_waits_for_a_slow_collector_a_bounded_while() -> None:
    assert _FLUSH_S < 5, "it comes after the drain, before the orchestrator's patience ends"
    _within(0.01, lambda: time.sleep(60))
