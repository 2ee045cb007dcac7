"""The gateway process from its start to its end."""

import pytest

from gateway.checkout.payment import Payments
from gateway.durability import Durability
from gateway.settings import Settings
from tests.integration.conftest import UNLIMITED, open_site


async def test_everything_is_closed_at_the_end_although_something_beside_the_requests_broke(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[Payments] = []
    aclose = Payments.aclose

    async def breaks(_: Durability) -> None:
        raise RuntimeError("what broke")

    async def closes(payments: Payments) -> None:
        await aclose(payments)
        closed.append(payments)

    monkeypatch.setattr(Durability, "log", breaks)
    monkeypatch.setattr(Payments, "aclose", closes)
    async with open_site(settings, UNLIMITED) as site:
        pass
    assert closed == [site.rooms.payments]
    assert "what broke" in caplog.text
