"""Which sales a crash may take back: the mode that holds, and what of the servers undermines it.

A confirmed sale that is lost is sold again while its money is taken. Whether one can be lost is
decided by settings of Redis that nobody sees until it happens, so they are read and named: at the
start, and whenever an SRE asks. They change nothing else: a shop may have its reasons.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import Struct
from redis.exceptions import RedisError

from gateway.clock import Clock
from gateway.lane import Lane, Reply, connect, texts
from gateway.settings import Settings

log = logging.getLogger(__name__)

_WITHIN_S = 1.0
"""How long one server may take to answer."""
_FRESH_S = 10.0
"""How long a report is given again instead of asking the servers."""
_SILENT_S = 2.0
"""How long one is in which a server did not answer."""

_LEAST_VERSION = 7
_NEARLY_FULL = 0.85

_OF_FILE = ("appendonly", "appendfsync")
_CONFIG = (*_OF_FILE, "maxmemory-policy", "cluster-require-full-coverage")

_Address = tuple[str, int] | None
"""Host and port; ``None`` for the server that the settings name."""


class Server(Struct, frozen=True, kw_only=True):
    """What a primary says of itself."""

    version: str
    replicas: int
    in_cluster: bool
    knows_wait: bool
    config: dict[str, str]
    """Its settings by name; those it does not tell are not in it."""
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    """0: none, or it does not tell."""

    @property
    def fullness(self) -> float:
        """The share of its memory that is used, from 0; 0 without a limit."""
        return self.memory_bytes / self.memory_limit_bytes if self.memory_limit_bytes else 0.0


class Finding(Struct, frozen=True, omit_defaults=True):
    """One thing that undermines a promise: a stable code, what it endangers, how to mend it."""

    code: str
    message: str
    servers: tuple[str, ...] = ()
    """The primaries of a cluster it is true of."""


class Report(Struct, frozen=True):
    """Which mode holds, in words, and what undermines it."""

    mode: str
    findings: tuple[Finding, ...]


def mode(settings: Settings) -> str:
    """Say when money is captured, and who then has the sale: the strictest mode that is set."""
    if settings.claims_url:
        return "strict: captures after the claims table has every unit of the sale"
    if wanted := settings.wait_replicas:
        replicas = "1 replica has" if wanted == 1 else f"{wanted} replicas have"
        if settings.wait_fsync:
            return f"captures after {replicas} the sale on disk (WAITAOF)"
        return f"captures after {replicas} the sale (WAIT)"
    if settings.wait_fsync:
        return "captures after this server's disk has the sale (WAITAOF)"
    return "captures at once: only this server's disk has the sale"


def judge(settings: Settings, servers: Mapping[str, Server | None]) -> Report:
    """Find what undermines a promise; ``None`` is a server that did not answer. Pure."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, server in servers.items():
        for finding in _of(server, settings) if server else (_SILENT,):
            found.setdefault(finding.code, (finding.message, []))[1].append(name)
    several = len(servers) > 1
    findings = (
        Finding(code, message, tuple(sorted(names)) if several else ())
        for code, (message, names) in found.items()
    )
    return Report(mode(settings), tuple(findings))


_SILENT = Finding("silent", "The server does not answer; what it is set to cannot be checked.")


def _of(server: Server, settings: Settings) -> Iterator[Finding]:
    major = server.version.partition(".")[0]
    if major.isdecimal() and int(major) < _LEAST_VERSION:
        yield Finding(
            "old_server",
            f"The server is a Redis {server.version}, which cannot run the scripts: nothing can be "
            "sold; use Valkey, or Redis 7.0 or later.",
        )
    if server.config.get("appendonly") == "no":
        yield Finding(
            "no_aof",
            "The server keeps no append-only file: after a restart it has an old snapshot or "
            "nothing, its replicas copy that, and confirmed sales are gone; set appendonly yes, on "
            "every replica as well.",
        )
    else:
        yield from _of_file(server.config, settings)
    yield from _of_memory(server.config)
    if server.fullness >= _NEARLY_FULL:
        yield Finding(
            "nearly_full",
            f"The server's memory is used to {server.fullness:.0%}; when it is full nothing can be "
            "held or sold: raise maxmemory, or move shops to another server.",
        )
    yield from _of_replicas(server, settings)


def _of_file(config: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    match config.get("appendfsync"):
        case "no":
            yield Finding(
                "appendfsync",
                "With appendfsync no, a power failure takes back the sales since the system last "
                "wrote to the disk, often 30 s of them; set appendfsync always or everysec.",
            )
        case "everysec" if settings.wait_fsync:
            yield Finding(
                "appendfsync",
                "With appendfsync everysec, HOLDFAST_WAIT_FSYNC makes each sale wait for up to a "
                "second; set appendfsync always on the primary and its replicas.",
            )
        # With replicas asked for, a sale is also in the memory of another machine by then.
        case "everysec" if not settings.waits and not settings.claims_url:
            yield Finding(
                "appendfsync",
                "With appendfsync everysec, a power failure takes back the sales of the last "
                "second, of two at worst. Their units are known from Stripe, their buyers are not; "
                "set appendfsync always, or HOLDFAST_WAIT_REPLICAS=1 and a replica.",
            )
    if hidden := [name for name in _OF_FILE if name not in config]:
        yield Finding(
            "hidden",
            f"The server does not tell {', '.join(hidden)}, as managed ones may not: it cannot be "
            "checked; see that every sale is written to its disk.",
        )


def _of_memory(config: Mapping[str, str]) -> Iterator[Finding]:
    policy = config.get("maxmemory-policy")
    if policy is None:
        yield Finding(
            "hidden_policy",
            "The server does not tell maxmemory-policy: it cannot be checked; see that a full "
            "memory makes it refuse writes, and drop nothing.",
        )
    elif policy != "noeviction":
        yield Finding(
            "eviction",
            f"With maxmemory-policy {policy}, a server whose memory is full drops orders, holds or "
            "stock; set maxmemory-policy noeviction.",
        )


def _of_replicas(server: Server, settings: Settings) -> Iterator[Finding]:
    wanted = settings.wait_replicas
    if settings.waits and not server.knows_wait:
        yield Finding(
            "no_wait",
            "The server refuses WAIT, or WAITAOF if that is asked for: no sale can be confirmed; "
            "allow it, or use a server that has it.",
        )
    if server.replicas < wanted:
        yield Finding(
            "too_few_replicas",
            f"HOLDFAST_WAIT_REPLICAS is {wanted} and the server has {server.replicas}: no payment "
            "is captured until the others are there.",
        )
    if not wanted and not settings.claims_url and (server.replicas or server.in_cluster):
        yield Finding(
            "wait_off",
            "HOLDFAST_WAIT_REPLICAS is 0: a failover may lose confirmed sales. Their units are "
            "known from Stripe, their buyers are not; set it to 1, with a replica each.",
        )
    if server.in_cluster and server.config.get("cluster-require-full-coverage") == "yes":
        yield Finding(
            "full_coverage",
            "With cluster-require-full-coverage yes, every shop stops while any slot has no "
            "server; set it to no.",
        )


@dataclass(slots=True)
class Durability:
    """Asks every primary, when asked, and no more often than every few seconds."""

    lane: Lane
    settings: Settings
    clock: Clock
    servers: dict[str, Server | None] = field(default_factory=dict)
    """Every primary as it was when it was last asked."""
    _report: Report | None = None
    _asked_at_s: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def report(self) -> Report:
        """What holds now; at most some seconds old. It does not fail: a silence is a finding."""
        async with self._asking:
            now_s = self.clock.monotonic_s()
            fresh_s = _SILENT_S if self._is_silent else _FRESH_S
            if self._report is None or now_s >= self._asked_at_s + fresh_s:
                self.servers = await self._servers()
                self._report = judge(self.settings, self.servers)
                self._asked_at_s = now_s
            return self._report

    @property
    def _is_silent(self) -> bool:
        """Whether some server did not answer when it was last asked."""
        return None in self.servers.values()

    async def log(self) -> None:
        """Say it once, as a process does at its start; again, once a server that was silent then
        has answered.
        """
        said: set[Finding] = set()
        log.info("durability: %s", mode(self.settings))
        while True:
            report = await self.report()
            for finding in report.findings:
                if finding not in said:
                    where = f" ({', '.join(finding.servers)})" if finding.servers else ""
                    log.warning("durability: %s: %s%s", finding.code, finding.message, where)
            said.update(report.findings)
            if not self._is_silent:
                return
            await asyncio.sleep(_SILENT_S)

    async def _servers(self) -> dict[str, Server | None]:
        """Every primary by its address: a Redis alone, or what somebody of a cluster names."""
        for address in (None, *self.lane.servers):
            if replies := await self._ask(address):
                break
        else:
            return {"": None}
        named = _primaries(replies[-1]) or [address]
        asked = await asyncio.gather(*(self._ask(one) for one in named))
        return {
            ":".join(map(str, address or ())): _server(replies) if replies else None
            for address, replies in zip(named, asked, strict=True)
        }

    async def _ask(self, address: _Address) -> list[Reply] | None:
        """Its INFO, settings, ``WAIT`` and the cluster's slots, as far as it tells; or ``None``.

        On a connection of its own: a refusal is an answer here, and a trouble to the lane.
        """
        client = connect(self.settings, address)
        client.response_callbacks.clear()
        try:
            async with asyncio.timeout(_WITHIN_S):
                pipe = client.pipeline(transaction=False)
                pipe.execute_command("INFO")
                pipe.execute_command("CONFIG", "GET", *_CONFIG)
                pipe.execute_command(
                    *(("WAITAOF", 0, 0, 1) if self.settings.wait_fsync else ("WAIT", 0, 1))
                )
                pipe.execute_command("CLUSTER", "SLOTS")
                replies: list[Reply] = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError):
            return None
        finally:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()
        return replies if isinstance(replies[0], bytes) else None


def _primaries(slots: Reply) -> list[_Address]:
    """The servers that have slots, in the order they are named; a Redis alone names none."""
    if not isinstance(slots, list):
        return []
    named = ((host.decode(), int(port)) for _, _, (host, port, *_), *_ in slots if host)
    return list(dict.fromkeys(named))


def _server(replies: list[Reply]) -> Server:
    info, config, wait, _ = replies
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    facts = {name: value for name, _, value in lines}
    # INFO knows two of the settings, and is seldom refused.
    told = {"maxmemory-policy": facts.get("maxmemory_policy")}
    told["appendonly"] = {"0": "no", "1": "yes"}.get(facts.get("aof_enabled", ""))
    if isinstance(config, list):
        told |= texts(config)
    return Server(
        version=facts.get("redis_version", ""),
        replicas=_number(facts, "connected_slaves"),
        in_cluster=facts.get("cluster_enabled") == "1",
        knows_wait=not isinstance(wait, RedisError),
        config={name: value for name, value in told.items() if value is not None},
        memory_bytes=_number(facts, "used_memory"),
        memory_limit_bytes=_number(facts, "maxmemory"),
    )


def _number(facts: Mapping[str, str], name: str) -> int:
    told = facts.get(name, "")
    return int(told) if told.isdecimal() else 0
