"""What meets a request for an upgrade: a socket, a place on the porch, or a refusal."""

import asyncio
import random
from asyncio import BaseTransport
from typing import Any, cast, get_args

from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.sockets.door import Door, Reason, refusals
from gateway.sockets.porch import Porch
from gateway.sockets.server import GRACE_S, SocketProtocol


class _Refusal(asyncio.Protocol):
    """In place of a socket: the answer to an upgrade that is refused, and the end.

    Nothing is read, no scope or task is made, and the application does not hear of it.
    """

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody asks for an upgrade."""
        wire = cast("asyncio.Transport", transport)
        wire.write(self._answer)
        wire.close()
        if wire.get_write_buffer_size():
            # It has not read the answers to earlier requests either.
            asyncio.get_running_loop().call_later(GRACE_S, wire.abort)


def serving(door: Door, rng: random.Random) -> type[asyncio.Protocol]:
    """What ``uvicorn.Config(ws=…)`` takes: uvicorn calls it for each upgrade, like a class."""
    answers = {reason: refusals(reason) for reason in get_args(Reason)}
    porch = Porch(door)

    def refusal() -> _Refusal | None:
        reason = door.refuses()
        return _Refusal(rng.choice(answers[reason])) if reason else None

    def upgrading(
        config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> asyncio.Protocol:
        def protocol() -> asyncio.Protocol:
            return refusal() or SocketProtocol(config, server_state, app_state, door, rng)

        return refusal() or porch.newcomer(protocol)

    return cast("type[asyncio.Protocol]", upgrading)
