"""Who may: a shopper's ticket for a show, and the keys of a shop's own programs.

All are JWTs signed with HS256. A ticket is signed with the shop's secret, which is derived from
ours, so that a shop that knows its shoppers can sign tickets itself. A key is signed with ours and
carries the scopes it opens. So is a place in the line before a full show, which must not be taken
for a ticket. Tokens come in a frame or a header, never in a URL: URLs are logged.

A ticket opens one session (``admission`` sees to that), which is given a token for the next: a
ticket of ours, so that whoever comes back asks nobody. So they go on for a day, or until a moment
the shop's ticket named; then only a new ticket lets the shopper in.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import jwt
import msgspec
from msgspec import Meta, Struct

from gateway.cards import refuse_card_numbers
from gateway.clock import Clock
from gateway.errors import Forbidden, Unauthenticated
from gateway.model import Id
from gateway.settings import Settings

Scope = Literal["pos", "host", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_ALGORITHM = "HS256"
_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
_LEEWAY_S = 5
"""How far our clock and a shop's may be apart."""
_CLOCKS_S = 60
"""How far those of our gateways may be: so much longer it is known who took a ticket."""
_LONGEST_S = 86_400
"""For which a ticket may be good, whoever signed it; and how long a shopper may go on without a new
one, unless the first says otherwise."""


class Ticket(Struct, frozen=True, omit_defaults=True):
    """What a good ticket says."""

    sub: Id
    shop: Id
    show: Id
    exp: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    needs_place: bool = False
    """Good only with a place that the line before the show gave."""
    until: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    """Until when its shopper may stay, and come back, with what each session is given."""


class Queued(Struct, frozen=True):
    """What a good token of somebody who waits says."""

    sub: Id
    shop: Id
    show: Id
    exp: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    use: Literal["queue"]


class Key(Struct, frozen=True):
    """What a good key says."""

    shop: Id
    scopes: tuple[Scope, ...]
    use: Literal["key"]


class _Claimed(Struct):
    """Of a token nobody has checked: whose secret it would have to be signed with."""

    shop: Id


_CLAIMED = msgspec.json.Decoder(_Claimed)
_NO_TOKEN = (jwt.PyJWTError, msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""What reading a token raises that is none of ours."""


class TicketExpired(Unauthenticated):
    """The ticket was good once, or was used; with a new one the client may come back."""


def mark(token: str) -> str:
    """What a ticket that was read is known by, so that it is used once.

    It leaves the signature out: a signature can be written in more than one way.
    """
    return hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()[:32]


def _nonce() -> str:
    return secrets.token_hex(6)  # Of digits alone, 13 could be a card number.


@dataclass(frozen=True, slots=True)
class Tokens:
    """Signs and reads tickets and keys."""

    settings: Settings
    clock: Clock
    nonce: Callable[[], str] = _nonce
    """Tells tickets apart that are signed for the same shopper in the same second."""

    def shop_secret(self, shop: str) -> str:
        """The secret a shop signs its own tickets with."""
        name = f"holdfast shop {shop}".encode()
        digest = hmac.digest(self.settings.secret.encode(), name, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def guest(self, shop: str, claimed: str) -> str:
        """The shopper an unsigned claim stands for.

        Whoever asks for a ticket without a key may name himself, so that he is the same shopper
        after a reload; but he must not become a shopper the shop itself has named.
        """
        name = f"{shop} guest {claimed}".encode()
        digest = hmac.new(self.settings.secret.encode(), name, hashlib.sha256).digest()
        return "g_" + base64.b32encode(digest[:15]).decode().lower()

    def sign_ticket(
        self, shop: str, show: str, shopper: str, *, needs_place: bool = False
    ) -> tuple[str, int]:
        """Sign a ticket; return it and when it expires, in ms since the epoch."""
        expires_s = self.clock.now_ms() // 1000 + self.settings.ticket_ttl_s
        ticket = Ticket(shopper, shop, show, expires_s, needs_place=needs_place)
        return self._signed(ticket), expires_s * 1000

    def sign_next(self, ticket: Ticket) -> tuple[str, Ticket]:
        """Sign what the session opened with a ticket is given; return it, and what it says.

        The session lasts as long as this is good.
        """
        now_s = self.clock.now_ms() // 1000
        until_s = now_s + _LONGEST_S if ticket.until is None else ticket.until
        expires_s = min(now_s + self.settings.session_ttl_s, until_s)
        after = msgspec.structs.replace(ticket, exp=expires_s, until=until_s)
        return self._signed(after), after

    def _signed(self, ticket: Ticket) -> str:
        """Written by hand, for each socket of a storm is given one, and ``jwt`` takes its time."""
        claims = msgspec.json.encode(msgspec.to_builtins(ticket) | {"jti": self.nonce()})
        signing = _HEADER + b"." + base64.urlsafe_b64encode(claims).rstrip(b"=")
        digest = hmac.digest(self.shop_secret(ticket.shop).encode(), signing, hashlib.sha256)
        return (signing + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()

    def left_s(self, ticket: Ticket) -> int:
        """How long a ticket is good from now."""
        return max(0, ticket.exp - self.clock.now_ms() // 1000)

    def keep_mark_ms(self, ticket: Ticket) -> int:
        """How long from now it must be known that a ticket was used."""
        return (ticket.exp + _LEEWAY_S + _CLOCKS_S) * 1000 - self.clock.now_ms()

    def read_ticket(self, token: str) -> Ticket:
        """Read a ticket.

        Raises:
            TicketExpired: it was good once.
            Unauthenticated: it is not ours, or good for too long to be remembered.
            Invalid: a claim holds a card number.
        """
        try:
            shop = _claimed_shop(token)
            claims = jwt.decode(
                token,
                self.shop_secret(shop),
                algorithms=[_ALGORITHM],
                options={"verify_exp": False, "verify_iat": False},
                leeway=_LEEWAY_S,
            )
            ticket = msgspec.convert(claims, Ticket)
        except _NO_TOKEN:
            raise Unauthenticated("This ticket is not valid.") from None
        if ticket.shop != shop:
            raise Unauthenticated("This ticket is not valid.")
        refuse_card_numbers(json.dumps(claims, ensure_ascii=False))
        now_s, settings = self.clock.now_ms() / 1000, self.settings
        if ticket.exp + _LEEWAY_S <= now_s:
            raise TicketExpired("This ticket has expired.")
        if ticket.exp > now_s + _LEEWAY_S + max(
            _LONGEST_S, settings.ticket_ttl_s, settings.session_ttl_s
        ):
            raise Unauthenticated("This ticket is good for too long; a day is the most.")
        return ticket

    def sign_queued(self, shop: str, show: str, shopper: str) -> str:
        """Sign who waits before a show, so that a guest without a name is the same one again.

        It opens nothing; whoever has it has that place. Each answer brings a new one.
        """
        settings = self.settings
        lasts_s = settings.session_ttl_s + settings.queue_silence_s
        expires_s = self.clock.now_ms() // 1000 + lasts_s
        claims = {"sub": shopper, "shop": shop, "show": show, "exp": expires_s, "use": "queue"}
        return jwt.encode(claims, settings.secret, algorithm=_ALGORITHM)

    def read_queued(self, token: str, shop: str, show: str) -> str:
        """Read who waits before a show; return the shopper.

        Raises:
            Unauthenticated: it is not ours, or so old that the place is gone.
            Forbidden: it is for another show.
        """
        try:
            claims = jwt.decode(
                token,
                self.settings.secret,
                algorithms=[_ALGORITHM],
                options={"verify_exp": False, "verify_iat": False},
            )
            queued = msgspec.convert(claims, Queued)
        except _NO_TOKEN:
            raise Unauthenticated("This queue_token is not valid.") from None
        if queued.exp <= self.clock.now_ms() / 1000:
            raise Unauthenticated("This queue_token has expired; ask without it.")
        if (queued.shop, queued.show) != (shop, show):
            raise Forbidden("This queue_token is for another show.")
        return queued.sub

    def sign_key(self, shop: str, scopes: tuple[Scope, ...]) -> str:
        """Sign a key for a shop's program. It lasts until the secret changes."""
        claims: dict[str, Any] = {"shop": shop, "scopes": list(scopes), "use": "key"}
        return jwt.encode(claims, self.settings.secret, algorithm=_ALGORITHM)

    def read_key(self, authorization: str | None, needs: Scope) -> Key:
        """Read the ``Authorization`` header of a request that needs a scope; ``admin`` has all.

        Raises:
            Unauthenticated: there is no key, or it is not ours.
            Forbidden: the key is good, but lacks the scope.
        """
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Unauthenticated("Send a key: Authorization: Bearer …")
        try:
            claims = jwt.decode(token.strip(), self.settings.secret, algorithms=[_ALGORITHM])
            key = msgspec.convert(claims, Key)
        except _NO_TOKEN:
            raise Unauthenticated("This key is not valid.") from None
        if needs not in key.scopes and "admin" not in key.scopes:
            raise Forbidden(f"This key lacks the scope {needs}.")
        return key


def _claimed_shop(token: str) -> str:
    """The shop a token says it is for.

    It is read by hand, for ``jwt`` takes a token apart at a cost that counts in a storm.
    """
    payload = token.partition(".")[2].partition(".")[0]
    padding = "=" * (-len(payload) % 4)
    return _CLAIMED.decode(base64.urlsafe_b64decode(payload + padding)).shop
