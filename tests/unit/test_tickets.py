"""Who may: what is accepted as a ticket or a key, and everything that looks like one."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Forbidden, Invalid, Unauthenticated
from gateway.settings import Settings
from gateway.tickets import SCOPES, Scope, Ticket, TicketExpired, Tokens, mark

NOW_S = 1_800_000_000
SECRET = "a-secret-of-the-tests-0123456789"


class FixedClock:
    """A clock that shows one moment."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


def tokens_at(now_s: float, secret: str = SECRET) -> Tokens:
    settings = Settings(secret=secret, ticket_ttl_s=120, session_ttl_s=900)
    return Tokens(settings, FixedClock(now_s))


TOKENS = tokens_at(NOW_S)


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(secret: str | None = None, **claims: Any) -> str:
    """A token as a shop would sign it for ann, but for what is said."""
    whole = {"sub": "ann", "shop": "demo", "show": "tonight", "exp": NOW_S + 60} | claims
    secret = TOKENS.shop_secret("demo") if secret is None else secret
    return jwt.encode(whole, secret, algorithm="HS256")


def test_what_we_sign_we_read() -> None:
    token, expires_ms = TOKENS.sign_ticket("demo", "tonight", "ann")
    assert expires_ms == (NOW_S + 120) * 1000
    assert TOKENS.read_ticket(token) == Ticket("ann", "demo", "tonight", NOW_S + 120)


def test_what_we_sign_others_read_too() -> None:
    token, expires_ms = TOKENS.sign_ticket("demo", "tonight", "ann", needs_place=True)
    claims = jwt.decode(
        token, TOKENS.shop_secret("demo"), algorithms=["HS256"], options={"verify_exp": False}
    )
    ours = {"sub": "ann", "shop": "demo", "show": "tonight", "exp": expires_ms // 1000}
    assert claims.items() >= (ours | {"needs_place": True}).items()
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


def test_a_shop_can_sign_tickets_itself() -> None:
    assert TOKENS.read_ticket(signed()).sub == "ann"
    extra = signed(iat=NOW_S + 3, jti="1", name="Ann")
    assert TOKENS.read_ticket(extra).sub == "ann"


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "4242424242424242"},
        {"name": "Ann 4242 4242 4242 4242"},
        {"name": "\uff14242424242424242"},
        {"name": 4242424242424242},
        {"more": {"of": ["5555-5555-5555-4444"]}},
        {"4242424242424242": True},
    ],
)
def test_a_ticket_that_holds_a_card_number_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="Card numbers") as refused:
        TOKENS.read_ticket(signed(**claims))
    assert "42" not in refused.value.message
    with pytest.raises(Unauthenticated):
        TOKENS.read_ticket(signed(secret="x" * 32, **claims))


def test_a_ticket_lasts_a_little_longer_than_it_says() -> None:
    token = signed(exp=NOW_S)
    assert tokens_at(NOW_S + 4.9).read_ticket(token).sub == "ann"
    with pytest.raises(TicketExpired):
        tokens_at(NOW_S + 5).read_ticket(token)


def test_an_expired_forgery_is_a_forgery() -> None:
    with pytest.raises(Unauthenticated) as refused:
        TOKENS.read_ticket(signed(secret="x" * 32, exp=1))
    assert type(refused.value) is Unauthenticated


FORGED = {
    "another secret": signed(secret="x" * 32),
    "our own secret": signed(secret=SECRET),
    "another shop's secret": signed(secret=TOKENS.shop_secret("other")),
    "another shop's name": signed(shop="other"),
    "another algorithm": f"{part({'alg': 'HS512'})}.{signed().partition('.')[2]}",
    "no algorithm": f"{part({'alg': 'none'})}.{part({'sub': 'ann', 'shop': 'demo'})}.",
    "None": jwt.encode(
        {"sub": "ann", "shop": "demo", "show": "tonight", "exp": NOW_S + 60}, "", algorithm="none"
    ),
    "other content": ".".join(
        [
            signed().split(".")[0],
            part({"sub": "bob", "shop": "demo", "show": "tonight", "exp": NOW_S + 60}),
            signed().split(".")[2],
        ]
    ),
    "no signature": signed().rpartition(".")[0] + ".",
    "no sub": signed(sub=None),
    "a number for a sub": f"{part({'alg': 'HS256'})}.{part({'sub': 5})}.eA",
    "a sub with a colon": signed(sub="ann:bob"),
    "a shop with braces": signed(shop="{demo}"),
    "an endless exp": signed(exp=10**30),
    "a negative exp": signed(exp=-1),
    "exp as words": signed(exp="tomorrow"),
    "not before the end of time": signed(nbf=float("inf")),
    "nested too deep": f"{part({'alg': 'HS256'})}.{part(b'[' * 2_900)}.eA",
    "a header nested too deep": f"{part(b'[' * 2_900)}.{part({})}.eA",
    "a list": f"{part({'alg': 'HS256'})}.{part([])}.eA",
    "not base64": "a.b.c",
    "nothing": "",
    "words": "let me in",
    "no text": "\ud800.a.b",
    "a key": TOKENS.sign_key("demo", ("admin",)),
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_what_is_not_a_ticket_of_ours(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        TOKENS.read_ticket(token)
    assert type(refused.value) is Unauthenticated
    assert refused.value.message == "This ticket is not valid."


@given(st.text())
def test_no_text_is_a_ticket_or_a_key(text: str) -> None:
    with pytest.raises(Unauthenticated):
        TOKENS.read_ticket(text)
    with pytest.raises(Unauthenticated):
        TOKENS.read_key(f"Bearer {text}", "pos")


def test_a_ticket_from_a_shop_whose_clock_is_a_little_ahead() -> None:
    # PyJWT compares nbf with the real clock.
    assert TOKENS.read_ticket(signed(nbf=int(time.time()) + 3)).sub == "ann"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_opens_its_scope_and_no_other(scope: Scope) -> None:
    key = TOKENS.read_key(f"Bearer {TOKENS.sign_key('demo', (scope,))}", scope)
    assert (key.shop, key.scopes) == ("demo", (scope,))
    for other in set(SCOPES) - {scope}:
        header = f"Bearer {TOKENS.sign_key('demo', (scope,))}"
        if scope == "admin":
            assert TOKENS.read_key(header, other).shop == "demo"
        else:
            with pytest.raises(Forbidden, match=other):
                TOKENS.read_key(header, other)


def test_the_header_may_be_written_as_http_allows() -> None:
    key = TOKENS.sign_key("demo", ("pos",))
    for header in (f"Bearer {key}", f"bearer {key}", f"BEARER  {key} "):
        assert TOKENS.read_key(header, "pos").shop == "demo"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Basic dXNlcjpwYXNz",
        TOKENS.sign_key("demo", ("admin",)),
        f"Bearer{TOKENS.sign_key('demo', ('admin',))}",
        f"Bearer {signed()}",
        f"Bearer {TOKENS.sign_ticket('demo', 'tonight', 'ann')[0]}",
        f"Bearer {tokens_at(NOW_S, 'y' * 32).sign_key('demo', ('admin',))}",
        f"Bearer {jwt.encode({'shop': 'demo', 'scopes': ['admin']}, '', algorithm='none')}",
        f"Bearer {jwt.encode({'shop': 'demo', 'scopes': ['admin']}, SECRET)}",
        f"Bearer {jwt.encode({'shop': 'demo', 'scopes': ['root'], 'use': 'key'}, SECRET)}",
        f"Bearer {jwt.encode({'shop': '{demo}', 'scopes': [], 'use': 'key'}, SECRET)}",
    ],
    ids=range(15),
)
def test_what_is_not_a_key_of_ours(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        TOKENS.read_key(header, "pos")


def test_who_waits_is_known_again_by_the_token() -> None:
    token = TOKENS.sign_queued("demo", "tonight", "ann")
    assert TOKENS.read_queued(token, "demo", "tonight") == "ann"
    ends_s = NOW_S + 900 + TOKENS.settings.queue_silence_s
    assert tokens_at(ends_s - 1).read_queued(token, "demo", "tonight") == "ann"
    with pytest.raises(Unauthenticated, match="ask without it"):
        tokens_at(ends_s).read_queued(token, "demo", "tonight")


@pytest.mark.parametrize(("shop", "show"), [("demo", "tomorrow"), ("other", "tonight")])
def test_a_place_before_another_show_is_not_one_here(shop: str, show: str) -> None:
    with pytest.raises(Forbidden, match="another show"):
        TOKENS.read_queued(TOKENS.sign_queued("demo", "tonight", "ann"), shop, show)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        signed(),
        signed(use="queue"),
        TOKENS.sign_ticket("demo", "tonight", "ann", needs_place=True)[0],
        TOKENS.sign_key("demo", ("admin",)),
        tokens_at(NOW_S, "y" * 32).sign_queued("demo", "tonight", "ann"),
        TOKENS.sign_queued("demo", "tonight", "a b"),
    ],
    ids=range(8),
)
def test_what_is_not_a_place_in_our_line(token: str) -> None:
    with pytest.raises(Unauthenticated, match="not valid"):
        TOKENS.read_queued(token, "demo", "tonight")


def test_a_place_in_the_line_is_neither_a_ticket_nor_a_key() -> None:
    token = TOKENS.sign_queued("demo", "tonight", "ann")
    with pytest.raises(Unauthenticated):
        TOKENS.read_ticket(token)
    with pytest.raises(Unauthenticated):
        TOKENS.read_key(f"Bearer {token}", "pos")


def test_a_ticket_from_the_line_says_that_it_needs_its_place() -> None:
    token, expires_ms = TOKENS.sign_ticket("demo", "tonight", "ann", needs_place=True)
    ticket = Ticket("ann", "demo", "tonight", expires_ms // 1000, needs_place=True)
    assert TOKENS.read_ticket(token) == ticket
    assert not TOKENS.read_ticket(TOKENS.sign_ticket("demo", "tonight", "ann")[0]).needs_place


def test_tickets_signed_in_the_same_second_are_different_ones() -> None:
    marks = {mark(TOKENS.sign_ticket("demo", "tonight", "ann")[0]) for _ in range(100)}
    assert len(marks) == 100
    assert all(len(one) == 32 for one in marks)


def test_a_ticket_whose_signature_is_written_another_way_is_the_same_ticket() -> None:
    token = signed()
    body, _, signature = token.rpartition(".")
    assert mark(f"{body}.{signature}=") == mark(f"{body}.another") == mark(token)
    assert mark(f"x{token}") != mark(token)


def test_a_random_nonce_is_never_taken_for_a_card_number() -> None:
    tokens = Tokens(TOKENS.settings, TOKENS.clock, nonce=lambda: "424242424242")
    assert tokens.read_ticket(tokens.sign_ticket("demo", "tonight", "ann")[0]).sub == "ann"
    assert len(TOKENS.nonce()) == 12


def test_a_session_is_given_the_token_for_the_next() -> None:
    ticket = TOKENS.read_ticket(signed(needs_place=True))
    token, session = TOKENS.sign_next(ticket)
    assert TOKENS.read_ticket(token) == session
    until = NOW_S + 86_400
    assert session == Ticket("ann", "demo", "tonight", NOW_S + 900, needs_place=True, until=until)
    assert TOKENS.left_s(session) == 900
    later, last = tokens_at(until - 60), until
    assert later.sign_next(session)[1].exp == last
    assert tokens_at(until + 1).left_s(later.sign_next(session)[1]) == 0


def test_a_shop_can_say_until_when_its_shopper_may_stay() -> None:
    _, session = TOKENS.sign_next(TOKENS.read_ticket(signed(until=NOW_S + 300)))
    assert (session.exp, session.until) == (NOW_S + 300, NOW_S + 300)


def test_a_ticket_is_good_for_a_day_at_most() -> None:
    assert TOKENS.read_ticket(signed(exp=NOW_S + 86_400)).sub == "ann"
    with pytest.raises(Unauthenticated, match="a day is the most"):
        TOKENS.read_ticket(signed(exp=NOW_S + 86_410))


def test_each_shop_has_a_secret_of_its_own() -> None:
    secrets = {TOKENS.shop_secret(shop) for shop in ("demo", "other", "third")}
    assert len(secrets) == 3
    assert SECRET not in secrets
    assert all(len(secret) >= 43 for secret in secrets)


@given(st.text(max_size=64), st.text(max_size=64))
def test_a_guest_is_whom_nobody_can_choose(claimed: str, other: str) -> None:
    guest = TOKENS.guest("demo", claimed)
    assert guest == TOKENS.guest("demo", claimed)
    assert guest != claimed
    assert msgspec.convert({"sub": guest, "shop": "demo", "show": "s", "exp": 0}, Ticket)
    assert claimed == other or guest != TOKENS.guest("demo", other)
    assert guest != TOKENS.guest("other", claimed)


def test_claiming_a_guests_name_is_another_guest() -> None:
    guest = TOKENS.guest("demo", "ann")
    assert TOKENS.guest("demo", guest) != guest


def test_a_shop_named_twice_is_no_way_to_another_shops_secret() -> None:
    exp = NOW_S + 60
    body = f'{{"sub":"ann","shop":"demo","show":"tonight","exp":{exp},"shop":"other"}}'.encode()
    for shop in ("demo", "other"):
        signing = f"{part({'alg': 'HS256'})}.{part(body)}"
        digest = hmac.new(TOKENS.shop_secret(shop).encode(), signing.encode(), hashlib.sha256)
        token = f"{signing}.{part(digest.digest())}"
        if shop == "other":
            assert TOKENS.read_ticket(token).shop == "other"
        else:
            with pytest.raises(Unauthenticated):
                TOKENS.read_ticket(token)


def test_a_claim_nested_too_deep_is_no_ticket() -> None:
    body = b'{"shop":"demo","more":' + b"[" * 2_900 + b"]" * 2_900 + b"}"
    with pytest.raises(Unauthenticated):
        TOKENS.read_ticket(f"{part({'alg': 'HS256'})}.{part(body)}.eA")
