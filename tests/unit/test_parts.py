"""What every process of the demo is told."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gateway.demo.home import Home, new_secrets
from gateway.demo.parts import Site, audit, crowd, gateway_environment, parts, private
from gateway.environment import read
from gateway.sandbox.stripe.faults import FaultPlan


def site(people: int = 0, *, keeps: bool = False) -> Site:
    home = Home(Path("/data"), keeps, new_secrets())
    return Site(home, "unix:///data/valkey.sock", 8080, 7001, 7002, people)


@pytest.mark.parametrize("people", [0, 200])
def test_the_gateway_accepts_what_it_is_told(people: int) -> None:
    settings = read(gateway_environment(site(people)))
    assert settings.stripe_url == "http://127.0.0.1:7001"
    assert settings.port == 8080


def test_a_crowd_makes_holds_short_enough_to_be_sold_several_times_a_minute() -> None:
    alone, crowded = (read(gateway_environment(site(people))) for people in (0, 200))
    assert crowded.hold_ttl_s <= 20 < alone.hold_ttl_s
    assert crowded.payment_budget_s <= 30


def test_there_are_a_gateway_a_sandbox_a_till_a_relay_and_a_sweep() -> None:
    names = [part.name for part in parts(site())]
    assert names == ["gateway", "Stripe sandbox", "till", "relay", "sweep"]
    assert crowd(site(5)).module == "gateway.demo.crowd"
    assert audit(site()).arguments == ("audit", "--json")


def test_the_sandbox_is_as_slow_as_stripe() -> None:
    sandbox = parts(site())[1]
    rate = sandbox.arguments.index("--rate-limit")
    assert sandbox.arguments[rate + 1] == "25"


def test_the_sandbox_is_told_what_goes_wrong() -> None:
    plan = FaultPlan(lose_reply_percent=5)
    sandbox = parts(replace(site(), faults=plan))[1]
    told = sandbox.arguments[sandbox.arguments.index("--faults") + 1]
    assert msgspec.json.decode(told, type=FaultPlan) == plan


def test_money_and_orders_are_kept_only_in_a_data_directory() -> None:
    for keeps, stripe in ((False, ":memory:"), (True, "/data/stripe.sqlite")):
        sandbox = parts(site(keeps=keeps))[1]
        assert stripe in sandbox.arguments


def test_the_tills_secret_is_not_on_its_command_line() -> None:
    one = site()
    till = parts(one)[2]
    assert one.home.secrets.till not in till.arguments
    assert till.environment == {"TILL_SECRET": one.home.secrets.till}


def test_a_child_gets_no_setting_that_was_meant_for_another_gateway_and_no_proxy() -> None:
    inherited = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "HOLDFAST_PORT": "1",
        "REDIS_URL": "redis://elsewhere",
        "STRIPE_API_KEY": "sk_live_real",
        "STRIPE_ACCOUNT": "acct_real",
        "HTTPS_PROXY": "http://proxy",
        "http_proxy": "http://proxy",
    }
    assert private(inherited, {"HOLDFAST_PORT": "2"}, ["", "/a", "/b"]) == {
        "PATH": "/bin",
        "HOME": "/home/me",
        "HOLDFAST_PORT": "2",
        "PYTHONPATH": "/a:/b",
    }


def test_secrets_do_not_show() -> None:
    assert repr(new_secrets()) == "Secrets(***)"
