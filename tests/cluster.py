"""A real cluster on loopback: three primaries, a replica each; slots move, servers die."""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Self

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from gateway.keys import ShopKeys
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from tests.processes import free_port

HOST = "127.0.0.1"
PRIMARIES = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
READY_WITHIN_S = 30
_BATCH = 100


def slot_of(shop: str) -> int:
    """Everything of a shop is in one slot."""
    return key_slot(ShopKeys(shop).meta.encode())


class Cluster:
    """Six servers; the first three are primaries until one dies."""

    def __init__(self, warden: Warden) -> None:
        self.servers = [self._server(warden) for _ in range(2 * PRIMARIES)]
        self._frozen: set[int] = set()

    @staticmethod
    def _server(warden: Warden) -> EmbeddedValkey:
        config = {
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),
            "cluster-announce-ip": HOST,
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            # Slots that nobody has are no reason to refuse the others.
            "cluster-require-full-coverage": "no",
            # A replica that comes need not wait for more of its kind.
            "repl-diskless-sync-delay": "0",
        }
        return EmbeddedValkey(warden.group, port=0, config=config)

    @property
    def url(self) -> str:
        return self.servers[0].url

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._meet()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _meet(self) -> None:
        """Make six servers one cluster, each primary with its share of the slots."""
        share = SLOTS // PRIMARIES + 1
        for number in range(len(self.servers)):
            if number < PRIMARIES:
                last = min(SLOTS, (number + 1) * share) - 1
                self.ask(number, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
            for server in self.servers:
                self.ask(number, "CLUSTER", "MEET", HOST, server.port, self._bus(server))
        until(lambda: all(self._knows_all(number) for number in range(len(self.servers))))
        for number in range(PRIMARIES, 2 * PRIMARIES):
            self.ask(number, "CLUSTER", "REPLICATE", self._id(number - PRIMARIES))
        self.recovers()

    def _bus(self, server: EmbeddedValkey) -> int:
        return int(server._config["cluster-port"])

    def _knows_all(self, number: int) -> bool:
        # By their ids: one whose hand is being shaken still has another, made up.
        nodes = str(self.ask(number, "CLUSTER", "NODES"))
        return all(self._id(other) in nodes for other in range(len(self.servers)))

    def ask(self, number: int, *words: Any) -> Any:
        """Ask one server; the plain reply, of which a client would make something else."""
        with contextlib.closing(Redis(host=HOST, port=self.servers[number].port)) as client:
            client.response_callbacks.clear()
            reply: Any = client.execute_command(*words)  # type: ignore[no-untyped-call]
        return reply.decode() if isinstance(reply, bytes) else reply

    def _id(self, number: int) -> str:
        return str(self.ask(number, "CLUSTER", "MYID"))

    @property
    def primaries(self) -> list[int]:
        """The numbers of the servers that have slots now."""
        return sorted({number for _, _, number in self._ranges(self._alive()[0])})

    def _alive(self) -> list[int]:
        return [number for number in range(len(self.servers)) if self._answers(number)]

    def _answers(self, number: int) -> bool:
        return self.servers[number].is_running and number not in self._frozen

    def _ranges(self, number: int) -> list[tuple[int, int, int]]:
        """First slot, last slot and the primary that has them, as a server knows it."""
        ports = [server.port for server in self.servers]
        ranges = self.ask(number, "CLUSTER", "SLOTS")
        return [(first, last, ports.index(primary[1])) for first, last, primary, *_ in ranges]

    def number_of(self, slot: int, asked: int | None = None) -> int:
        """Which server has a slot, according to any or a certain one."""
        for first, last, number in self._ranges(self._alive()[0] if asked is None else asked):
            if first <= slot <= last:
                return number
        raise AssertionError(f"nobody has slot {slot}")

    def shop_on(self, number: int) -> str:
        """A new shop whose slot is on a certain primary."""
        mine = [(first, last) for first, last, one in self._ranges(0) if one == number]
        while True:
            shop = f"shop_{uuid.uuid4().hex}"
            if any(first <= slot_of(shop) <= last for first, last in mine):
                return shop

    def begins_to_move(self, slot: int, to: int) -> int:
        """Tell two servers that a slot goes from one to the other; return from which."""
        source = self.number_of(slot)
        self.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(to))
        return source

    def moves(self, slot: int, to: int) -> None:
        """Move a slot with all its keys, key by key."""
        source = self.begins_to_move(slot, to)
        port = self.servers[to].port
        for keys in self._keys(source, slot):
            self.ask(source, "MIGRATE", HOST, port, "", 0, 5000, "KEYS", *keys)
        for number in dict.fromkeys((to, source, *self.primaries)):
            self.ask(number, "CLUSTER", "SETSLOT", slot, "NODE", self._id(to))

    def _keys(self, number: int, slot: int) -> Iterator[list[bytes]]:
        while keys := self.ask(number, "CLUSTER", "GETKEYSINSLOT", slot, _BATCH):
            yield keys

    def moves_at_once(self, slot: int, to: int) -> None:
        """Have the servers move a slot by themselves, in one step, as Valkey 9 can.

        One slot at a time: a Valkey 9.1.2 that sends and receives slots at once may crash.
        """
        source = self.number_of(slot)
        words = ("SLOTSRANGE", slot, slot, "NODE", self._id(to))

        def there() -> bool:
            if {self.number_of(slot, asked) for asked in (source, to)} == {to}:
                return True
            if not self._is_sending(source):
                # Writes that come in at the wrong moment make it give up.
                self.ask(source, "CLUSTER", "MIGRATESLOTS", *words)
            return False

        until(there)

    def _is_sending(self, number: int) -> bool:
        """Whether a server is sending slots to another one; it remembers what it has sent."""
        jobs = self.ask(number, "CLUSTER", "GETSLOTMIGRATIONS")
        ended = {b"success", b"failed", b"cancelled"}
        return any(job[b"operation"] == b"EXPORT" and job[b"state"] not in ended for job in jobs)

    def kills(self, number: int) -> None:
        """A server dies at once."""
        self.servers[number].kill()

    def promoted(self, slot: int, instead_of: int) -> int:
        """Wait until another server has a slot of one that died; return which."""
        until(lambda: self.number_of(slot) != instead_of)
        return self.number_of(slot)

    def freezes(self, number: int) -> None:
        """A server says nothing any more, and hangs up on nobody."""
        os.kill(self.servers[number].pid, signal.SIGSTOP)
        self._frozen.add(number)

    def revives(self, number: int) -> None:
        """A server that died or froze comes back, as a replica of who took its place."""
        if number in self._frozen:
            os.kill(self.servers[number].pid, signal.SIGCONT)
            self._frozen.discard(number)
        else:
            self.servers[number].start()
        until(lambda: "role:slave" in self.ask(number, "INFO", "replication"))
        self.recovers()

    def recovers(self) -> None:
        """Wait until all servers agree, and every primary has its replica."""
        until(lambda: all(self._is_ready(number) for number in range(len(self.servers))))

    def _is_ready(self, number: int) -> bool:
        info = str(self.ask(number, "CLUSTER", "INFO"))
        replication = str(self.ask(number, "INFO", "replication"))
        whole = f"cluster_known_nodes:{2 * PRIMARIES}\r" in info and "cluster_state:ok" in info
        linked = "master_link_status:up" in replication or "state=online" in replication
        return whole and linked and len({one for _, _, one in self._ranges(number)}) == PRIMARIES


def until(there: Callable[[], bool]) -> None:
    """Wait until the servers are as they should be; one that is just starting says nothing."""
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        with contextlib.suppress(RedisError, OSError):
            if there():
                return
        assert time.monotonic() < deadline, "the cluster was not ready in time"
        time.sleep(0.02)
