"""Real processes for tests: a gateway on a free port, ended by its owner at the latest."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx

from gateway.sandbox.ports import free_ports
from gateway.sandbox.warden import Warden

ROOT = Path(__file__).parent.parent
START_S = 60
BRIEF = httpx.Limits(keepalive_expiry=2)
"""Of a client that may be idle for long: a gateway hangs up on one after five seconds, and both may
do so in the same moment."""


def free_port() -> int:
    [port] = free_ports(1)
    return port


def environment(redis_url: str, stripe_url: str, shop: str, **settings: object) -> dict[str, str]:
    """What a process of the gateway is told; nothing of the tester's own environment."""
    return {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "STRIPE_API_KEY": "sk_test_0123456789abcdef",
        "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef",
        "HOLDFAST_SECRET": "a-secret-of-the-tests-0123456789",
        "HOLDFAST_STRIPE_URL": stripe_url,
        "HOLDFAST_SHOP": shop,
        "HOLDFAST_WEBHOOK_TARGETS": "127.0.0.0/8",
        **{f"HOLDFAST_{name.upper()}": str(value) for name, value in settings.items()},
    }


class Process:
    """A child process in a warden's group; its output is kept for when something goes wrong."""

    def __init__(self, warden: Warden, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self.child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=warden.group,
        )

    async def answers(self, url: str) -> None:
        """Wait until an address answers 200."""
        async with asyncio.timeout(START_S), httpx.AsyncClient() as client:
            while True:
                assert self.child.poll() is None, f"ended with {self.child.returncode}"
                try:
                    if (await client.get(url)).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)

    async def ended(self, within_s: float = 10) -> int:
        """Wait until it has ended; return its exit code."""
        async with asyncio.timeout(within_s):
            while (code := self.child.poll()) is None:
                await asyncio.sleep(0.02)
            return code

    async def stop(self) -> int:
        """Ask it to end; return its exit code."""
        if self.child.poll() is None:
            self.child.terminate()
        return await self.ended()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        await self.ended()
