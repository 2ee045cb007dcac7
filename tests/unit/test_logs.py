"""Log lines: their form, their ids, and what never stands in them."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from gateway.environment import read
from gateway.logs import JsonLines, Redaction, TextLines, secrets_of
from gateway.settings import HIDDEN, Settings
from gateway.traces import Tracer, about, parse

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BROUGHT = f"00-{TRACE}-00f067aa0ba902b7-01"
ROOT = Path(__file__).parent.parent.parent
CARD = "4242 4242 4242 4242"
SETTINGS = {
    "REDIS_URL": "rediss://:p%40ss-of-redis@redis.internal:6380/0",
    "STRIPE_API_KEY": "sk_test_0123456789abcdef",
    "STRIPE_WEBHOOK_SECRET": "the-new-one-of-stripe, the-old-one-of-stripe",
    "HOLDFAST_SECRET": "a-secret-of-the-tests-0123456789",
    "HOLDFAST_CLAIMS_URL": "postgresql:///claims?host=/run&password=pw-of-claims",
}


@pytest.fixture
def settings() -> Settings:
    return read(SETTINGS)


@pytest.fixture
def redact(settings: Settings) -> Redaction:
    return Redaction(secrets_of(settings))


def record(message: str, *words: object, **more: Any) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "gateway.pos", "levelno": 30, "levelname": "WARNING", "msg": message}
        | {"args": words, "created": 1_764_000_000.1239} | more
    )  # fmt: skip


def test_a_line_for_people_ends_with_the_ids(redact: Redaction) -> None:
    lines = TextLines(redact)
    assert lines.format(record("two %s", "words")).endswith(" WARNING gateway.pos: two words")
    with about(shop="demo", order="o_1"), about(hold="h_1"):
        said = lines.format(record("moved"))
    assert said.endswith("gateway.pos: moved [shop=demo order=o_1 hold=h_1]")


def test_nobody_has_us_write_a_line_of_his_own(redact: Redaction) -> None:
    lines = TextLines(redact)
    said = lines.format(record("till says %s", "no\n2026 ERROR gateway: sold twice\x1b[2J\r"))
    assert said.endswith("says no\\x0a2026 ERROR gateway: sold twice\\x1b[2J\\x0d")
    assert len(said.splitlines()) == 1


def test_nor_by_what_an_error_says(redact: Redaction) -> None:
    forged = "because\n2026-11-22 ERROR gateway: sold twice\x1b[2J\r2026"
    first, *rest = TextLines(redact).format(record("broken", exc_info=broken(forged))).split("\n")
    assert first.endswith("broken")
    assert "    2026-11-22 ERROR gateway: sold twice\\x1b[2J\\x0d2026" in rest
    assert all(line.startswith("    ") for line in rest)


def test_a_line_for_programs_is_one_object(redact: Redaction) -> None:
    lines = JsonLines(redact)
    with about(request="r-1", session="s", shop="demo"), Tracer().enter(parse(BROUGHT), "x"):
        said = lines.format(record("two %s\nof them", "lines"))
    assert "\n" not in said
    assert json.loads(said) == {
        "time": "2025-11-24T16:00:00.123Z",
        "level": "warning",
        "logger": "gateway.pos",
        "message": "two lines\nof them",
        "request": "r-1",
        "session": "s",
        "shop": "demo",
        "trace": TRACE,
    }


def broken(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_an_exception_is_text_within_the_object(redact: Redaction) -> None:
    said = JsonLines(redact).format(record("broken", exc_info=broken("because")))
    assert "\n" not in said
    assert json.loads(said)["exception"].splitlines()[-1] == "ValueError: because"


TICKET = jwt.encode({"sub": "ann", "exp": 1}, "x" * 32, algorithm="HS256")
SECRETS = {
    "the secret": SETTINGS["HOLDFAST_SECRET"],
    "Stripe's key": SETTINGS["STRIPE_API_KEY"],
    "one webhook secret": "the-new-one-of-stripe",
    "the other webhook secret": "the-old-one-of-stripe",
    "the password of Redis, written as in the address": "p%40ss-of-redis",
    "the password of Redis": "p@ss-of-redis",
    "the password of the claims": "pw-of-claims",
    "a ticket": TICKET,
    "the half of a ticket": TICKET[:40],
    "a client secret": "pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH",
    "a key of Stripe that is not ours": "rk_live_51H8aBcDeFgHiJkLmNo",
    "a webhook's secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "user and password of an address": "admin:hunter2",
    "an e-mail address": "ann.lovelace+shop@mail.example.co.uk",
    "a card number": CARD,
    "a card number in other digits": CARD.replace("4", "\uff14"),
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("shape", [TextLines, JsonLines])
def test_a_secret_is_blotted_out_wherever_it_stands(
    name: str, shape: type[TextLines | JsonLines], redact: Redaction
) -> None:
    secret = SECRETS[name]
    around = "https://{}@host/" if name.startswith("user") else "({}) was said"
    text = around.format(secret)
    with about(request=text if shape is JsonLines else "r"):
        said = shape(redact).format(record("x %s", text, exc_info=broken(text)))
    said = json.dumps(json.loads(said), ensure_ascii=False) if shape is JsonLines else said
    assert secret not in said
    assert "[redacted]" in said
    for part in secret.split(" "):
        assert part not in said or len(part) < 4, part


@pytest.mark.parametrize(
    "text",
    [
        "payments: order o_ghijklmnopabcdef: not on the replicas yet",
        "relay: evt_o_abc_1 to demo/till: status 503",
        "redis://127.0.0.1:6379/0 does not answer",
        "1732312345678 ms, 4012888888881881000 ns, version 12.34",
        "The system allows 1024 open files: 512 sockets are served, not 10000; raise its limit.",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "(1, 'a') @ 3",
    ],
)
def test_what_is_no_secret_stays(text: str, redact: Redaction) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("name", sorted(HIDDEN))
def test_no_setting_that_may_hold_a_secret_is_forgotten(name: str) -> None:
    written = "scheme://user:the%2Fsecret@host/0" if name.endswith("_url") else "the%2Fsecret"
    settings = msgspec.structs.replace(read(SETTINGS), **{name: written})
    assert Redaction(secrets_of(settings))("it is the%2Fsecret.") == "it is [redacted]."


def test_nobody_reads_the_secrets_off_the_redaction(redact: Redaction) -> None:
    assert "secret" not in repr(redact)


def test_short_passwords_do_not_blot_out_everything() -> None:
    settings = msgspec.structs.replace(read(SETTINGS), redis_url="redis://:a@redis:6379/0")
    assert Redaction(secrets_of(settings))("a day") == "a day"


SCRIPT = """
import logging
from gateway import logs
from gateway.environment import read

logs.start(read({settings!r}))
logging.getLogger("gateway.app").info("ours")
logging.getLogger("uvicorn.error").info("theirs, at INFO")
logging.getLogger("uvicorn.error").warning("theirs")
raise RuntimeError("it ends with ann@example.com")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_says_everything_in_one_way(form: str) -> None:
    script = SCRIPT.format(settings=SETTINGS | {"HOLDFAST_LOG_FORMAT": form})
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert "ann@" not in done.stderr
    lines = done.stderr.splitlines()
    if form == "json":
        said = [json.loads(line) for line in lines]
        assert [one["message"] for one in said] == ["ours", "theirs", "the process ends"]
        assert said[-1]["exception"].endswith("it ends with [redacted]")
    else:
        assert [line.partition(": ")[2] for line in lines[:3]] == [
            "ours", "theirs", "the process ends",
        ]  # fmt: skip
