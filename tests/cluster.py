"""A real cluster on loopback: three primaries, a replica each; slots move, servers die."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from redis import Redis

from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from tests.processes import free_port

HOST = "127.0.0.1"
PRIMARIES = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
READY_WITHIN_S = 30
_BATCH = 100


class Cluster:
    """Six servers; the first three are primaries until one dies."""

    def __init__(self, warden: Warden) -> None:
        self._stack = contextlib.ExitStack()
        self.servers = [self._server(warden) for _ in range(2 * PRIMARIES)]
        self.clients: list[Redis] = []

    @staticmethod
    def _server(warden: Warden) -> EmbeddedValkey:
        config = {
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),
            "cluster-announce-ip": HOST,
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        }
        return EmbeddedValkey(warden.group, port=0, config=config)

    @property
    def url(self) -> str:
        return self.servers[0].url

    def __enter__(self) -> Self:
        for server in self.servers:
            self._stack.enter_context(server)
            client = Redis(host=HOST, port=server.port, decode_responses=True)
            self._stack.callback(client.close)
            self.clients.append(client)
        self._meet()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _meet(self) -> None:
        """Make six servers one cluster, each primary with its share of the slots."""
        share = SLOTS // PRIMARIES + 1
        for number in range(len(self.servers)):
            if number < PRIMARIES:
                last = min(SLOTS, (number + 1) * share) - 1
                self._ask(number, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
            for server in self.servers:
                self._ask(number, "CLUSTER", "MEET", HOST, server.port, self._bus(server))
        self._until(lambda: all(self._knows_all(number) for number in range(len(self.clients))))
        for number in range(PRIMARIES, 2 * PRIMARIES):
            self._ask(number, "CLUSTER", "REPLICATE", self._id(number - PRIMARIES))
        self._until(lambda: all(self._is_ready(number) for number in range(len(self.clients))))

    def _bus(self, server: EmbeddedValkey) -> int:
        return int(server._config["cluster-port"])

    def _knows_all(self, number: int) -> bool:
        return len(str(self._ask(number, "CLUSTER", "NODES")).split("\n")) >= 2 * PRIMARIES

    def _is_ready(self, number: int) -> bool:
        if "cluster_state:ok" not in str(self._ask(number, "CLUSTER", "INFO")):
            return False
        role = self.clients[number].role()
        return number < PRIMARIES or role[3] == "connected"

    def _ask(self, number: int, *words: Any) -> Any:
        # The plain reply: this client would make something else of each.
        with contextlib.closing(Redis(host=HOST, port=self.servers[number].port)) as client:
            client.response_callbacks.clear()
            reply: Any = client.execute_command(*words)  # type: ignore[no-untyped-call]
        return reply.decode() if isinstance(reply, bytes) else reply

    def _id(self, number: int) -> str:
        return str(self._ask(number, "CLUSTER", "MYID"))

    def number_of(self, slot: int) -> int:
        """Which server has a slot."""
        for first, last, primary, *_ in self._ask(0, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                ports = [server.port for server in self.servers]
                return ports.index(primary[1])
        raise AssertionError(f"nobody has slot {slot}")

    def moves(self, slot: int, to: int) -> None:
        """Move a slot with all its keys, as an operator does."""
        source = self.number_of(slot)
        self._ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        self._ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(to))
        port = self.servers[to].port
        for keys in self._keys(source, slot):
            self._ask(source, "MIGRATE", HOST, port, "", 0, 5000, "KEYS", *keys)
        for number in (to, source, *range(PRIMARIES)):
            self._ask(number, "CLUSTER", "SETSLOT", slot, "NODE", self._id(to))

    def _keys(self, number: int, slot: int) -> Iterator[list[bytes]]:
        while keys := self._ask(number, "CLUSTER", "GETKEYSINSLOT", slot, _BATCH):
            yield keys

    def kills(self, number: int) -> None:
        """A server dies at once."""
        self.servers[number].kill()

    @staticmethod
    def _until(there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not there():
            assert time.monotonic() < deadline, "the cluster was not ready in time"
            time.sleep(0.02)
