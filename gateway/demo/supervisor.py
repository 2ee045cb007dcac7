"""Runs the demo: starts the parts, opens the shop, minds both, and brings it all to an end."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from gateway.demo.addresses import claim
from gateway.demo.board import Board, open_board
from gateway.demo.crowd_watch import CrowdWatch
from gateway.demo.ending import HURRIED, PATIENT, Ending
from gateway.demo.family import Family
from gateway.demo.home import Home, open_home
from gateway.demo.options import DemoOptions
from gateway.demo.parts import SHOW, Site, crowd, parts
from gateway.demo.reading import TROUBLE, Reader, open_redis
from gateway.demo.refusal import Breakdown, Refusal
from gateway.demo.shopfront import Shopfront, sign_keys
from gateway.demo.stop import Stop
from gateway.demo.summary import disagreements, report
from gateway.demo.voice import Voice, addresses
from gateway.demo.ware import Ware, read_ware
from gateway.process import allow_files
from gateway.sandbox.ports import free_ports
from gateway.sandbox.valkey import EmbeddedValkey, ValkeyMissingError
from gateway.sandbox.warden import Warden

_LOOK_EVERY_S = 0.25
_HTTP_TIMEOUT_S = 5.0
_SPARE_SOCKETS = 200
"""Files a process needs beside the sockets of the crowd."""
_KILLED = 130


def supervise(options: DemoOptions) -> int:
    """Run the demo; return the exit code (see ``gateway.demo.run``)."""
    try:
        port, ware = claim(options.port), read_ware(options.catalog)
        allow_files(options.crowd + _SPARE_SOCKETS)
        with open_home(options.data_dir) as home, Warden() as warden:
            return asyncio.run(_Demo(options, home, warden.group, port, ware).run())
    except (Refusal, ValkeyMissingError) as refusal:
        sys.stderr.write(f"holdfast demo: {refusal}\n")
        return 2
    except Breakdown as breakdown:
        sys.stderr.write(f"holdfast demo: {breakdown}\n")
        return 1
    except asyncio.CancelledError:
        return _KILLED


@dataclass(slots=True)
class _Demo:
    """One run."""

    options: DemoOptions
    home: Home
    group: int
    port: int
    ware: Ware
    stock: dict[str, int] = field(default_factory=dict)
    crowd: CrowdWatch | None = None
    voice: Voice = field(init=False)
    family: Family = field(init=False)
    stop: Stop = field(init=False)

    def __post_init__(self) -> None:
        valkey = EmbeddedValkey(self.group, data_dir=self.home.valkey)
        self.voice = Voice(self.options)
        self.family = Family(self.group, self.home.logs, valkey)
        self.stop = Stop(self.group)

    async def run(self) -> int:
        """Run until it is over; leave no process behind."""
        self.stop.listen()
        try:
            site = await self._site()
            async with _clients(site) as reader:
                if not await self._opens(reader):
                    return 0
                return await self._show(Ending(site, self.family, reader, self.stop))
        finally:
            pace = HURRIED if self.stop.asked.is_set() else PATIENT
            await self.family.stop(pace.processes)

    async def _site(self) -> Site:
        """Start Valkey, and settle where everything is."""
        stripe_port, till_port = free_ports(2)
        redis_url = await self.family.start_valkey()
        crowd, faults = self.options.crowd, self.options.faults
        return Site(self.home, redis_url, self.port, stripe_port, till_port, crowd, faults)

    async def _opens(self, reader: Reader) -> bool:
        """Start the parts and open the shop; ``False`` when told to stop before that is done."""
        opening = asyncio.create_task(self._open(reader))
        asked = asyncio.create_task(self.stop.asked.wait())
        await asyncio.wait({opening, asked}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            asked.cancel()
            opening.result()
            return True
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        return False

    async def _open(self, reader: Reader) -> None:
        await self.family.start(parts(reader.site), reader.client)
        await reader.shopfront.open(self.ware.file)
        await reader.shopfront.pin(self.ware.first)
        self.stock = await reader.shopfront.stock()
        if self.options.crowd:
            self.crowd = CrowdWatch(self.family.add(crowd(reader.site), piped=True))
            await self.crowd.gathers()

    async def _show(self, ending: Ending) -> int:
        """Announce the show, let it run, end it, and say how it went."""
        site, reader = ending.site, ending.reader
        self.voice.emit(
            {
                "url": site.url,
                "show": SHOW,
                "till_url": site.till_url,
                "sandbox_url": site.stripe_url,
                "faults_url": site.faults_url,
                "keys": sign_keys(site),
                "stock": self.stock,
            }
        )
        self.voice.say(addresses(site, self.options.for_s))
        async with self._board(reader):
            failure = await self._until_over()
            if self.crowd:
                await ending.crowd_goes(self.crowd)
            if await ending.calm():
                self.voice.say("The sandbox's faults are switched off: all must come to rest now.")
            at_rest = await ending.rest()
        return await self._sum_up(ending, failure, at_rest=at_rest)

    async def _until_over(self) -> str | None:
        """Wait for the time to be over, somebody to stop it, or a part to fail, and say how."""
        failing = asyncio.create_task(self.family.first_to_fail())
        asked = asyncio.create_task(self.stop.asked.wait())
        await asyncio.wait(
            {failing, asked}, timeout=self.options.for_s, return_when=asyncio.FIRST_COMPLETED
        )
        asked.cancel()
        if failing.done():
            self.stop.asked.set()
            return failing.result()
        failing.cancel()
        return None

    async def _sum_up(self, ending: Ending, failure: str | None, *, at_rest: bool) -> int:
        """Count and say how it went; return the exit code."""
        unexpected = dict(self.crowd.counts.unexpected) if self.crowd else {}
        if failure:
            unexpected["a part ended by itself"] = 1
        if not at_rest and not self.stop.asked.is_set():
            unexpected["payments or deliveries did not come to rest"] = 1
        summary, units = await ending.count(sum(unexpected.values()))
        wrong = None if self.stop.asked.is_set() else disagreements(summary, units)
        self.voice.say(report(summary, unexpected, wrong))
        if failure:
            self.voice.say(f"holdfast demo: {failure}")
        self.voice.emit(summary)
        return 1 if failure or wrong else 0

    @contextlib.asynccontextmanager
    async def _board(self, reader: Reader) -> AsyncIterator[None]:
        """Keep the board up to date meanwhile."""
        board = open_board(self.voice.stream, f"Holdfast: {reader.site.url}/")
        showing = asyncio.create_task(self._keep_showing(board, reader))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            board.close()

    async def _keep_showing(self, board: Board, reader: Reader) -> None:
        while True:
            with contextlib.suppress(*TROUBLE):
                board.show(await reader.read(), self.crowd.counts if self.crowd else None)
            await asyncio.sleep(_LOOK_EVERY_S)


@contextlib.asynccontextmanager
async def _clients(site: Site) -> AsyncIterator[Reader]:
    """Whatever we look at the shop with."""
    redis = open_redis(site.redis_url)
    async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as client:
        shopfront = Shopfront(client, site, sign_keys(site)["admin"])
        try:
            yield Reader(site, client, shopfront, redis)
        finally:
            await redis.aclose()
