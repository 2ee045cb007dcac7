"""What a webhook may be."""

import msgspec
import pytest

from gateway.pos.webhooks import Webhook, new_secret

SECRET = "whsec_" + "QUJD" * 8


@pytest.mark.parametrize(
    "url",
    [
        "https://pos.example.org/orders",
        "http://127.0.0.1:9000/orders?till=3",
        "http://[::1]:9000/",
    ],
)
def test_addresses_by_http_are_good(url: str) -> None:
    assert Webhook(url, SECRET).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pos.example.org/orders",
        "ftp://pos.example.org",
        "file:///etc/passwd",
        "https://",
        "https:///orders",
        "https://ada:geheim@pos.example.org/",
        "https://ada@pos.example.org/",
        "https://pos.example.org:99999/",
        "https://pos.example.org:0/",
        "https://pos.example.org/a b",
        "https://pos.example.org/a\r\nHost: b",
        "https://[pos]/",
        "https://pos.example.org/" + "a" * 2_000,
    ],
)
def test_other_addresses_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        Webhook(url, SECRET)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "QUJD" * 8, "whsec_" + "QUJD" * 7, "whsec_" + "QUJD" * 22, "whsec_!!!!" * 8],
)
def test_a_secret_is_24_to_64_bytes_in_base64(secret: str) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        Webhook("https://pos.example.org/", secret)
    assert "QUJD" not in str(caught.value)


def test_decoding_checks_as_well() -> None:
    body = msgspec.json.encode({"url": "gopher://x", "secret": SECRET})
    with pytest.raises(msgspec.ValidationError, match="http"):
        msgspec.json.decode(body, type=Webhook)


def test_the_secret_and_the_query_are_not_shown() -> None:
    shown = repr(Webhook("https://pos.example.org/orders?key=geheim", SECRET))
    assert "pos.example.org/orders" in shown
    assert "QUJD" not in shown
    assert "geheim" not in shown


def test_a_new_secret_is_made_of_the_bytes_given() -> None:
    secret = new_secret(lambda count: b"\x01" * count)
    assert secret == "whsec_" + "AQEB" * 10 + "AQE="
    Webhook("https://pos.example.org/", secret)
