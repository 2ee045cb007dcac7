"""What the doctor finds: on a gateway that is well, and with each fault planted."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.__main__ import main
from gateway.api.tickets import TicketAnswer
from gateway.clock import SystemClock
from gateway.commands.doctor import examine
from gateway.doctor import live as going_in
from gateway.doctor import reach
from gateway.doctor.finding import Outcome, Patient
from gateway.doctor.live import live
from gateway.doctor.money import _mode, money
from gateway.doctor.store import redis, stock
from gateway.sandbox.serving import serving
from gateway.settings import Settings
from tests.bank import Bank
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site
from tests.processes import free_port
from tests.proxy import open_proxy

EVERYTHING = ["GET", "POST", "HEAD"]


def patient(url: str, settings: Settings, *given: str, **changes: Any) -> Patient:
    """A deployment, with so much of our environment."""
    looked_at = Patient(
        url=url,
        show=SHOW,
        idle_s=0.1,
        key="",
        given=frozenset(given),
        settings=settings,
        now_ms=SystemClock().now_ms,
    )
    return msgspec.structs.replace(looked_at, **changes)


def states(outcomes: list[Outcome]) -> dict[str, str]:
    """The state of each check; of several of a name the worst."""
    worst = ("skipped", "ok", "warning", "failed")
    found: dict[str, str] = {}
    for one in outcomes:
        found[one.check] = max(one.state, found.get(one.check, "skipped"), key=worst.index)
    return found


def said(outcomes: list[Outcome], check: str) -> str:
    return " ".join(f"{one.message} {one.fix}" for one in outcomes if one.check == check)


async def test_a_deployment_that_is_well(site: Site) -> None:
    settings = site.rooms.settings
    outcomes = await examine(patient(site.url, settings, "STRIPE_API_KEY", "REDIS_URL"))
    assert states(outcomes) == {
        "reach": "ok",
        "clock": "ok",
        "ready": "warning",  # What undermines durability in these tests.
        "metrics": "skipped",
        "ticket": "ok",
        "socket": "ok",
        "origin": "ok",
        "stripe_key": "ok",
        "stripe_mode": "ok",
        "webhook": "ok",
        "stripe_calls": "skipped",  # The sandbox does not tell whom it calls.
        "redis": "warning",
        "stock": "skipped",
    }
    made = await Bank(site.stripe_url).summary()
    assert made["payment_intents"] == {}, "It changes nothing."


async def test_where_nobody_answers_that_is_all_it_says(settings: Settings) -> None:
    outcomes = await examine(patient(f"http://127.0.0.1:{free_port()}", settings))
    assert states(outcomes) == {"reach": "failed"}
    assert outcomes[0].fix


async def test_somebody_else_who_answers_is_no_gateway(settings: Settings) -> None:
    async with stand_in(PlainTextResponse("It works!")) as url:
        outcomes = await examine(patient(url, settings))
    assert states(outcomes) == {"reach": "failed"}
    assert "no gateway" in outcomes[0].message


async def test_who_falls_silent_after_the_first_answer_is_unreachable(settings: Settings) -> None:
    async def answers_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/livez" in head:
            said = b'{"status":"alive"}'
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(said), said))
        writer.close()

    async with await asyncio.start_server(answers_once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcomes = await examine(patient(f"http://127.0.0.1:{port}", settings))
    assert states(outcomes) == {"reach": "failed"}
    assert "does not answer" in outcomes[0].message


def test_a_bad_certificate_is_told_from_silence() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "certificate has expired"
    error = httpx.ConnectError("")
    error.__cause__ = cause
    assert reach._certificate(error) == "certificate has expired"
    assert reach._certificate(httpx.ConnectError("refused")) == ""


async def test_a_clock_that_is_off_is_named(site: Site) -> None:
    clock = SystemClock()
    later = patient(site.url, site.rooms.settings, now_ms=lambda: clock.now_ms() + 60_000)
    outcomes = await reach.reach(later)
    assert states(outcomes)["clock"] == "warning"
    assert "60 s behind" in said(outcomes, "clock") or "61 s behind" in said(outcomes, "clock")


async def test_who_is_not_ready_says_why(site: Site) -> None:
    site.gateway.door.draining = True
    outcomes = await reach.reach(patient(site.url, site.rooms.settings))
    assert "was told to go away" in said(outcomes, "ready")
    assert states(outcomes)["ready"] == "failed"


async def test_a_ticket_that_a_gateway_refuses_is_no_fault_of_the_way_there(
    settings: Settings,
) -> None:
    async def unavailable(_: Request) -> Response:
        said = {"type": "urn:holdfast:problem:unavailable", "code": "unavailable"}
        return JSONResponse(said, 503)

    async def somebody_else(_: Request) -> Response:
        return PlainTextResponse("no server", 503)

    async def a_page(_: Request) -> Response:
        return PlainTextResponse("Welcome!")

    said_by = ((unavailable, "/readyz?verbose"), (somebody_else, "ingress"), (a_page, "ingress"))
    for answer, fix in said_by:
        app = Starlette(routes=[Route("/v1/tickets", answer, methods=EVERYTHING)])
        async with serving(app) as url:
            outcomes = await live(patient(url, settings))
        assert states(outcomes)["socket"] == "failed"
        assert fix in said(outcomes, "socket")


async def test_a_show_that_is_not_there_is_no_fault_of_the_socket(site: Site) -> None:
    outcomes = await live(patient(site.url, site.rooms.settings, show="nothing"))
    assert states(outcomes) == {"socket": "warning", "origin": "ok"}


async def test_a_proxy_without_upgrades_is_named(site: Site) -> None:
    async def forward(request: Request) -> Response:
        async with httpx.AsyncClient() as client:
            answer = await client.request(
                request.method,
                f"{site.url}{request.url.path}",
                content=await request.body(),
                headers={
                    "host": request.headers["host"],
                    "content-type": request.headers.get("content-type", ""),
                },
            )
        return Response(answer.content, answer.status_code, media_type="application/json")

    app = Starlette(routes=[Route("/{path:path}", forward, methods=EVERYTHING)])
    async with serving(app) as url:
        outcomes = await live(patient(url, site.rooms.settings))
    assert states(outcomes)["ticket"] == "ok"
    assert states(outcomes)["socket"] == "failed"
    assert "not 101" in said(outcomes, "socket")
    assert "Upgrade and Connection" in said(outcomes, "socket")


async def test_a_socket_that_is_sent_elsewhere_is_named(site: Site) -> None:
    """No browser follows."""

    async def sends_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 302 Found\r\nLocation: {site.socket_url}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        writer.close()

    async with await asyncio.start_server(sends_away, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        ticket = TicketAnswer(site.ticket("ann"), "", f"ws://127.0.0.1:{port}/v1/live")
        outcome = await going_in._socket(patient(site.url, site.rooms.settings), ticket)
    assert (outcome.state, outcome.message) == ("failed", "The upgrade is answered 302, not 101.")


async def test_a_proxy_that_cuts_who_is_silent_is_named(site: Site) -> None:
    port = int(site.url.rpartition(":")[2])
    async with open_proxy(port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        looking = asyncio.create_task(live(patient(url, site.rooms.settings, idle_s=20.0)))
        async with asyncio.timeout(10):
            while not site.gateway.listener.viewers:
                await asyncio.sleep(0.01)
            proxy.cut()
            outcomes = await looking
    assert states(outcomes)["socket"] == "failed"
    assert "closed with 1006" in said(outcomes, "socket")


async def test_a_proxy_that_gathers_frames_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(going_in, "WITHIN_S", 0.5)
    port = int(site.url.rpartition(":")[2])
    async with open_proxy(port) as proxy:
        proxy.mute(b'"welcome"')
        outcomes = await live(patient(f"http://127.0.0.1:{proxy.port}", site.rooms.settings))
    assert "gathers frames" in said(outcomes, "socket")


async def test_a_foreign_page_that_gets_in_is_named(settings: Settings) -> None:
    allowing = msgspec.structs.replace(settings, allowed_origins=str(going_in._FOREIGN))
    async with open_site(allowing, UNLIMITED) as site:
        outcomes = await live(patient(site.url, site.rooms.settings))
    assert states(outcomes)["origin"] == "failed"
    assert states(outcomes)["socket"] == "ok"


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (Response(status_code=404), "failed", "not by the gateway"),
        (RedirectResponse("https://elsewhere.example.com/"), "failed", "does not follow"),
        (JSONResponse({"received": True}), "failed", "did not sign is taken"),
    ],
)
async def test_a_webhooks_path_that_leads_elsewhere_is_named(
    settings: Settings, answer: Response, state: str, words: str
) -> None:
    async with stand_in(answer) as url:
        outcomes = await money(patient(url, settings))
    assert states(outcomes) == {"stripe_key": "skipped", "webhook": state}
    assert words in said(outcomes, "webhook")


@pytest.mark.parametrize(
    ("refused", "state", "words"),
    [
        ({}, "ok", ""),
        ({"POST /v1/refunds": 403}, "failed", "may not make refunds (rak_charge_write)"),
        ({"GET /v1/payment_intents": 401}, "failed", "does not know this key"),
    ],
)
async def test_what_a_key_may_not_do_is_named_and_the_key_is_not(
    settings: Settings, refused: dict[str, int], state: str, words: str
) -> None:
    async with stripe_like(refused) as url:
        own = msgspec.structs.replace(settings, stripe_url=url)
        outcomes = await money(patient(url, own, "STRIPE_API_KEY"))
    assert states(outcomes)["stripe_key"] == state
    assert words in said(outcomes, "stripe_key")
    assert settings.stripe_api_key not in str(outcomes)


@pytest.mark.parametrize(
    ("status", "state"), [("enabled", "ok"), ("disabled", "failed"), ("", "warning")]
)
async def test_whether_stripe_calls_this_address_is_told(
    settings: Settings, status: str, state: str
) -> None:
    async with stripe_like({}, status) as url:
        own = msgspec.structs.replace(settings, stripe_url=url)
        outcomes = await money(patient(url, own, "STRIPE_API_KEY"))
    assert states(outcomes)["stripe_calls"] == state


@pytest.mark.parametrize(
    ("key", "url", "state"),
    [
        ("sk_live_0123456789abcdef", "http://127.0.0.1:1", "warning"),
        ("sk_test_0123456789abcdef", "https://shop.example.com", "warning"),
        ("sk_live_0123456789abcdef", "https://shop.example.com", "ok"),
    ],
)
async def test_a_key_of_the_other_mode_is_named(
    settings: Settings, key: str, url: str, state: str
) -> None:
    own = msgspec.structs.replace(settings, stripe_api_key=key)
    assert _mode(patient(url, own)).state == state


DRIFT = {"sku": "tee", "location": "main", "quantity": "held", "expected": 1, "found": 3}


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (JSONResponse({"stock": {"drift": [], "shortfalls": 0}}), "ok", "as its ledger says"),
        (JSONResponse({"stock": {"drift": [], "shortfalls": 2}}), "warning", "2 places"),
        (JSONResponse({"stock": {"drift": [DRIFT]}}), "failed", "tee held 3 for 1"),
        (JSONResponse({}, 404), "skipped", "does not audit"),
        (JSONResponse({}, 403), "failed", "not an admin key"),
        (JSONResponse({}, 503), "warning", "503"),
    ],
)
async def test_what_an_audit_says_is_told(
    settings: Settings, answer: Response, state: str, words: str
) -> None:
    async with stand_in(answer) as url:
        [outcome] = await stock(patient(url, settings, key="a-key"))
    assert outcome.state == state
    assert words in outcome.message


async def test_a_key_is_not_sent_where_others_can_read_it(settings: Settings) -> None:
    assert patient("https://shop.example.com", settings, key="k").headers
    assert patient("http://127.0.0.1:8080", settings, key="k").headers
    open_to_all = patient("http://shop.example.com", settings, key="k")
    assert open_to_all.headers == {}
    [outcome] = await stock(open_to_all)
    assert outcome.state == "skipped"


async def test_a_redis_that_is_away_is_a_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.readiness.PING_WITHIN_S", 0.2)
    nowhere = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}")
    outcomes = await redis(patient("http://127.0.0.1:1", nowhere, "REDIS_URL"))
    assert states(outcomes) == {"redis": "failed"}


async def test_the_command_prints_a_line_a_check_or_one_object(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("REDIS_URL", "STRIPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOLDFAST_KEY", "no.such.key")
    words = ("doctor", "--url", f"{site.url}/", "--show", "nothing", "--idle", "0")
    code = await asyncio.to_thread(main, words)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       reach ")
    assert any("→ Name a show with --show." in line for line in lines)
    assert code == int(any(line.startswith("failed") for line in lines))
    assert await asyncio.to_thread(main, (*words, "--json")) == code
    told = json.loads(capsys.readouterr().out)
    assert told["url"] == site.url
    assert {one["check"] for one in told["checks"]} >= {"reach", "socket", "webhook", "stock"}


def test_it_must_be_told_a_whole_address(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--url", "shop.example.com"), ("--url", "http://a", "--idle", "x"), ()):
        with pytest.raises(SystemExit) as ended:
            main(("doctor", *words))
        assert ended.value.code == 2


@contextlib.asynccontextmanager
async def stand_in(answer: Response) -> AsyncIterator[str]:
    """Somebody who gives this answer to everything."""

    async def say(_: Request) -> Response:
        return answer

    async with serving(Starlette(routes=[Route("/{path:path}", say, methods=EVERYTHING)])) as url:
        yield url


@contextlib.asynccontextmanager
async def stripe_like(refused: dict[str, int], calls: str = "") -> AsyncIterator[str]:
    """What a Stripe says to a key that may do all but this, and whom it calls."""

    async def say(request: Request) -> Response:
        path = request.url.path
        if path == "/v1/webhook_endpoints":
            url = f"{request.base_url}v1/stripe/webhook"
            return JSONResponse({"data": [{"url": url, "status": calls}] if calls else []})
        if status := refused.get(f"{request.method} {path}"):
            key = request.headers["authorization"].removeprefix("Bearer ")
            message = f"The key {key} lacks permissions. Having 'rak_charge_write' would allow it."
            return JSONResponse({"error": {"message": message}}, status)
        return JSONResponse({"data": []}, 200 if request.method == "GET" else 404)

    async with serving(Starlette(routes=[Route("/{path:path}", say, methods=EVERYTHING)])) as url:
        yield url
