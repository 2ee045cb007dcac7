"""Shopify's product CSV, with real catalogues and with everything a file can get wrong."""

import csv
import io
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import CatalogEntry, Money
from gateway.shows import shopify
from gateway.shows.shopify import CatalogFile, read

CATALOGS = Path(__file__).parents[3] / "shared" / "data" / "catalogs"

COLUMNS = {
    "handle": "Handle",
    "title": "Title",
    "body": "Body (HTML)",
    "published": "Published",
    "status": "Status",
    "name1": "Option1 Name",
    "value1": "Option1 Value",
    "name2": "Option2 Name",
    "value2": "Option2 Value",
    "sku": "Variant SKU",
    "qty": "Variant Inventory Qty",
    "price": "Variant Price",
    "was": "Variant Compare At Price",
    "image": "Image Src",
    "variant_image": "Variant Image",
}


def table(*rows: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def row(**cells: str) -> dict[str, str]:
    return {"handle": "pot", "title": "Pot", "price": "9.99"} | cells


def more(**cells: str) -> dict[str, str]:
    """A further row of the product, blank where Shopify leaves it blank."""
    return row(title="", price="") | cells


def found(file: CatalogFile) -> list[tuple[int, str]]:
    return [(error.line, error.code) for error in file.errors]


def shop_file(name: str) -> bytes:
    path = CATALOGS / name
    if not path.exists():
        pytest.skip(f"needs the public sample catalogue {name}")
    return path.read_bytes()


def test_the_apparel_catalogue() -> None:
    file = read(shop_file("apparel.csv"), "USD")
    assert (file.products, file.variants, file.left_out, file.errors) == (20, 22, 0, ())
    assert set(file.stock.values()) == {1}
    top = next(entry for entry in file.entries if entry.sku == "classic-varsity-top-large")
    assert (top.title, top.options, top.price) == (
        "Classic Varsity Top",
        {"Size": "Large"},
        Money(6000, "USD"),
    )
    assert top.image == "https://burst.shopifycdn.com/photos/casual-fashion-woman_925x.jpg"


def test_the_home_and_garden_catalogue() -> None:
    file = read(shop_file("home-and-garden.csv"), "USD")
    assert (file.products, file.variants, file.errors) == (20, 21, ())
    assert file.stock["clay-plant-pot-large"] == 3
    assert file.stock["pink-armchair"] == 0
    light = next(entry for entry in file.entries if entry.sku == "copper-light")
    assert (light.price, light.compare_at) == (Money(5999, "USD"), Money(7500, "USD"))
    assert light.description == "Stylish copper bedside light"
    assert light.options == {}


def test_rows_of_one_product_inherit_from_the_first() -> None:
    file = read(
        table(
            row(
                body="<p>Fired <b>clay</b></p><script>x</script>",
                name1="Size",
                value1="S",
                name2="Colour",
                value2="Red",
                image="https://img/1",
                qty="2",
                sku="P-S",
            ),
            more(value1="L", value2="Blue", price="12", was="15.00", variant_image="https://img/2"),
            more(image="https://img/3"),
        ),
        "EUR",
    )
    assert file.errors == ()
    assert (file.products, file.variants) == (1, 2)
    assert file.entries == (
        CatalogEntry(
            sku="P-S",
            title="Pot",
            price=Money(999, "EUR"),
            options={"Size": "S", "Colour": "Red"},
            image="https://img/1",
            description="Fired clay",
        ),
        CatalogEntry(
            sku="pot-l-blue",
            title="Pot",
            price=Money(1200, "EUR"),
            options={"Size": "L", "Colour": "Blue"},
            compare_at=Money(1500, "EUR"),
            image="https://img/2",
            description="Fired clay",
        ),
    )
    assert file.stock == {"P-S": 2, "pot-l-blue": 0}


def test_rows_of_one_product_need_not_be_neighbours() -> None:
    file = read(
        table(
            row(name1="Size", value1="S"),
            row(handle="mug", title="Mug"),
            more(value1="L", price="12"),
        ),
        "EUR",
    )
    assert list(file.stock) == ["pot-s", "pot-l", "mug"]


@pytest.mark.parametrize(
    "cells",
    [{"published": "FALSE"}, {"status": "Draft"}, {"published": "true", "status": "archived"}],
)
def test_a_product_that_is_not_on_sale_is_left_out_with_all_its_rows(
    cells: dict[str, str],
) -> None:
    hidden = row(**cells, name1="Size", value1="S", sku="P-S")
    file = read(table(hidden, more(value1="L", price="nonsense"), row(handle="mug")), "EUR")
    assert (file.left_out, list(file.stock), file.errors) == (1, ["mug"], ())


@pytest.mark.parametrize("cells", [{}, {"published": "true", "status": "active"}])
def test_a_product_is_on_sale_unless_the_file_says_otherwise(cells: dict[str, str]) -> None:
    assert read(table(row(**cells)), "EUR").left_out == 0


@pytest.mark.parametrize("name", ["Title", "title", ""])
@pytest.mark.parametrize("value", ["Default Title", "default title", ""])
def test_title_default_title_means_no_options(name: str, value: str) -> None:
    [entry] = read(table(row(name1=name, value1=value)), "EUR").entries
    assert (entry.sku, entry.options) == ("pot", {})


def test_a_compare_at_price_that_is_not_higher_is_not_shown() -> None:
    for was in ("", "0", "0.00", "9.99", "5"):
        [entry] = read(table(row(was=was)), "EUR").entries
        assert entry.compare_at is None


def test_a_long_description_is_shortened() -> None:
    [entry] = read(table(row(body="word " * 5000)), "EUR").entries
    assert entry.description is not None
    assert len(entry.description) <= shopify.MAX_DESCRIPTION
    assert entry.description.endswith("word…")


@pytest.mark.parametrize(
    ("handle", "sku"),
    [
        ("Crème brûlée / große", "creme-brulee-gro-e-"),
        ("pot", "pot"),
        ("snake_case", "snake_case"),
        ("茶碗", ""),
        ("!!!", ""),
        ("x" * 80, "x" * 55 + "-"),
    ],
)
def test_a_blank_sku_gets_a_readable_one_the_same_each_time(handle: str, sku: str) -> None:
    [made] = read(table(row(handle=handle)), "EUR").stock
    assert made.startswith(sku)
    assert len(made) == len(sku) + (0 if handle == sku else shopify.HASH_DIGITS)
    assert read(table(row(handle=handle)), "USD").stock == {made: 0}


def test_made_skus_give_way_to_those_in_the_file_and_to_each_other() -> None:
    file = read(
        table(
            row(handle="a-b"),
            row(handle="a b"),
            row(handle="mug"),
            row(handle="other", sku="mug"),
        ),
        "EUR",
    )
    assert file.errors == ()
    plain, hashed, also_hashed, explicit = file.stock
    assert (plain, explicit) == ("a-b", "mug")
    assert hashed.startswith("a-b-")
    assert also_hashed.startswith("mug-")


@pytest.mark.parametrize(
    ("cells", "code", "words"),
    [
        ({"title": ""}, "missing_title", "no Title"),
        ({"title": "x" * 501}, "too_long", "longer than 500"),
        ({"handle": ""}, "missing_handle", "no Handle"),
        ({"price": "free"}, "bad_price", "Variant Price is 'free': it is not a plain number"),
        ({"price": "-1"}, "bad_price", "not a plain number"),
        ({"price": "9.999"}, "bad_price", "a price in EUR has at most 2 decimals"),
        ({"price": ""}, "bad_price", "No row of 'pot' has a Variant Price"),
        ({"price": "", "sku": "A"}, "bad_price", "Variant Price is blank"),
        ({"was": "1,5"}, "bad_price", "Variant Compare At Price is '1,5'"),
        ({"qty": "-3"}, "bad_quantity", "'-3' is not a whole number from 0 to"),
        ({"qty": "1.5"}, "bad_quantity", "not a whole number"),
        ({"qty": "1000001"}, "bad_quantity", "not a whole number"),
        ({"sku": "A:1"}, "bad_sku", "'A:1' may only have letters"),
        ({"sku": "x" * 65}, "bad_sku", "at most 64"),
        ({"value1": "S"}, "bad_option", "Option1 has no name in the product's first row"),
        ({"name1": "Size"}, "bad_option", "Option1 has no value"),
        (
            {"name1": "Size", "value1": "S", "name2": "Size", "value2": "L"},
            "bad_option",
            "Two options are called 'Size'",
        ),
        ({"name1": "Size", "value1": "x" * 256}, "too_long", "Option1 is longer than 255"),
        ({"image": "javascript:alert(1)"}, "bad_image", "Image Src 'javascript:alert(1)' is not"),
        ({"variant_image": "https://" + "x" * 2000}, "bad_image", "xxx…' is not a web address"),
        ({"sku": "A\0"}, "bad_text", "NUL"),
    ],
)
def test_a_bad_cell_costs_its_row_and_is_named(
    cells: dict[str, str], code: str, words: str
) -> None:
    file = read(table(row(handle="mug"), row(**cells)), "EUR")
    assert found(file) == [(3, code)]
    assert words in file.errors[0].message
    assert list(file.stock) == ["mug"]


def test_every_bad_row_is_reported_and_every_fault_of_it() -> None:
    file = read(
        table(
            row(title="", name1="Size", value1="S", qty="x"),
            more(value1="M", price="x", sku="?"),
            more(value1="L", price="1"),
            row(handle="mug"),
        ),
        "EUR",
    )
    assert found(file) == [
        (2, "missing_title"),
        (2, "bad_quantity"),
        (3, "bad_price"),
        (3, "bad_sku"),
    ]
    assert (file.products, list(file.stock)) == (1, ["mug"])


def test_the_second_of_two_equal_skus_or_variants_is_wrong() -> None:
    file = read(
        table(
            row(sku="A", name1="Size", value1="S"),
            more(sku="A", value1="L", price="1"),
            more(sku="B", value1="S", price="1"),
            row(handle="mug", sku="A"),
        ),
        "EUR",
    )
    assert found(file) == [(3, "duplicate_sku"), (4, "duplicate_variant"), (5, "duplicate_sku")]
    assert "line 2" in file.errors[0].message
    assert list(file.stock) == ["A"]


def test_an_error_names_the_first_line_of_a_row_that_spans_several() -> None:
    file = read(table(row(body="one\ntwo\nthree"), row(handle="mug", price="x")), "EUR")
    assert found(file) == [(5, "bad_price")]


def test_no_more_errors_are_reported_than_a_reader_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shopify, "MAX_ERRORS", 2)
    file = read(table(*[row(handle="")] * 5), "EUR")
    assert (found(file), file.unreported) == ([(2, "missing_handle"), (3, "missing_handle")], 3)


CELLS = ["", "mug", "Size", "S", "5", "-1", "1e9", "9.999", "<p>", "x" * 600, "\0", '"', "é\n"]
FAULTS = st.dictionaries(st.sampled_from(list(COLUMNS)), st.sampled_from(CELLS), max_size=4)


@given(st.lists(FAULTS, max_size=8))
def test_whatever_the_cells_hold_what_is_read_is_good(faults: list[dict[str, str]]) -> None:
    file = read(table(*(row(**cells) for cells in faults)), "EUR")
    entries = msgspec.convert(msgspec.to_builtins(file.entries), tuple[CatalogEntry, ...])
    assert entries == file.entries
    assert file.stock.keys() == {entry.sku for entry in entries}
    assert len(entries) == file.variants >= file.products


@given(st.binary() | st.text() | st.text().map(lambda text: table(row()) + text))
def test_no_input_makes_it_raise(text: str | bytes) -> None:
    file = read(text, "EUR")
    assert file.errors or file.entries or file.left_out


CARD = "4242 4242 4242 4242"


@pytest.mark.parametrize(
    "cells",
    [{column: CARD} for column in COLUMNS]
    + [{"body": "<p>4242<b>4242</b>4242</p>4242"}, {"body": "&#52;242424242424242"}],
    ids=str,
)
def test_a_row_with_a_card_number_is_refused_and_not_repeated(cells: dict[str, str]) -> None:
    file = read(table(row(sku="pot"), row(handle="cup", sku="cup") | cells), "EUR")
    assert found(file) == [(3, "card_number")]
    assert "42" not in file.errors[0].message
    assert [entry.sku for entry in file.entries] == ["pot"]


def test_without_its_first_row_a_product_is_not_there() -> None:
    file = read(
        table(row(title=CARD, value1="S", name1="Size"), more(price="9.99", value1="M")), "EUR"
    )
    assert not file.entries
    assert found(file)[0] == (2, "card_number")


def test_a_barcode_is_nobodys_card() -> None:
    head = "Handle,Title,Variant Price,Variant SKU,Variant Barcode\n"
    for sku, barcode in (("4006381333931", "36227206271667"), ("012345678905", "4242424242424242")):
        file = read(f"{head}pot,Pot,9.99,{sku},{barcode}\n", "EUR")
        assert (found(file), [entry.sku for entry in file.entries]) == ([], [sku])
