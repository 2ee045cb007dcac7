"""Which addresses a delivery may go to, and that what was looked at is what is called."""

import asyncio
import random
from ipaddress import IPv4Address, IPv6Address

import httpcore
import pytest

from gateway.pos import fence as fences
from gateway.pos.fence import Fence, FencedOffError

PUBLIC = ["1.1.1.1", "93.184.215.14", "223.255.255.254", "2606:4700::1111", "64:ff9b::1.1.1.1"]
FENCED = {
    "this host": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12::1"],
    "link-local": ["169.254.1.1", "fe80::1", "fe80::1%1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1"],
    "reserved": [
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.2.1",
        "2001:db8::1",
        "4000::",
    ],
    "carrier": ["100.64.0.1"],
    "metadata": [
        *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
        *("fd00:ec2::254", "fd20:ce::254"),
    ],
    "IPv4 as IPv6": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:7f00:1"],
    "6to4": ["2002:7f00:1::", "2002:101:101::1"],
    "Teredo": ["2001:0:7f00:1::"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1.1.1.1"],
}


def knows(*addresses: str) -> fences.Resolve:
    async def resolve(_: str, __: int) -> list[str]:
        return list(addresses)

    return resolve


async def nobody(_: str, __: int) -> list[str]:
    raise OSError("Name or service not known")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert Fence().allows(address)


@pytest.mark.parametrize("kind", FENCED)
def test_what_is_not_public_is_fenced(kind: str) -> None:
    assert [address for address in FENCED[kind] if Fence().allows(address)] == []


def test_no_address_is_open_that_python_calls_private() -> None:
    dice, fence = random.Random(1), Fence()
    some: list[IPv4Address | IPv6Address] = []
    some += [IPv4Address(dice.getrandbits(32)) for _ in range(20_000)]
    some += [IPv6Address((0x2 << 124) + dice.getrandbits(124)) for _ in range(2_000)]
    wrong = [one for one in some if fence.allows(str(one)) and not one.is_global]
    assert wrong == []


def test_the_settings_open_networks_and_nothing_beside_them() -> None:
    fence = Fence.around("10.1.0.0/16, 127.0.0.1,fd00::/8")
    for inside in ("10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1"):
        assert fence.allows(inside), inside
    for outside in ("10.2.0.1", "127.0.0.2", "169.254.169.254", "::1", "fc00::1"):
        assert not fence.allows(outside), outside
    assert Fence.around("") == Fence()


async def test_of_a_name_with_several_addresses_only_the_open_ones_are_called() -> None:
    fence = Fence(resolve=knows("127.0.0.1", "1.1.1.1", "10.0.0.1"))
    assert await fence.addresses("mixed.example", 443) == ["1.1.1.1"]
    with pytest.raises(FencedOffError, match="HOLDFAST_WEBHOOK_TARGETS"):
        await Fence(resolve=knows("127.0.0.1", "::1")).addresses("inside.example", 443)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001"]
)
async def test_loopback_is_fenced_however_it_is_written(host: str) -> None:
    with pytest.raises(FencedOffError):
        await Fence().look(f"http://{host}:8080/orders")


async def test_a_name_that_nobody_knows_may_be_known_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await Fence(resolve=nobody).look("https://till.example/orders")

    async def never(_: str, __: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(fences, "LOOK_UP_S", 0.01)
    await Fence(resolve=never).look("https://till.example/orders")


class Wires:
    """What the library connects with, which notes where to."""

    def __init__(self, *broken: str) -> None:
        self.broken, self.called = broken, [""][:0]

    async def connect_tcp(self, address: str, *_: object) -> httpcore.AsyncNetworkStream:
        self.called.append(address)
        if address in self.broken:
            raise httpcore.ConnectError
        return httpcore.AsyncMockStream([])


async def wire(fence: Fence, plain: Wires) -> httpcore.AsyncNetworkStream:
    backend = fences._Wire(fence)
    backend._plain = plain  # type: ignore[assignment]
    return await backend.connect_tcp("till.example", 443, timeout=1.0)


async def test_a_name_that_means_something_else_the_second_time_is_asked_once() -> None:
    answers = [["1.1.1.1"], ["127.0.0.1"]]

    async def rebinds(_: str, __: int) -> list[str]:
        return answers.pop(0)

    wires = Wires()
    await wire(Fence(resolve=rebinds), wires)
    assert (wires.called, answers) == (["1.1.1.1"], [["127.0.0.1"]])
    with pytest.raises(FencedOffError):
        await wire(Fence(resolve=rebinds), wires)
    assert wires.called == ["1.1.1.1"]


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    fence = Fence(resolve=knows("1.1.1.1", "1.1.1.2", "1.1.1.3"))
    wires = Wires("1.1.1.1")
    await wire(fence, wires)
    assert wires.called == ["1.1.1.1", "1.1.1.2"]
    wires = Wires("1.1.1.1", "1.1.1.2", "1.1.1.3")
    with pytest.raises(httpcore.ConnectError):
        await wire(fence, wires)
    many = Fence(resolve=knows(*(f"1.1.1.{n}" for n in range(50))))
    wires = Wires(*(f"1.1.1.{n}" for n in range(50)))
    with pytest.raises(httpcore.ConnectError):
        await wire(many, wires)
    assert len(wires.called) == 4


async def test_a_name_that_nobody_knows_cannot_be_connected_to() -> None:
    with pytest.raises(httpcore.ConnectError, match="not known"):
        await wire(Fence(resolve=nobody), Wires())
