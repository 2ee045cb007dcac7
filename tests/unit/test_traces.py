"""Traces: what is read and written, what a span tells, and what is left alone."""

import asyncio
import itertools
import random

import pytest

from gateway import traces
from gateway.errors import SoldOut
from gateway.traces import MOST_PER_S, NOTHING, Kind, Span, Trace, Tracer, about, parse, span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BROUGHT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
def test_what_is_read_is_written_the_same(flags: str) -> None:
    text = f"00-{TRACE}-{SPAN}-{flags}"
    trace = parse(text)
    assert trace
    assert str(trace) == text
    assert trace.sampled == (flags in {"01", "03"})


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    for text in (f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-then"):
        assert parse(text) == Trace(TRACE, SPAN, 1)
    assert parse(f"00-{TRACE}-{SPAN}-fd") == Trace(TRACE, SPAN, 1), "unknown flags are dropped"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" {BROUGHT}",
        f"{BROUGHT}\n",
        f"{BROUGHT}, {BROUGHT}",
        BROUGHT.replace("4", "\u0664"),
    ],
)
def test_what_is_none_is_ignored(text: str | None) -> None:
    assert parse(text) is None


@pytest.fixture
def kept() -> list[Span]:
    return []


@pytest.fixture
def tracer(kept: list[Span]) -> Tracer:
    ticks = itertools.count(1_000, 1_000)
    return Tracer(kept.append, rng=random.Random(1), now_ns=ticks.__next__)


def test_a_step_is_kept_with_where_it_comes_from(tracer: Tracer, kept: list[Span]) -> None:
    with about(shop="demo"), tracer.enter(parse(BROUGHT), "outer", Kind.SERVER, {"a": 1}) as outer:
        outer.note({"b": True})
        with span("inner", Kind.CLIENT, {"c": "d"}):
            told = traces.traceparent()
    inner_span, outer_span = kept
    assert (outer_span.name, outer_span.before) == ("outer", Trace(TRACE, SPAN, 1))
    assert outer_span.attributes == {"holdfast.shop": "demo", "a": 1, "b": True}
    assert (inner_span.before, inner_span.kind) == (outer_span.trace, "CLIENT")
    assert inner_span.attributes == {"c": "d"}, "what is known of a step is known of its parts"
    assert told == f"00-{TRACE}-{inner_span.trace.span_id}-01"
    assert outer_span.started_ns < inner_span.started_ns < inner_span.ended_ns < outer_span.ended_ns
    assert traces.here() is None


def test_what_is_learned_late_is_known_until_the_block_ends(
    tracer: Tracer, kept: list[Span]
) -> None:
    with about(request="r"), tracer.enter(parse(BROUGHT), "step"):
        traces.learned(shop="demo")
        assert traces.ids() == {"request": "r", "shop": "demo"}
    assert traces.ids() == {}
    assert kept[0].attributes == {"holdfast.request": "r", "holdfast.shop": "demo"}


def test_an_error_is_told_by_its_code_and_nothing_else_of_it(
    tracer: Tracer, kept: list[Span]
) -> None:
    for error in (SoldOut("Only 1 left.", sku="tee"), ValueError("ann@example.com")):
        with pytest.raises(type(error)), tracer.enter(parse(BROUGHT), "step"):
            raise error
    assert [one.error for one in kept] == ["sold_out", "ValueError"]
    assert "ann@" not in str([one.attributes for one in kept])


def test_outside_of_a_trace_nothing_is_begun() -> None:
    assert span("step") is NOTHING
    with span("step") as step:
        step.note({"a": 1})
        step.rename("other")
        step.end()
    assert traces.current() is None


@pytest.mark.parametrize("brought", [BROUGHT, BROUGHT[:-2] + "00"])
def test_who_makes_no_spans_passes_on_what_came(brought: str, kept: list[Span]) -> None:
    for tracer in (Tracer(), Tracer(kept.append) if brought.endswith("00") else Tracer()):
        with tracer.enter(parse(brought), "step"), span("inner"):
            assert traces.traceparent() == brought
        assert traces.here() is None
    assert kept == []


def test_one_seed_is_one_trace_and_about_so_many_begin_as_are_asked_for(kept: list[Span]) -> None:
    tracers = {percent: Tracer(kept.append, percent=percent) for percent in (0, 10, 100)}
    begun = {
        percent: {seed for seed in range(2_000) if tracer.fresh(f"h_{seed}")}
        for percent, tracer in tracers.items()
    }
    assert begun[0] == set()
    assert len(begun[100]) == 2_000
    assert 140 < len(begun[10]) < 260
    assert begun[10] <= begun[100], "each process decides alike"
    one, other = tracers[100].fresh("h_1"), tracers[100].fresh("h_2")
    assert one == Tracer(kept.append, percent=100).fresh("h_1") != other
    assert Tracer(percent=100).fresh("h_1") is None, "without a collector there is no trace"


def test_what_begins_a_trace_comes_from_nowhere(tracer: Tracer, kept: list[Span]) -> None:
    with tracer.enter(tracer.fresh("h_1"), "first"):
        pass
    assert kept[0].before.span_id == ""
    assert parse(str(kept[0].trace)) == kept[0].trace


def test_nobody_makes_us_keep_more_than_a_bound(kept: list[Span]) -> None:
    tracer = Tracer(kept.append, now_ns=lambda: 5_000_000_000)
    for _ in range(MOST_PER_S + 50):
        with tracer.enter(parse(BROUGHT), "step"):
            passed_on = traces.traceparent()
    assert len(kept) == MOST_PER_S
    assert passed_on == BROUGHT, "it is not ours to break the trace of others"
    assert tracer.enter(tracer.fresh("h_1"), "step") is NOTHING


async def test_each_task_is_in_its_own_trace(tracer: Tracer) -> None:
    async def go(trace_id: str) -> str | None:
        with tracer.enter(Trace(trace_id, SPAN), "step"), about(order=trace_id):
            await asyncio.sleep(0)
            now = traces.here()
            assert traces.ids() == {"order": trace_id}
            return now.trace_id if now else None

    ids = [f"{number:032x}" for number in range(1, 20)]
    assert await asyncio.gather(*map(go, ids)) == ids
    assert traces.ids() == {}


async def test_what_is_kept_is_sent_when_it_is_closed() -> None:
    sent: list[str] = []
    await Tracer(close=lambda: sent.append("all")).aclose()
    assert sent == ["all"]
