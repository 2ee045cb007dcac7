"""Every answer carries the request's id: the caller's own if it is sane, else one of ours."""

import random
import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import traces
from gateway.api.requests import Requests
from gateway.cards import holds_card_number
from gateway.logs import request_id_of
from gateway.traces import Span, Tracer

BROUGHT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OURS = re.compile(r"[a-p]{20}")


class Inside:
    """An application that notes where it is."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.ids: dict[str, str] = {}
        self.traceparent: str | None = None

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        self.ids, self.traceparent = dict(traces.ids()), traces.traceparent()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def ask(
    inside: ASGIApp, tracer: Tracer, path: str = "/v1/stock", headers: object = ()
) -> httpx.Response:
    app = Requests(inside, tracer, random.Random(1))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway"
    ) as client:
        return await client.get(path, headers=headers)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["r-1", "A", "0af7651916cd43dd8448eb211c80319c", "a.b:c_d" * 9])
async def test_a_sane_id_is_kept(given: str) -> None:
    inside = Inside()
    answer = await ask(inside, Tracer(), headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert inside.ids == {"request": given}


@pytest.mark.parametrize(
    "given",
    ["", "a" * 65, "two words", "ann@example.com", "-", "x\u00e9", "4242424242424242", "a;b=c"],
)
async def test_any_other_is_replaced(given: str) -> None:
    inside = Inside()
    answer = await ask(inside, Tracer(), headers={"x-request-id": given.encode()})
    assert OURS.fullmatch(answer.headers["x-request-id"])
    assert inside.ids == {"request": answer.headers["x-request-id"]}


async def test_our_ids_differ_and_are_never_taken_for_card_numbers() -> None:
    rng = random.Random(1)
    made = {request_id_of({}, rng) for _ in range(1_000)}
    assert len(made) == 1_000
    assert not any(map(holds_card_number, made))


async def test_a_trace_is_gone_on_with_and_a_bad_one_is_no_error() -> None:
    inside = Inside()
    await ask(inside, Tracer(), headers={"traceparent": BROUGHT})
    assert inside.traceparent == BROUGHT
    twice = [("traceparent", BROUGHT), ("traceparent", BROUGHT)]
    for bad in ({"traceparent": "00-no-01"}, twice):
        answer = await ask(inside, Tracer(), headers=bad)
        assert answer.status_code == 200
        assert not inside.traceparent


@pytest.mark.parametrize(
    ("path", "begins"),
    [("/v1/stock", True), ("/livez", False), ("/", False), ("/v1/stripe/webhook", False)],
)
async def test_only_requests_of_programs_begin_a_trace(path: str, *, begins: bool) -> None:
    kept: list[Span] = []
    await ask(Inside(), Tracer(kept.append, percent=100), path)
    assert bool(kept) == begins


async def test_what_nobody_answers_for_has_no_route_and_a_defect_is_an_error() -> None:
    kept: list[Span] = []
    await ask(Inside(500), Tracer(kept.append, percent=100), "/v1/whatever")
    assert kept[0].name == "GET"
    assert kept[0].attributes["error.type"] == "500"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/shows/shows/start", "/v1/shows/{show}/start"),
        ("/static/shows/player.js", "/static/{path}"),
    ],
)
async def test_a_step_is_named_by_the_route_whatever_the_values_in_the_path(
    path: str, route: str
) -> None:
    async def answer(_: Request) -> Response:
        return Response()

    shows = Route("/v1/shows/{show}/start", answer)
    files = Mount("/static", Response())
    kept: list[Span] = []
    tracer = Tracer(kept.append, percent=100)
    await ask(Starlette(routes=[shows, files]), tracer, path, {"traceparent": BROUGHT})
    assert (kept[0].name, kept[0].attributes["http.route"]) == (f"GET {route}", route)
