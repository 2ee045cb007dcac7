"""A place for faults to happen in."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.settings import Settings
from tests.acceptance.place import Place, opened
from tests.integration.conftest import settings_of


@pytest.fixture
def settings(redis_url: str, shop: str) -> Settings:
    """Nobody here waits long for Stripe."""
    settings = settings_of(redis_url, shop)
    return msgspec.structs.replace(settings, stripe_timeout_ms=800, settle_interval_s=1)


@pytest.fixture
async def place(settings: Settings) -> AsyncIterator[Place]:
    async with opened(settings) as place:
        yield place
