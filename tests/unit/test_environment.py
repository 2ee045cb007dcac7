"""Settings: read once, and every mistake named in one sentence."""

from pathlib import Path

import msgspec
import pytest

from gateway.environment import LEAST_SECRET, read
from gateway.settings import Settings, SettingsError, variable

GOOD = {
    "HOLDFAST_SECRET": "0123456789abcdef0123456789abcdef",
    "STRIPE_API_KEY": "sk_test_0123456789abcdef",
    "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef",
}


def test_the_secrets_are_all_one_must_give() -> None:
    settings = read(GOOD)
    assert settings.secret == GOOD["HOLDFAST_SECRET"]
    assert settings == Settings(
        secret=settings.secret,
        stripe_api_key=settings.stripe_api_key,
        stripe_webhook_secret=settings.stripe_webhook_secret,
    )


def test_every_setting_has_its_variable() -> None:
    assert variable("hold_ttl_s") == "HOLDFAST_HOLD_TTL_S"
    assert variable("redis_url") == "REDIS_URL"
    settings = read(GOOD | {"HOLDFAST_HOLD_TTL_S": "90", "REDIS_URL": "redis://elsewhere:1/2"})
    assert (settings.hold_ttl_s, settings.redis_url) == (90, "redis://elsewhere:1/2")


def test_variables_of_others_are_let_be() -> None:
    read(GOOD | {"PATH": "/bin", "STRIPE_DEVICE": "x", "HOLDFASTER": "x"})


def test_empty_is_unset() -> None:
    assert read(GOOD | {"HOLDFAST_HOLD_TTL_S": ""}).hold_ttl_s == 120


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_secret_is_named(name: str) -> None:
    without = {other: value for other, value in GOOD.items() if other != name}
    with pytest.raises(SettingsError, match=f"^{name} must be set.$"):
        read(without)


@pytest.mark.parametrize("field", LEAST_SECRET)
def test_a_short_secret_is_named_and_never_shown(field: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(GOOD | {variable(field): "hunter2"})
    sentence = str(refused.value)
    assert sentence == f"{variable(field)} must have at least {LEAST_SECRET[field]} characters."


def test_whoever_does_not_need_a_secret_may_do_without() -> None:
    assert read({}, needs=()).secret == ""
    assert (
        read({"HOLDFAST_SECRET": GOOD["HOLDFAST_SECRET"]}, needs=("secret",)).stripe_api_key == ""
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLDFAST_HOLD_TTL_S", "two minutes"),
        ("HOLDFAST_HOLD_TTL_S", "0"),
        ("HOLDFAST_HOLD_TTL_S", "-5"),
        ("HOLDFAST_HOLD_TTL_S", "1.5"),
        ("HOLDFAST_HOLD_TTL_S", "1e400"),
        ("HOLDFAST_HOLD_TTL_S", "9" * 5_000),
        ("HOLDFAST_PORT", "65536"),
        ("HOLDFAST_PORT", "http"),
        ("HOLDFAST_CURRENCY", "dollars"),
        ("HOLDFAST_SHOP", "{demo}"),
        ("HOLDFAST_MAX_FRAME_BYTES", "16000000"),
        ("HOLDFAST_REDIS_ATTEMPTS", "100"),
        ("HOLDFAST_SECRET", "s3cret" * 1_000),
        # The stream of orders keeps 30 days, and asks the order's record whether to hand one over.
        ("HOLDFAST_ORDER_RETENTION_DAYS", "30"),
    ],
    ids=range(14),
)
def test_a_wrong_value_is_named_and_never_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(GOOD | {name: value})
    sentence = str(refused.value)
    assert sentence.startswith(f"{name} is wrong: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 200
    assert len(value) < 4 or value not in sentence


@pytest.mark.parametrize("name", ["HOLDFAST_TRUSTED_PROXIES", "HOLDFAST_WEBHOOK_TARGETS"])
def test_networks_are_networks(name: str) -> None:
    field = name.removeprefix("HOLDFAST_").lower()
    for good in ("10.0.0.0/8, fd00::/8,192.0.2.1", " 127.0.0.1 ,", ""):
        settings = read(GOOD | {name: good})
        assert getattr(settings, field) == good
    # Bits beyond the mask are a slip: it may be the mask, or the address, that is meant.
    for wrong in ("10.0.0.1/8", "10.0.0.0/33", "proxy.example.com", "*", "10.0.0.0/8 fd00::/8"):
        with pytest.raises(SettingsError, match=rf"^{name} must list networks such as .*\.$"):
            read(GOOD | {name: wrong})


def test_a_variable_we_do_not_know_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^HOLDFAST_HOLD_TTL is not a setting of Holdfast\.$"):
        read(GOOD | {"HOLDFAST_HOLD_TTL": "hunter2"})


def test_keys_that_other_commands_read_are_in_nobodys_way() -> None:
    for name in ("HOLDFAST_KEY", "HOLDFAST_LOAD_ADMIN_KEY", "HOLDFAST_LOAD_POS_KEY"):
        assert read(GOOD | {name: "hunter2"}) == read(GOOD)


@pytest.mark.parametrize(
    ("given", "larger", "smaller"),
    [
        ({"HOLDFAST_HOLD_TTL_S": "601"}, "HOLDFAST_HOLD_MAX_S", "HOLDFAST_HOLD_TTL_S"),
        (
            {"HOLDFAST_PAYMENT_BUDGET_S": "100"},
            "HOLDFAST_PAYMENT_BUDGET_S",
            "HOLDFAST_HOLD_TTL_S",
        ),
        (
            {
                "HOLDFAST_PAYMENT_BUDGET_S": "10",
                "HOLDFAST_HOLD_TTL_S": "10",
                "HOLDFAST_STRIPE_TIMEOUT_MS": "10000",
            },
            "HOLDFAST_PAYMENT_BUDGET_S",
            "HOLDFAST_STRIPE_TIMEOUT_MS",
        ),
        (
            {"HOLDFAST_RESERVE_SCRIPT_MS": "400"},
            "HOLDFAST_REDIS_TIMEOUT_MS",
            "HOLDFAST_RESERVE_SCRIPT_MS",
        ),
        (
            {"HOLDFAST_HOLD_RETENTION_S": "600"},
            "HOLDFAST_HOLD_RETENTION_S",
            "HOLDFAST_PAYMENT_BUDGET_S",
        ),
    ],
)
def test_settings_that_contradict_are_both_named(
    given: dict[str, str], larger: str, smaller: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{larger} must not be less than {smaller}.$"):
        read(GOOD | given)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///var/lib/holdfast/claims",
        "postgresql://holdfast@db.example:5432/shop",
        "postgresql://holdfast@/shop?host=/run/postgresql",
    ],
)
def test_a_table_of_claims_is_named_by_its_address(address: str) -> None:
    assert read(GOOD | {"HOLDFAST_CLAIMS_URL": address}).claims_url == address


@pytest.mark.parametrize(
    "address",
    ["claims", "sqlite://claims", "sqlite:///", "sqlite://host/claims", "mysql://db/shop",
     "postgresql://", "postgresql:///shop", "/var/lib/claims", "postgresql://db:x/shop"],
)  # fmt: skip
def test_what_cannot_be_a_table_of_claims_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^HOLDFAST_CLAIMS_URL must be an address such as "):
        read(GOOD | {"HOLDFAST_CLAIMS_URL": address})


def test_secrets_are_not_shown() -> None:
    claims = "postgresql://holdfast:hunter2@db/shop"
    settings = read(
        GOOD | {"REDIS_URL": "redis://user:hunter2@localhost", "HOLDFAST_CLAIMS_URL": claims}
    )
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert "hold_ttl_s=120" in shown
        assert "hunter2" not in shown
        assert not any(secret in shown for secret in GOOD.values())


def test_times_and_sizes_carry_their_units() -> None:
    units = ("_s", "_ms", "_days", "_bytes", "_frames")
    seconds = ("ttl", "timeout", "interval", "budget", "grace", "retention", "backoff", "tick")
    for name in msgspec.structs.asdict(read(GOOD)):
        if any(word in name for word in seconds):
            assert name.endswith(units), name


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(GOOD["HOLDFAST_SECRET"] + "\n")
    others = {name: value for name, value in GOOD.items() if name != "HOLDFAST_SECRET"}
    given = read(others | {"HOLDFAST_SECRET_FILE": str(file)})
    assert given == read(GOOD)


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^Set REDIS_URL or REDIS_URL_FILE, not both\.$"):
        read(GOOD | {"REDIS_URL": "redis://a:1/0", "REDIS_URL_FILE": str(tmp_path / "url")})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^STRIPE_API_KEY_FILE names a file that cannot be"):
        read({"STRIPE_API_KEY_FILE": str(tmp_path / "missing")})


def test_only_secrets_may_be_files() -> None:
    with pytest.raises(SettingsError, match=r"^HOLDFAST_HOLD_TTL_S_FILE is not"):
        read(GOOD | {"HOLDFAST_HOLD_TTL_S_FILE": "/dev/null"})
