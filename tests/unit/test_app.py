"""What a gateway makes of its settings before it serves."""

import logging

import pytest

from gateway.app import _within
from gateway.settings import Settings


@pytest.mark.parametrize(
    ("files", "sockets"), [(20_000, 10_000), (12_512, 10_000), (4_608, 3_328), (1, 1)]
)
def test_no_more_sockets_are_served_than_there_may_be_files(
    files: int, sockets: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert _within(Settings(sockets=10_000), files).sockets == sockets
    warned = [record.getMessage() for record in caplog.records]
    assert bool(warned) == (sockets < 10_000)
    assert all(f"{sockets} sockets are served, not 10000" in line for line in warned)
