"""What Redis keeps of a sku's stock."""

import msgspec
import pytest

from gateway.stock.rows import Row, decode, on_sale


def test_a_row_is_read_by_position() -> None:
    (row,) = decode(b'[["main",10,1,2,3,4,1795296662742]]')
    assert row == Row("main", 10, 1, 2, 3, next_unit=4, counted_at=1795296662742)


def test_what_is_kept_back_held_or_sold_is_not_available() -> None:
    assert Row("main", 10, 1, 2, 3, 1, 0).available == 4
    assert Row("main", 1, 1, 2, 3, 1, 0).available == -5


def test_a_shortfall_in_one_place_does_not_hide_units_in_another() -> None:
    short, enough = Row("main", 1, 0, 3, 0, 1, 0), Row("store", 4, 0, 1, 0, 1, 0)
    assert on_sale((short, enough)) == 3
    assert on_sale((short,)) == 0
    assert on_sale(()) == 0


@pytest.mark.parametrize("packed", [b"{}", b'[["main",1]]', b'[["main",1.5,0,0,0,1,0]]', b"nil"])
def test_what_no_script_writes_is_not_read(packed: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(packed)
