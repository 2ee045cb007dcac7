"""A gateway process that dies at one step of the walk: ``python -m tests.acceptance.mortal STEP``.

STEP is the name of a script or of a call to Stripe; the process kills itself with SIGKILL when that
step's answer has arrived and before anything is done with it. ``before:STEP`` dies just before.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence

from gateway.app import assemble, server
from gateway.checkout.payment import Intent, Payments, Ready
from gateway.checkout.record import Record
from gateway.checkout.turns import OnWait
from gateway.claims.address import open_claims
from gateway.clock import SystemClock
from gateway.environment import read
from gateway.lane import Durable, Lane, Reply, Word
from gateway.scripts import Script
from gateway.settings import Settings


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class MortalLane(Lane):
    """Dies at a script, counting repeated ones: ``order_move:2`` is the second."""

    def __init__(self, settings: Settings, fatal: str) -> None:
        super().__init__(settings)
        self.fatal = fatal
        self.calls: dict[str, int] = {}

    def _meets(self, script: Script) -> str:
        self.calls[script.name] = self.calls.get(script.name, 0) + 1
        step = f"{script.name}:{self.calls[script.name]}"
        if self.fatal == f"before:{step}":
            die()
        return step

    def call(
        self, script: Script, keys: Sequence[str], args: Sequence[Word]
    ) -> asyncio.Future[Reply]:
        step = self._meets(script)
        answer = super().call(script, keys, args)
        if step == self.fatal:
            answer.add_done_callback(lambda _: die())
        return answer

    def call_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Word]
    ) -> asyncio.Future[Durable]:
        step = self._meets(script)
        answer = super().call_durably(script, keys, args)
        if step == self.fatal:
            answer.add_done_callback(lambda _: die())
        return answer


class MortalPayments(Payments):
    """Dies at a call to Stripe."""

    def __init__(self, settings: Settings, lane: Lane, fatal: str) -> None:
        super().__init__(settings, lane, SystemClock())
        self.fatal = fatal

    async def authorize(
        self, shop: str, record: Record, ready: Ready, on_wait: OnWait | None = None
    ) -> Intent:
        if self.fatal == "before:authorize":
            die()
        intent = await super().authorize(shop, record, ready, on_wait)
        if self.fatal == "authorize":
            die()
        return intent

    async def capture(self, shop: str, record: Record, on_wait: OnWait | None = None) -> Intent:
        if self.fatal == "before:capture":
            die()
        intent = await super().capture(shop, record, on_wait)
        if self.fatal == "capture":
            die()
        return intent


def main(fatal: str) -> None:
    settings = read(os.environ)
    lane = MortalLane(settings, fatal)
    gateway = assemble(
        settings,
        clock=SystemClock(),
        rng=random.Random(),
        lane=lane,
        payments=MortalPayments(settings, lane, fatal),
        claims=open_claims(settings),
    )
    server(gateway).run()


if __name__ == "__main__":
    main(sys.argv[1])
