"""Faults planted for a load test do what they are for, and touch no file of the gateway."""

import asyncio
from pathlib import Path

import pytest

from gateway import scripts
from gateway.sockets.fanout import Fanout
from loadtest import planted
from tests.processes import free_port


def test_an_oversold_shop_decides_by_another_script_and_ours_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ours = scripts.folder(), scripts.load("hold_reserve")
    monkeypatch.setattr(scripts, "folder", scripts.folder)  # Put back at the end.
    try:
        planted.oversell(tmp_path)
        bad = scripts.load("hold_reserve")
        assert f"row[2] + {planted.TOO_MANY} - row[3]" in bad.text
        assert bad.sha != ours.sha
        assert scripts.load("hold_commit").text == (folder / "hold_commit.lua").read_text()
    finally:
        monkeypatch.undo()
        scripts.load.cache_clear()
    assert scripts.load("hold_reserve") == ours


async def test_stock_is_told_late(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(Fanout, "changed", lambda _, skus, *__, **___: told.append(tuple(skus)))
    monkeypatch.setattr(planted, "HELD_BACK_S", 0.05)
    planted.staleness()
    Fanout.changed(None, {"tee"}, 0, urgent=True)  # type: ignore[arg-type]
    assert told == []
    async with asyncio.timeout(30):
        while not told:
            await asyncio.sleep(0.01)
    assert told == [("tee",)]


async def test_the_proxy_keeps_everything_for_a_while_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(99):
            writer.write(data)
        writer.close()
        await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    monkeypatch.setattr(planted, "DELAY_S", 0.05)
    monkeypatch.setattr(planted, "QUICK_S", 0.0)
    port = free_port()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = asyncio.create_task(planted.delay(server.sockets[0].getsockname()[1], port))
    async with asyncio.timeout(10), server:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.write(b"one ")
        await asyncio.sleep(0.01)
        writer.write(b"two")
        assert await reader.readexactly(7) == b"one two"
        assert loop.time() - began >= 0.1
        writer.close()
        await writer.wait_closed()
        await gone.wait()
        proxy.cancel()
        await asyncio.gather(proxy, return_exceptions=True)
