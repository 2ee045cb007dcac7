"""The sandbox as a process of its own: it says where it listens, keeps its money, and ends."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.sandbox.stripe.app import Settings
from gateway.sandbox.stripe.server import main, serving
from tests.late import ends_after_s
from tests.stripe_inprocess import PAID

START_S = 30
KEY = {"Authorization": "Bearer sk_test_x"}


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.sandbox.stripe",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), START_S)
        yield child, json.loads(line)["url"]
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def test_a_process_of_its_own_keeps_its_money_and_ends_within_two_seconds(
    tmp_path: Path,
) -> None:
    data = str(tmp_path / "money.db")
    slow = '{"latency_ms": 60000, "endpoint": "GET /v1/account"}'
    async with (
        process("--data", data, "--rate-limit", "0", "--faults", slow) as (child, url),
        httpx.AsyncClient(base_url=url, headers=KEY, trust_env=False) as client,
    ):
        first = await client.post("/v1/payment_intents", data=PAID)
        assert first.status_code == 200
        stuck = asyncio.create_task(client.get("/v1/account"))
        # More than a second's worth, which the lifted limit lets through.
        statuses = {(await client.get("/v1/balance")).status_code for _ in range(60)}
        assert statuses == {200}
        child.send_signal(signal.SIGTERM)
        gone = lambda: child.returncode is not None  # noqa: E731
        assert await asyncio.to_thread(ends_after_s, [child.pid], gone) < 2
        assert child.returncode == 0
        await asyncio.gather(stuck, return_exceptions=True)
    async with (
        serving(Settings(data=data)) as url,
        httpx.AsyncClient(base_url=url, headers=KEY, trust_env=False) as client,
    ):
        kept = await client.get(f"/v1/payment_intents/{first.json()['id']}")
        assert kept.json()["status"] == "requires_capture"


async def test_a_lost_reply_is_a_cut_connection() -> None:
    async with (
        serving(Settings()) as url,
        httpx.AsyncClient(base_url=url, headers=KEY, trust_env=False) as client,
    ):
        await client.post("/v1/sandbox/faults", json={"lose_reply_percent": 100, "times": 1})
        with pytest.raises(httpx.TransportError):
            await client.get("/v1/balance")
        assert (await client.get("/v1/balance")).status_code == 200


def test_a_taken_port_is_named_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert said == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--webhook-url", "http://127.0.0.1:1/"],
        ["--webhook-secret", "whsec_x"],
        ["--faults", '{"latency": 1}'],
    ],
)
def test_a_command_line_with_a_mistake_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
