"""Who gets which unit, and which table the settings name; no table is asked."""

import sys
from collections.abc import Sequence

import pytest

from gateway.claims.address import open_claims
from gateway.claims.sale import Sale, Unit, decide, every_unit
from gateway.claims.sqlite import SqliteClaims
from gateway.errors import Unavailable
from gateway.settings import Settings, SettingsError
from tests.claiming import SHOP, sale, tee


def unit(number: int) -> Unit:
    return Unit(SHOP, "tee", "main", number)


def test_a_sale_is_as_many_units_as_it_says() -> None:
    assert sale("ann", tee(3, 2), ("cap", "back", 1, 1)).each_unit == {
        unit(3),
        unit(4),
        Unit(SHOP, "cap", "back", 1),
    }


def test_what_nobody_has_is_taken() -> None:
    ann = sale("ann", tee(1, 2))
    verdict = decide([ann], {})
    assert verdict.answers == (None,)
    assert verdict.units == ((unit(1), "ann"), (unit(2), "ann"))
    assert verdict.sales == (ann,)


def test_what_it_has_already_is_not_taken_again() -> None:
    verdict = decide([sale("ann", tee(1, 2))], {unit(1): "ann"})
    assert (verdict.answers, verdict.units) == ((None,), ((unit(2), "ann"),))


def test_who_is_refused_takes_nothing_and_spoils_nobody() -> None:
    ann, bob = sale("ann", tee(1, 2)), sale("bob", tee(3))
    verdict = decide([ann, bob], {unit(2): "zoe"})
    assert verdict.answers == ("zoe", None)
    assert verdict.units == ((unit(3), "bob"),)
    assert verdict.sales == (bob,)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_everybody_writes_in_the_same_order(order: tuple[int, ...]) -> None:
    wanted = [sale("ann", tee(5)), sale("bob", tee(1)), sale("cat", tee(3))]
    verdict = decide([wanted[number] for number in order], {})
    assert [one.number for one, _ in verdict.units] == [1, 3, 5]
    assert [one.order for one in verdict.sales] == ["ann", "bob", "cat"]
    assert [one.number for one in every_unit(wanted)] == [1, 3, 5]


def test_off_unless_it_is_named() -> None:
    assert open_claims(Settings()) is None


def test_a_file_is_named_by_its_path() -> None:
    claims = open_claims(Settings(claims_url="sqlite:///var/lib/hold%20fast/claims"))
    assert isinstance(claims, SqliteClaims)
    assert str(claims) == "sqlite:///var/lib/hold fast/claims"


def test_a_database_is_named_without_its_password() -> None:
    claims = open_claims(Settings(claims_url="postgresql://holdfast:hunter2@db:5432/shop"))
    assert str(claims) == "postgresql://db/shop"


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.claims.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"'holdfast\[strict\]'\.$"):
        open_claims(Settings(claims_url="postgresql://db/shop"))
    assert open_claims(Settings(claims_url="sqlite:///claims")) is not None


async def test_a_file_that_cannot_be_made_is_a_table_that_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    claims = open_claims(
        Settings(claims_url="sqlite:///no/such/folder/claims", claims_timeout_ms=50)
    )
    assert claims
    await claims.ready()
    assert "sqlite:///no/such/folder/claims does not answer" in caplog.text
    with pytest.raises(Unavailable):
        await claims.claim(sale("ann", tee(1)))
    await claims.aclose()


async def test_a_transaction_that_breaks_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = open_claims(Settings(claims_url="sqlite:///unused"))
    assert claims

    async def breaks(_: Sequence[Sale]) -> Sequence[str | None]:
        raise ZeroDivisionError

    monkeypatch.setattr(claims, "_write", breaks)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await claims.claim(sale("ann", tee(1)))
    await claims.aclose()
