"""What is said over a socket: commands in, replies and pushes out.

Each type is one frame, tagged by ``type``. A command carries the client's number ``id`` and its
reply carries the same; a frame without ``id`` is a push.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway import traces
from gateway.discreet import Discreet
from gateway.model import (
    Address,
    CatalogEntry,
    Contact,
    Fulfillment,
    Hold,
    Id,
    Line,
    LineRequest,
    Money,
    Show,
    ShowState,
    Text,
    Timestamp,
)

SUBPROTOCOL = "holdfast.v1.json"
MAX_LINES = 20
"""Most lines of one reservation."""

CommandId = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Token = Annotated[str, Meta(min_length=1, max_length=4096)]
PaymentMethodId = Annotated[str, Meta(pattern=r"^(pm|card|src)_[A-Za-z0-9_]{1,250}\Z")]
ConfirmationTokenId = Annotated[str, Meta(pattern=r"^ctoken_[A-Za-z0-9_]{1,250}\Z")]
Traceparent = Annotated[str, Meta(pattern=traces.TRACEPARENT)]
CheckoutState = Literal["queued", "requires_action", "processing", "confirmed", "declined"]


class Resume(Struct, frozen=True):
    """What a returning client knows already, and so need not be sent: the last stock it was told,
    and the catalogue, by the tag its welcome had, if no ``catalog`` was pushed since.
    """

    epoch: Annotated[int, Meta(ge=0, lt=10**12)]
    version: Annotated[int, Meta(ge=0, lt=10**12)]
    catalog_tag: Id | None = None


class Payment(Discreet, frozen=True, omit_defaults=True):
    """Exactly one token of the payment provider; card data never comes here."""

    confirmation_token: ConfirmationTokenId | None = None
    payment_method: PaymentMethodId | None = None

    def __post_init__(self) -> None:
        if (self.confirmation_token is None) == (self.payment_method is None):
            raise ValueError("give either confirmation_token or payment_method")

    @property
    def token(self) -> str:
        """The one token that was given."""
        return self.confirmation_token or self.payment_method or ""


class _Traced(Discreet, frozen=True, kw_only=True):
    traceparent: Traceparent | None = None
    """The trace this is part of (W3C, version 00); said with ``connect``, also that of the commands
    after it that name none."""


class Command(_Traced, frozen=True, tag_field="type", tag=str.lower):
    """A client's request."""

    id: CommandId


class Connect(Command, frozen=True, tag="connect"):
    """Must be the first frame."""

    token: Token
    show: Id
    resume: Resume | None = None


class Reserve(Command, frozen=True, tag="reserve"):
    """Hold all lines or none. ``key`` makes repeating it safe."""

    key: Id
    lines: Annotated[tuple[LineRequest, ...], Meta(min_length=1, max_length=MAX_LINES)]
    fulfillment: Fulfillment = Fulfillment()


class Extend(Command, frozen=True, tag="extend"):
    """Ask for more time on an active hold."""

    hold: Id


class Release(Command, frozen=True, tag="release"):
    """Give a hold back."""

    hold: Id


class Checkout(Command, frozen=True, tag="checkout"):
    """Pay for a hold. The hold's id makes repeating it safe."""

    hold: Id
    expected_total: Money
    payment: Payment
    contact: Contact
    ship_to: Address | None = None


class Ask(Command, frozen=True, tag="ask"):
    """A question to the host."""

    text: Text


class Refresh(Command, frozen=True, tag="refresh"):
    """Go on for longer: with the token of the last ``welcome`` or ``refresh``, or a new ticket."""

    token: Token


AnyCommand = Connect | Reserve | Extend | Release | Checkout | Ask | Refresh


class Frame(Discreet, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """Something the gateway says; with ``id`` it is the reply to that command."""

    id: int | UnsetType = UNSET


class StockState(Struct, frozen=True):
    """Units available by sku, as of ``version`` within ``epoch``."""

    epoch: int
    version: int
    items: dict[str, int]


class OrderView(Struct, frozen=True):
    """A shopper's own order, as far as the shopper's device needs it."""

    id: str
    hold: str
    order_version: int
    state: str
    lines: tuple[Line, ...]
    total: Money


class _Greeting(Frame, frozen=True, kw_only=True):
    """What is each shopper's own in a welcome."""

    session: str
    show: Show
    holds: tuple[Hold, ...]
    orders: tuple[OrderView, ...]
    now: str
    ping_s: int
    token: str
    """Good for the next ``connect``, or for ``refresh``; once."""
    token_ttl_s: int
    """How long it is good, and this session lasts without ``refresh``."""
    catalog_tag: str
    """Names the catalogue as it is now; ``resume`` may repeat it."""


class Welcome(_Greeting, frozen=True, tag="welcome", kw_only=True):
    """The reply to ``connect``: all a client needs to draw the show, or to go on drawing it.

    ``stock.items`` is empty when ``resume`` named this ``epoch`` and ``version``, and ``catalog``
    is absent when it named this ``catalog_tag``: the client has them.
    """

    stock: StockState
    catalog: tuple[CatalogEntry, ...] | UnsetType = UNSET


class PreparedWelcome(_Greeting, frozen=True, tag="welcome", kw_only=True):
    """A ``Welcome`` as it is written: what is the same for everybody is JSON already."""

    stock: msgspec.Raw
    catalog: msgspec.Raw | UnsetType = UNSET


class HoldFrame(Frame, frozen=True, tag="hold", kw_only=True):
    """A hold of this shopper, as it is now; ``lost`` when a server has lost it, and its units."""

    hold: Hold
    version: int
    reason: Literal["lost"] | None = None


class CheckoutFrame(Frame, frozen=True, tag="checkout", kw_only=True):
    """How far a payment is. ``queued`` says how many go first, oneself included, and how long that
    takes; ``declined`` carries the code and a sentence for the shopper.
    """

    hold: str
    state: CheckoutState
    client_secret: str | None = None
    position: int | None = None
    eta_s: int | None = None
    order: OrderView | None = None
    code: str | None = None
    message: str | None = None
    decline_code: str | None = None


class OrderFrame(Frame, frozen=True, tag="order", kw_only=True):
    """An order of this shopper has changed."""

    order: OrderView


class Ok(Frame, frozen=True, tag="ok"):
    """Done; there is nothing more to say."""


class Refreshed(Frame, frozen=True, tag="ok", kw_only=True):
    """The reply to ``refresh``: what ``welcome`` says of the token for the next time."""

    token: str
    token_ttl_s: int


class ErrorFrame(Frame, frozen=True, tag="error", kw_only=True):
    """A command failed; ``sku`` to ``reason`` are the facts that go with some codes."""

    code: str
    message: str
    retry_after_ms: int | None = None
    sku: str | None = None
    available: int | None = None
    limit: int | None = None
    state: str | None = None
    total: Money | None = None
    decline_code: str | None = None
    reason: str | None = None
    """With ``unavailable``: ``frozen`` or ``paused``, if it is one of these."""


class StockFrame(Frame, frozen=True, tag="stock", kw_only=True):
    """Absolute values of what changed.

    ``at`` is when Redis decided it: of what made this frame be sent, the oldest. So a client can
    tell how old news is. It is absent when nobody knows, as after news was lost.
    """

    epoch: int
    version: int
    items: dict[str, int]
    at: Timestamp | None = None


class CatalogFrame(Frame, frozen=True, tag="catalog", kw_only=True):
    """Catalogue entries that changed or are new."""

    items: tuple[CatalogEntry, ...]


class HighlightFrame(Frame, frozen=True, tag="highlight", kw_only=True):
    """The product pinned now; ``None`` when none is."""

    sku: str | None


class ShowFrame(Frame, frozen=True, tag="show", kw_only=True):
    """The show's state has changed."""

    show: str
    state: ShowState


class ViewersFrame(Frame, frozen=True, tag="viewers", kw_only=True):
    """How many are watching."""

    count: int


class DrainFrame(Frame, frozen=True, tag="drain", kw_only=True):
    """This process goes away within so many milliseconds; reconnect when the socket closes."""

    within_ms: int


_ENCODER = msgspec.json.Encoder()


def encode(frame: Frame) -> bytes:
    """Write a frame as JSON text."""
    return _ENCODER.encode(frame)
