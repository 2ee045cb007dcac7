"""Every setting, in one frozen object; ``environment`` reads it.

Names carry their units. ``REDIS_URL``, ``STRIPE_API_KEY`` and ``STRIPE_WEBHOOK_SECRET`` keep the
names the rest of the world uses; everything else is ``HOLDFAST_`` and the field's name in capitals.
"""

import hashlib
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from gateway.discreet import shown
from gateway.model import Currency, Id

Seconds = Annotated[int, Meta(ge=1, le=7 * 86_400)]
Milliseconds = Annotated[int, Meta(ge=1, le=600_000)]
Days = Annotated[int, Meta(ge=1, le=3_650)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Rate = Annotated[int, Meta(ge=1, le=100_000)]
Secret = Annotated[str, Meta(max_length=4_096)]
Port = Annotated[int, Meta(ge=0, le=65_535)]

_USUAL_NAMES = {
    "redis_url": "REDIS_URL",
    "stripe_api_key": "STRIPE_API_KEY",
    "stripe_webhook_secret": "STRIPE_WEBHOOK_SECRET",
}
HIDDEN = frozenset({"secret", "stripe_api_key", "stripe_webhook_secret", "redis_url", "claims_url"})
"""Fields that may hold a secret: never shown, and may be given as files."""


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and says what it must be."""


class Settings(Struct, frozen=True, kw_only=True):
    """What a gateway, relay or sweep can be told. Times end in their unit."""

    redis_url: Annotated[str, Meta(min_length=1)] = "redis://127.0.0.1:6379/0"
    stripe_api_key: Secret = ""
    stripe_webhook_secret: Secret = ""
    """Several, separated by commas, while it is being changed."""
    stripe_url: str | None = None
    """Where Stripe's API is; unset means Stripe itself."""
    sandbox_url: str | None = None
    """Where browsers find the sandbox, if that is not where we do."""
    stripe_publishable_key: str = ""
    """Given to the page so that it can mount Stripe's form; may be public."""

    secret: Secret = ""
    """Signs tickets and API keys; the shops' own secrets are derived from it."""
    shop: Id = "demo"
    """The shop of requests that carry no key: what the page at ``/`` shows."""
    show: Id = "tonight"
    """The show the page at ``/`` plays."""
    location: Id = "main"
    """Where imported stock is."""
    currency: Currency = "USD"
    """Of imported price lists, which carry none."""

    environment: Id = "main"
    """Sets installations apart that share one Stripe account: each touches its own payments."""

    host: str = "127.0.0.1"
    port: Port = 8080
    metrics_port: Port = 0
    """Where a process answers Prometheus and probes, apart from the public. Unset, the gateway does
    so on its only port, and the relay and the sweep nowhere."""
    public_url: str | None = None
    """How browsers reach us, when a proxy changes it; tickets carry the socket's address."""
    allowed_origins: str = ""
    """Comma-separated origins that may open sockets, besides our own page's. Programs have to name
    one as well.
    """
    trusted_proxies: str = ""
    """Comma-separated addresses or networks of proxies whose ``X-Forwarded-For`` is believed."""
    tickets_per_address_per_s: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Tickets one address may ask this process for without a key, on average; it may burst to ten
    times as many. 0: no limit. Behind a proxy that is not trusted, everybody has its address."""
    webhook_targets: str = ""
    """Comma-separated networks that orders may be delivered to, besides public addresses: else a
    webhook could make us call whatever only we can reach."""
    header_timeout_s: Seconds = 10
    """How long a connection may take to send a whole request head."""
    body_timeout_s: Seconds = 30
    """How long a request may take to send its body."""
    connections: Count = 2_000
    """Connections this process keeps that are no sockets; above it those idle the longest are cut,
    or newcomers refused."""

    log_format: Literal["text", "json"] = "text"
    """How log lines are written: for people, or an object a line."""
    otlp_url: str | None = None
    """Where spans are sent (OTLP over HTTP); unset, none are made."""
    trace_percent: Annotated[int, Meta(ge=0, le=100)] = 10
    """How many of the requests that bring no trace begin one."""

    hold_ttl_s: Seconds = 120
    """How long a hold lasts, and how much one ``extend`` gives."""
    hold_max_s: Seconds = 600
    """How long a hold can be kept by extending it."""
    holds_per_shopper: Count = 10
    """Active holds one shopper may have at once."""
    payment_budget_s: Seconds = 600
    """How long a payment may keep its hold, our own queue not counted."""
    late_approval_s: Annotated[int, Meta(ge=0, le=60)] = 3
    """How long after a hold has lapsed its payment is left open: who approves in the last second
    still gets the units if they are there. Then it is cancelled."""
    payment_attempts: Annotated[int, Meta(ge=1, le=100)] = 10
    """Payment methods that may be tried for one hold; who tries cards of others needs many."""
    decline_grace_s: Seconds = 60
    """How long a hold stays after a decline, for another card."""
    hold_retention_s: Seconds = 86_400
    """How long a hold that was released or expired answers repeated requests."""
    order_retention_days: Annotated[int, Meta(ge=31, le=3_650)] = 400
    """How long an order, and the hold it was, can be read: longer than the stream of orders is."""
    shopper_retention_days: Days = 30
    """How long after the last visit a shopper's holds, orders and limits are remembered."""
    movement_retention_days: Days = 90
    """How long a movement reported again is known for a repetition. The ledger itself stays."""

    redis_timeout_ms: Milliseconds = 400
    """For one round trip; after it the connection is made anew and the request sent again."""
    redis_attempts: Annotated[int, Meta(ge=1, le=10)] = 2
    redis_queue: Count = 10_000
    """Commands that may wait for Redis; above it we answer ``overloaded``."""
    reserve_batch: Annotated[int, Meta(ge=1, le=512)] = 64
    """Most reservations one script call decides."""
    reserve_script_ms: Milliseconds = 10
    """About how long that call may take, in which Redis serves nobody else; fewer go together when
    they have many lines. After ``redis_timeout_ms``, which is more, it would be given up."""
    wait_replicas: Annotated[int, Meta(ge=0, le=5)] = 0
    """Replicas that must have a commit before money is captured (``WAIT``)."""
    wait_timeout_ms: Milliseconds = 200
    wait_fsync: bool = False
    """Whether they must have it on their disks, and the primary on its own (``WAITAOF``, Redis and
    Valkey from 7.2): then no disk is older than what was captured. Where ``appendfsync`` is not
    ``always``, each commit takes up to a second."""
    claims_url: Secret = ""
    """Strict mode: the durable table in which each unit is claimed before its money is captured,
    ``sqlite:///absolute/path`` on one machine, ``postgresql://…`` beyond. The same for every
    process of an installation. Empty: off."""
    claims_timeout_ms: Milliseconds = 2_000
    """For one claim; after it the payment is looked at again later."""
    claims_batch: Annotated[int, Meta(ge=1, le=1_000)] = 128
    """Most claims of one transaction."""
    claims_queue: Count = 10_000
    """Claims that may wait for the next transaction."""
    stripe_timeout_ms: Milliseconds = 10_000
    stripe_concurrency: Count = 64
    """Calls to Stripe in flight at once from one process."""
    stripe_rate_per_s: Rate = 25
    """What Stripe grants each of its endpoints, requests a second; all our processes share it."""
    stripe_account_rate_per_s: Rate = 100
    """What Stripe grants the account, over all endpoints."""
    stripe_queue_s: Seconds = 900
    """Longest that a payment may wait in our queue for Stripe; its hold waits with it."""
    automatic_methods: Annotated[str, Meta(pattern=r"^[a-z0-9_,]*\Z")] = ""
    """Comma-separated payment methods to take besides cards that cannot be authorized first, such
    as ``ideal``. Units stay held until such a payment is known to have ended."""

    ticket_ttl_s: Seconds = 120
    """How long a ticket we hand out is good for the one session it opens."""
    session_ttl_s: Seconds = 900
    """How long a session lasts without being refreshed, and the token it comes back with."""
    connect_timeout_s: Seconds = 10
    ping_s: Seconds = 20
    """Sockets are pinged this often, and closed when the answer takes as long again."""
    max_frame_bytes: Annotated[int, Meta(ge=1_024, le=1_048_576)] = 524_288
    max_body_bytes: Annotated[int, Meta(ge=1_024, le=67_108_864)] = 8_388_608
    close_timeout_ms: Milliseconds = 1_000
    """How long a socket may take to be told why it is closed."""
    commands_per_s: Count = 20
    """Commands one socket may send, on average; it may burst to twice as many."""
    commands_in_flight: Count = 16
    """Commands of one socket that may await their answer."""
    commands_per_shopper_per_s: Count = 40
    """Commands all sockets of one shopper at this process may send together. Some of them may leave
    the others nothing: those are told so, and if they go on asking, closed with 4029."""
    outbox_frames: Count = 256
    """Frames that may wait for one slow socket."""
    slow_grace_s: Seconds = 10
    """How long a peer may leave unread what waits for it before its socket is closed."""
    send_buffer_bytes: Annotated[int, Meta(ge=4_608, le=4_194_304)] = 65_536
    """What the system may keep for a peer that does not read; without a bound it is megabytes. It
    takes twice as much of Linux' memory."""
    sockets: Count = 10_000
    """Sockets this process serves at once; above it an upgrade is refused."""
    sockets_per_shopper: Count = 8
    """Sockets one shopper may have at this process."""
    show_viewers: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    """Viewers a show takes at once, over all processes; newcomers wait in the queue. 0: no limit.
    Who is in has room for other devices, and to come again."""
    invitation_s: Seconds = 30
    """How long the place of somebody who was let in, and has not connected yet, is kept."""
    queue_silence_s: Seconds = 90
    """Whoever has not asked for so long has left the queue. Hidden tabs may ask once a minute."""
    drain_s: Seconds = 20
    """How long this process takes to send its sockets elsewhere when it is told to stop."""
    stock_tick_ms: Milliseconds = 100
    """Stock is sent to a viewer at most this often; sold out is sent at once."""

    sweep_interval_ms: Milliseconds = 250
    clock_tolerance_s: Seconds = 30
    """How far a Redis server's clock may be from the sweep's; beyond it no hold lapses."""
    settle_interval_s: Seconds = 10
    """How soon the sweep looks at a payment nobody has told us about."""
    reconcile_interval_s: Seconds = 60
    """How often the sweep compares Redis, Stripe and the order stream."""
    relay_timeout_s: Seconds = 10
    relay_attempts: Annotated[int, Meta(ge=1, le=100)] = 12
    """Deliveries of one order before it is parked."""
    relay_backoff_max_s: Seconds = 300

    @property
    def waits(self) -> bool:
        """Whether a sale must be anywhere else than in one server's memory before it counts."""
        return self.wait_replicas > 0 or self.wait_fsync

    @property
    def page_url(self) -> str:
        """Where browsers find us."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def live(self) -> bool:
        """Whether the key is one of Stripe's live mode, in which money is real."""
        return self.stripe_api_key.startswith(("sk_live_", "rk_live_"))

    @property
    def stripe_account(self) -> str:
        """Tells Stripe accounts apart by their key, without giving it away."""
        known_by = f"{self.stripe_url}:{self.stripe_api_key}"
        return hashlib.sha256(known_by.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return shown(self, HIDDEN)


def socket_origin(address: str) -> str:
    """Where sockets are opened of whoever is at this address, as ``wss://shop.example.com``."""
    parts = urlsplit(address)
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"


def page_origin(address: str) -> str:
    """The ``Origin`` of our own page, wherever sockets are opened: ``https://shop.example.com``."""
    parts = urlsplit(address)
    return f"{'https' if parts.scheme in ('https', 'wss') else 'http'}://{parts.netloc}"


def variable(field: str) -> str:
    """The environment variable of a field of ``Settings``."""
    return _USUAL_NAMES.get(field, f"HOLDFAST_{field.upper()}")
