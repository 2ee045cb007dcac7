"""What the browser tests share: the system's Chromium, phones in it, and a running demo."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

    from gateway.sandbox.warden import Warden

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 390, "height": 844}
STATIC = Path(__file__).parents[2] / "gateway" / "web" / "static"
DEMO_STARTS_WITHIN_S = 60.0
DEMO_STOPS_WITHIN_S = 10.0
STEP_MS = 10_000
"""How long one step in the page may take; a probe's deadline, not a wait."""
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

NewPage = Callable[[], Awaitable["Page"]]
"""Opens a window of a new shopper, on a phone."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A running ``holdfast demo``."""

    url: str


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The system's browser; playwright's own is not downloaded."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    return CHROMIUM


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    """One Chromium for the tests of a module."""
    playwright_api = pytest.importorskip("playwright.async_api", reason="needs playwright")
    async with playwright_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def new_page(browser: Browser) -> AsyncIterator[NewPage]:
    """Opens pages that may not contain a single script error when the test is over."""
    errors: list[str] = []

    async def open_page() -> Page:
        context = await browser.new_context(
            viewport={"width": PHONE["width"], "height": PHONE["height"]},
            locale="en-US",
            reduced_motion="reduce",  # drawing without a GPU would cost most of the time
        )
        page = await context.new_page()
        page.set_default_timeout(STEP_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_page
    for context in browser.contexts:
        await context.close()
    assert errors == []


@pytest.fixture(scope="session")
def demo(chromium: Path, warden: Warden) -> Iterator[Demo]:
    """The demo as a newcomer starts it, on a free port."""
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0", "--json"]
    with subprocess.Popen(
        command, process_group=warden.group, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Demo(url=_first_line(process)["url"])
        finally:
            process.terminate()
            try:
                process.wait(DEMO_STOPS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _first_line(process: subprocess.Popen[bytes]) -> dict[str, str]:
    """What the demo says when it is ready; later lines are read so that its pipe never fills."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        lines.put(output.readline())
        while output.read(4_096):
            pass

    threading.Thread(target=read, daemon=True).start()
    try:
        line = lines.get(timeout=DEMO_STARTS_WITHIN_S)
    except queue.Empty:
        process.kill()
        pytest.fail(f"the demo did not start within {DEMO_STARTS_WITHIN_S} s")
    if not line:
        pytest.fail("the demo cannot be started; run `holdfast demo` to see why")
    first: dict[str, str] = json.loads(line)
    return first
