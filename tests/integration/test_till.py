"""The demo till, over a real socket and as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from gateway.orders import entry
from gateway.sandbox import till
from tests.late import ends_after_s
from tests.sales import event_of

SECRET = "whsec_" + "QUJD" * 8
ROOT = Path(__file__).parents[2]
END_S = 2.0


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        till.serving(":memory:", SECRET) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        yield http


def signed(body: bytes, event_id: str, *, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    now_s = int(time.time()) - age_s
    moment = datetime.fromtimestamp(now_s, UTC)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": Webhook(secret).sign(event_id, moment, body.decode()),
    }


async def deliver(http: httpx.AsyncClient, order: str, version: int = 1) -> httpx.Response:
    event = event_of("acme", order, version)
    body = entry.encode(event)
    return await http.post("/orders", content=body, headers=signed(body, event.id))


async def test_an_order_is_kept_and_its_repetition_is_dropped_with_the_same_answer(
    http: httpx.AsyncClient,
) -> None:
    first, second = await deliver(http, "o1"), await deliver(http, "o1")
    assert (first.status_code, first.json()) == (200, {"status": "stored"})
    assert (second.status_code, second.json()) == (200, {"status": "duplicate"})
    assert (await http.get("/summary")).json() == {
        "orders": 1,
        "units": 2,
        "amount": {"USD": 3_900},
        "refunded": {},
        "duplicates": 1,
    }
    (event,) = (await http.get("/orders")).json()
    assert event["data"]["id"] == "o1"


async def test_only_orders_that_first_came_since_then_are_told(http: httpx.AsyncClient) -> None:
    await deliver(http, "o1")
    past, future = "2026-01-01T00:00:00.000Z", "2100-01-01T01:00:00.000+01:00"
    assert len((await http.get("/orders", params={"since": past})).json()) == 1
    assert (await http.get("/orders", params={"since": future})).json() == []
    for wrong in ("yesterday", "2026-01-01T00:00:00"):
        answer = await http.get("/orders", params={"since": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    "spoil",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "nonsense"},
        {"webhook-signature": "v1,a,b"},
        {"webhook-id": "evt_other"},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "soon"},
    ],
)
async def test_a_delivery_that_is_not_signed_right_is_refused(
    http: httpx.AsyncClient, spoil: dict[str, str]
) -> None:
    body = entry.encode(event_of("acme", "o1"))
    answer = await http.post("/orders", content=body, headers=signed(body, "evt_o1_1") | spoil)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert (await http.get("/orders")).json() == []


async def test_unsigned_changed_old_and_unreadable_deliveries_are_refused(
    http: httpx.AsyncClient,
) -> None:
    body = entry.encode(event_of("acme", "o1"))
    headers = signed(body, "evt_o1_1")
    for content, given in (
        (body, {}),
        (body.replace(b"3900", b"0001"), headers),
        (body, signed(body, "evt_o1_1", age_s=301)),
        (body, signed(body, "evt_o1_1", secret="whsec_" + "REVG" * 8)),
        (b"\xff\xfe", headers),
    ):
        assert (await http.post("/orders", content=content, headers=given)).status_code == 401


async def test_a_signed_body_that_is_no_order_is_refused(http: httpx.AsyncClient) -> None:
    for body in (b"", b"[]", b"{}", b'{"id": 1}', b"nul"):
        answer = await http.post("/orders", content=body, headers=signed(body, "evt"))
        assert answer.status_code == 422


async def test_a_body_that_is_too_long_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/orders", content=b" " * (till.MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


async def test_faults_refuse_so_many_deliveries_without_effect(http: httpx.AsyncClient) -> None:
    await http.post("/faults", json={"status": 503, "count": 1, "retry_after_s": 7, "order": "o1"})
    assert (await deliver(http, "o2")).status_code == 200
    refused = await deliver(http, "o1")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
    assert (await deliver(http, "o1")).json() == {"status": "stored"}


async def test_a_lost_reply_comes_after_the_effect(http: httpx.AsyncClient) -> None:
    await http.post("/faults", json={"lose_reply": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        await deliver(http, "o1")
    assert (await deliver(http, "o1")).json() == {"status": "duplicate"}


async def test_a_delay_holds_up_and_an_empty_object_ends_all_faults(
    http: httpx.AsyncClient,
) -> None:
    await http.post("/faults", json={"delay_ms": 300})
    with pytest.raises(httpx.ReadTimeout):
        await http.post(
            "/orders",
            content=(body := entry.encode(event_of("acme", "o1"))),
            headers=signed(body, "evt_o1_1"),
            timeout=0.1,
        )
    await http.post("/faults", json={})
    assert (await deliver(http, "o2")).status_code == 200


@pytest.mark.parametrize("plan", [{"status": 42}, {"count": -1}, {"unknown": 1}, []])
async def test_faults_that_make_no_sense_are_refused(http: httpx.AsyncClient, plan: object) -> None:
    assert (await http.post("/faults", json=plan)).status_code == 422


async def test_the_page_shows_orders_and_escapes_what_others_wrote(
    http: httpx.AsyncClient,
) -> None:
    await deliver(http, "<script>alert(1)</script>")
    page = (await http.get("/")).text
    assert "39.00 USD" in page
    assert "2 x shirt-m" in page
    assert "<script>" not in page


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway.sandbox.till", *arguments]
    environment = {**os.environ, "TILL_SECRET": SECRET}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment)


def test_the_program_says_where_it_listens_keeps_orders_and_ends_in_time(tmp_path: Path) -> None:
    data, body = tmp_path / "till.sqlite", entry.encode(event_of("acme", "o1"))
    answers = []
    for _ in range(2):
        with start("--port", "0", "--data", str(data)) as process:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            headers = signed(body, "evt_o1_1")
            with httpx.Client(trust_env=False) as http:
                answers.append(http.post(f"{url}/orders", content=body, headers=headers).json())
            process.send_signal(signal.SIGTERM)
            assert ends_after_s([process.pid], lambda: process.poll() is not None) < END_S
            assert process.returncode == 0
    assert answers == [{"status": "stored"}, {"status": "duplicate"}]


def test_a_taken_port_is_named_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert till.main(["--port", str(port), "--secret", SECRET]) == 1
    assert capsys.readouterr().err == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_abcde"])
def test_a_wrong_secret_is_named(
    secret: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TILL_SECRET", raising=False)
    assert till.main(["--secret", secret]) == 2
    assert "whsec_" in capsys.readouterr().err
