"""The command line: what each command prints and how it ends."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import msgspec
import pytest

from gateway.__main__ import main
from gateway.claims.address import open_claims
from gateway.claims.sale import Sale
from gateway.clock import SystemClock
from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane
from gateway.model import Fulfillment, LineRequest
from gateway.settings import Settings
from gateway.stock.standing import State, stand
from gateway.tickets import Tokens
from tests.integration.conftest import SHOW, Site
from tests.processes import free_port

Run = Callable[..., tuple[int, str, str]]
PRICES = "Handle,Title,Variant Price,Variant Inventory Qty\ntee,Tee,9.50,3\n"


@pytest.fixture
def run(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command with the test's settings: exit code, standard output, standard error."""
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("HOLDFAST_SECRET", settings.secret)
    monkeypatch.setenv("HOLDFAST_SHOP", settings.shop)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_help_names_every_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for command in (
        "demo",
        "serve",
        "drain",
        "relay",
        "sweep",
        "audit",
        "doctor",
        "rebuild",
        "privacy",
        "import",
        "token",
        "till",
    ):
        assert f"\n    {command} " in told
        with pytest.raises(SystemExit) as ended:
            run(command, "--help")
        assert ended.value.code == 0


@pytest.mark.parametrize(
    ("command", "missing"),
    [("serve", "STRIPE_API_KEY"), ("sweep", "STRIPE_API_KEY"), ("token", "HOLDFAST_SECRET")],
)
def test_a_missing_setting_is_named_in_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, missing: str
) -> None:
    monkeypatch.delenv(missing, raising=False)
    arguments = ["--scope", "pos"] if command == "token" else []
    code, out, err = run(command, *arguments)
    assert (code, out, err) == (2, "", f"holdfast: {missing} must be set.\n")


def test_a_key_and_a_ticket_are_good(run: Run, settings: Settings) -> None:
    tokens = Tokens(settings, SystemClock())
    code, key, _ = run("token", "--scope", "pos", "--scope", "host")
    assert code == 0
    assert tokens.read_key(f"Bearer {key.strip()}", "host").shop == settings.shop
    code, ticket, told = run("token", "--shopper", "ann", "--show", "tonight")
    assert code == 0
    assert tokens.read_ticket(ticket.strip()).sub == "ann"
    assert "good until" in told
    assert run("token", "--shopper", "ann")[0] == 2


def test_a_shop_can_sign_its_own_tickets(run: Run, settings: Settings) -> None:
    secret = run("token", "--shop-secret")[1].strip()
    claims = {"sub": "ann", "shop": settings.shop, "show": "tonight", "exp": int(time.time()) + 60}
    tokens = Tokens(settings, SystemClock())
    assert tokens.read_ticket(jwt.encode(claims, secret, algorithm="HS256")).show == "tonight"


async def test_an_audit_ends_with_its_verdict(run: Run, site: Site, settings: Settings) -> None:
    await site.sells("tee", 3)
    code, out, _ = await asyncio.to_thread(run, "audit", "--shop", settings.shop)
    assert (code, out.splitlines()[0].split(":")[0]) == (0, settings.shop)
    key = ShopKeys(settings.shop).stock
    await site.rooms.lane.command("HSET", key, "tee", '[["main",4,0,0,0,1,0]]')
    code, out, _ = await asyncio.to_thread(run, "audit", "--shop", settings.shop, "--json")
    assert code == 1
    (drift,) = json.loads(out)["drift"]
    assert (drift["sku"], drift["location"], drift["quantity"]) == ("tee", "main", "on_hand")
    code, out, _ = await asyncio.to_thread(run, "audit", "--shop", settings.shop, "--repair")
    assert code == 0
    assert "tee at main: on_hand is 4, must be 3; repaired" in out
    await site.rooms.lane.command("HSET", key, "tee", "damaged")
    code, out, _ = await asyncio.to_thread(run, "audit", "--shop", settings.shop)
    assert (code, "\n  tee: record_unreadable (" in out) == (1, True)


async def test_a_gateway_audits_for_whoever_has_the_key(
    run: Run, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await site.sells("tee", 3)
    async with site.shopper("ann") as ann:
        assert (await ann.buys("tee", "k"))["state"] == "confirmed"
    asked = ("audit", "--url", site.url, "--payments", "--since", "1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # Nobody is there.
    monkeypatch.delenv("HOLDFAST_KEY", raising=False)
    assert (await asyncio.to_thread(run, *asked))[0] == 2
    kept = tmp_path / "key"
    kept.write_text(site.rooms.tokens.sign_key(settings.shop, ("admin",)) + "\n")
    code, out, _ = await asyncio.to_thread(run, *asked, "--key-file", str(kept))
    assert code == 0, out
    assert "\ntaken: 1 payments, 1500 EUR; sold: 1 orders, 1500 EUR\n" in out
    key = ShopKeys(settings.shop).stock
    await site.rooms.lane.command("HSET", key, "tee", '[["main",4,0,0,1,2,0]]')
    monkeypatch.setenv("HOLDFAST_KEY", kept.read_text())
    code, out, _ = await asyncio.to_thread(run, *asked)
    assert code == 1
    assert "tee at main: on_hand is 4, must be 3" in out
    monkeypatch.setenv("HOLDFAST_KEY", "x.y.z")
    code, _, err = await asyncio.to_thread(run, *asked)
    assert (code, err) == (1, "holdfast: no audit: This key is not valid.\n")
    assert (await asyncio.to_thread(run, *asked, "--repair"))[0] == 2


@pytest.mark.parametrize("wrong", ["one.admin.key\nanother.admin.key", "“an.admin.key”", "kéy"])
def test_what_cannot_be_a_key_is_told_without_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str
) -> None:
    """As a header it would be refused, with its text or in a traceback."""
    url = ("--url", f"http://127.0.0.1:{free_port()}")
    kept = tmp_path / "key"
    kept.write_text(wrong, encoding="latin-1", errors="replace")
    prices = tmp_path / "prices.csv"
    monkeypatch.setenv("HOLDFAST_KEY", wrong)
    for where, words in (
        ("HOLDFAST_KEY", ("audit", *url)),
        ("HOLDFAST_KEY", ("doctor", *url)),
        (f"{kept}", ("audit", *url, "--key-file", f"{kept}")),
        ("HOLDFAST_KEY", ("import", f"{prices}", *url)),
        (f"{kept}", ("import", f"{prices}", *url, "--key-file", f"{kept}")),
    ):
        code, out, err = run(*words)
        assert (code, out) == (2, ""), err
        assert err.startswith(f"holdfast: {where} holds no key: ")
        assert wrong not in err
        assert "admin" not in err


@pytest.mark.parametrize("command", [("audit",), ("import", "prices.csv")])
def test_nothing_is_taken_in_place_of_a_key_file(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    kept = tmp_path / "key"
    asked = (*command, "--url", f"http://127.0.0.1:{free_port()}", "--key-file", str(kept))
    assert run(*asked) == (2, "", f"holdfast: {kept} cannot be read.\n")
    kept.write_text("\n")
    assert run(*asked)[2].startswith(f"holdfast: {kept} holds no key: ")


@pytest.fixture
def stripe(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands ask the site's Stripe."""
    monkeypatch.setenv("STRIPE_API_KEY", site.rooms.settings.stripe_api_key)
    monkeypatch.setenv("HOLDFAST_STRIPE_URL", site.stripe_url)


@pytest.mark.usefixtures("stripe")
async def test_payments_are_reconciled_once(run: Run, site: Site, settings: Settings) -> None:
    await site.sells("tee", 3)
    async with site.shopper("ann") as ann:
        assert (await ann.buys("tee", "k"))["state"] == "confirmed"
    audit = ("audit", "--payments", "--since", "1", "--shop", settings.shop)
    code, out, _ = await asyncio.to_thread(run, *audit)
    assert (code, out.splitlines()[0].split(" since ")[0]) == (
        0,
        "1 orders of 1 shops, 1 payments, 1 events",
    )
    await site.rooms.lane.command("DEL", ShopKeys(settings.shop).orders)
    code, out, _ = await asyncio.to_thread(run, *audit, "--json")
    found = json.loads(out)
    assert (code, found["differences"], found["left"]) == (1, {"event_missing": 1}, 1)
    code, out, _ = await asyncio.to_thread(run, *audit, "--repair")
    assert code == 0
    assert out.endswith(": event_missing; repaired\n")
    assert (await asyncio.to_thread(run, *audit))[0] == 0


@pytest.mark.parametrize("command", [("audit", "--payments"), ("rebuild", "--dry-run")])
@pytest.mark.usefixtures("stripe")
async def test_stripe_that_does_not_answer_is_named(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOLDFAST_STRIPE_URL", f"http://127.0.0.1:{free_port()}")
    code, out, err = await asyncio.to_thread(run, *command, "--shop", settings.shop)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("holdfast: Stripe does not answer, so that ")


@pytest.mark.usefixtures("stripe")
async def test_a_shop_is_not_stopped_to_be_rebuilt_when_nobody_can_say_what_was_sold(
    run: Run, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.sells("tee", 3)
    before = await stand(site.rooms.lane, settings.shop)
    monkeypatch.setenv("HOLDFAST_STRIPE_URL", f"http://127.0.0.1:{free_port()}")
    code, out, err = await asyncio.to_thread(run, "rebuild", "--shop", settings.shop)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("holdfast: Stripe does not answer, so that ")
    after = await stand(site.rooms.lane, settings.shop)
    assert (after.state, after.position) == (State.SERVING, before.position), "nobody noticed"


@pytest.mark.usefixtures("stripe")
async def test_a_lost_sale_is_written_again_by_hand(
    run: Run, site: Site, settings: Settings
) -> None:
    await site.sells("tee", 3)
    async with site.shopper("ann") as ann:
        order = (await ann.buys("tee", "k"))["order"]["id"]
    rebuild = ("rebuild", "--since", "1", "--shop", settings.shop)
    code, out, _ = await asyncio.to_thread(run, *rebuild, "--dry-run")
    assert (code, out.partition(" sales ")[0]) == (0, f"{settings.shop}: of 1")
    keys = ShopKeys(settings.shop)
    await site.rooms.lane.command("DEL", keys.order(order))
    code, out, _ = await asyncio.to_thread(run, *rebuild, "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["missing"], found["epoch"]) == (1, [order], None)
    assert await site.rooms.records.find(settings.shop, order) is None
    code, out, _ = await asyncio.to_thread(run, *rebuild)
    assert code == 0
    assert out.splitlines()[0].rpartition(" ")[0].endswith("1 were missing; served again in epoch")
    assert out.splitlines()[1].strip() == order
    record = await site.rooms.records.find(settings.shop, order)
    assert record
    assert record.phase == "captured"
    assert (await asyncio.to_thread(run, *rebuild, "--dry-run"))[0] == 0


@pytest.mark.usefixtures("stripe")
async def test_by_hand_the_claims_are_read_too(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = f"sqlite://{tmp_path}/claims"
    monkeypatch.setenv("HOLDFAST_CLAIMS_URL", table)
    claims = open_claims(msgspec.structs.replace(settings, claims_url=table))
    assert claims
    now_ms = SystemClock().now_ms()
    units, record = (("tee", "main", 1, 1),), b'{"shopper":"ann"}'
    await claims.claim(Sale(settings.shop, "o_lost", "pi", "h_lost", units, record, now_ms))
    await claims.aclose()
    _, out, _ = await asyncio.to_thread(
        run, "rebuild", "--shop", settings.shop, "--dry-run", "--json"
    )
    assert json.loads(out)["missing"] == ["o_lost"]


async def test_a_shopper_is_shown_and_erased(
    run: Run, site: Site, settings: Settings, tmp_path: Path
) -> None:
    await site.sells("tee", 3)
    async with site.shopper("ann") as ann:
        order = (await ann.buys("tee", "k"))["order"]["id"]
    document = tmp_path / "ann.json"
    email = "shopper@example.com"
    for whose in (("--shopper", "ann"), ("--order", order), ("--email", email)):
        code, out, _ = await asyncio.to_thread(run, "privacy", "export", *whose, "--json")
        shown = json.loads(out)
        assert (code, shown["shopper"], shown["orders"][0]["contact"]["email"]) == (0, "ann", email)
    export = ("privacy", "export", "--shopper", "ann", "--out", str(document))
    code, out, _ = await asyncio.to_thread(run, *export)
    assert (code, out.startswith(f"{settings.shop}: ann has 1 orders, 1 holds, ")) == (0, True)
    assert email not in out
    assert json.loads(document.read_text())["orders"] == shown["orders"]
    assert document.stat().st_mode & 0o077 == 0
    code, _, err = await asyncio.to_thread(run, *export)
    assert (code, "cannot write" in err) == (2, True)

    erase = ("privacy", "erase", "--shopper", "ann")
    code, out, _ = await asyncio.to_thread(run, *erase, "--dry-run", "--yes", "ann")
    assert (code, out.endswith("All of that would be erased.\n")) == (0, True)
    code, _, err = await asyncio.to_thread(run, *erase)
    assert (code, err) == (2, "holdfast: To erase all of that, say so: --yes ann\n")
    assert (await asyncio.to_thread(run, *erase, "--yes", "bob"))[0] == 2
    record = await site.rooms.records.find(settings.shop, order)
    assert record
    assert record.contact
    code, out, _ = await asyncio.to_thread(run, *erase, "--yes", "ann")
    assert (code, (record.intent or "?") in out) == (0, True)
    code, out, _ = await asyncio.to_thread(run, "privacy", "export", "--shopper", "ann")
    assert (code, out) == (1, f"{settings.shop}: nothing is stored about ann\n")
    assert (await asyncio.to_thread(run, *erase, "--yes", "ann"))[0] == 0


async def test_who_may_not_be_erased_now_is_told_why(run: Run, site: Site) -> None:
    await site.sells("tee", 3)
    lines = (LineRequest("tee", 1),)
    held = await site.rooms.holds.reserve(site.shop, "ann", SHOW, "k", lines, Fulfillment())
    erase = ("privacy", "erase", "--shopper", "ann", "--yes", "ann")
    code, out, err = await asyncio.to_thread(run, *erase)
    assert (code, out) == (1, "")
    assert err == (
        f"holdfast: not erased: The shopper holds something ({held.hold.id}); "
        "wait until it lapses, or add --release.\n"
    )
    assert (await asyncio.to_thread(run, *erase, "--release"))[0] == 0
    assert await site.rooms.movements.available(site.shop) == {"tee": 3}


@pytest.mark.parametrize("hours", ["0", "x", "-1", "9601"])
def test_how_far_to_look_back_is_a_number_of_hours(run: Run, hours: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run("audit", "--payments", "--since", hours)
    assert ended.value.code == 2


async def test_without_a_name_every_shop_is_audited(run: Run, lane: Lane, shop: str) -> None:
    await lane.command("SADD", SHOPS, shop)
    _, out, _ = await asyncio.to_thread(run, "audit", "--json")
    assert shop in {json.loads(line)["shop"] for line in out.splitlines()}


async def test_a_price_list_is_imported(
    run: Run, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # Nobody is there.
    monkeypatch.delenv("HOLDFAST_KEY", raising=False)
    prices = tmp_path / "prices.csv"
    prices.write_text(PRICES)
    arguments = ("import", str(prices), "--url", site.url, "--currency", "EUR")
    told = await asyncio.to_thread(run, *arguments)
    assert told == (0, "1 products, 1 variants imported\n", "")
    assert await site.rooms.movements.available(site.shop) == {"tee": 3}
    prices.write_text(PRICES + "cap,Cap,dear,1\n")
    code, out, err = await asyncio.to_thread(run, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("line 3: ")
    assert "nothing was imported" in err
    assert run("import", str(prices), "--url", "http://127.0.0.1:9", "--currency", "EUR")[0] == 1


async def test_a_price_list_is_imported_with_a_key_alone(
    run: Run, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, kept = tmp_path / "prices.csv", tmp_path / "key"
    prices.write_text(PRICES)
    kept.write_text(site.rooms.tokens.sign_key(site.shop, ("admin",)) + "\n")
    monkeypatch.delenv("HOLDFAST_SECRET")
    arguments = ("import", str(prices), "--url", site.url, "--currency", "EUR")
    for key, more in ((kept.read_text(), ()), ("x.y.z", ("--key-file", str(kept)))):
        monkeypatch.setenv("HOLDFAST_KEY", key)
        assert (await asyncio.to_thread(run, *arguments, *more))[0] == 0
    with pytest.raises(SystemExit):
        run(*arguments, "--key", "x.y.z")


@pytest.mark.parametrize("command", ["relay", "sweep"])
def test_a_port_that_is_taken_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_0123456789abcdef")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("HOLDFAST_METRICS_PORT", str(port))
        code, out, err = run(command)
    sentence = f"HOLDFAST_METRICS_PORT cannot be used: 127.0.0.1:{port}: address already in use."
    assert (code, out, err) == (2, "", f"holdfast: {sentence}\n")


def test_redis_that_does_not_answer_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    code, out, err = run("audit")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
