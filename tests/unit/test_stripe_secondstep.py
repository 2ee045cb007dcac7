"""The bank's page stands alone."""

import re

from gateway.sandbox.stripe.secondstep import PAGE


def test_the_page_loads_nothing_from_anywhere() -> None:
    assert not re.search(r"(?:src|href)=|https?://|@import|url\(", PAGE)


def test_the_page_offers_both_outcomes() -> None:
    assert re.findall(r'<button value="(\w+)"', PAGE) == ["succeed", "fail"]
