"""The table: every endpoint, the parameters it takes, and what it does."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.control import Control
from gateway.sandbox.stripe.faults import SPARED, Faults
from gateway.sandbox.stripe.intents import Intents
from gateway.sandbox.stripe.listing import MAX_LIMIT, Listing
from gateway.sandbox.stripe.methods import PAGE_METHODS, Methods
from gateway.sandbox.stripe.params import (
    Choice,
    Flag,
    Integer,
    Items,
    Metadata,
    Moment,
    Record,
    Removed,
    Spec,
    Text,
    Unsettable,
)
from gateway.sandbox.stripe.refunds import Refunds
from gateway.sandbox.stripe.secondstep import SecondStep
from gateway.sandbox.stripe.store import Json


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method and path. `limited` ones count against the rate limit, as all of Stripe's do."""

    name: str
    does: Callable[[Call], Json]
    takes: Spec
    requires: tuple[str, ...] = ()
    limited: bool = True

    @property
    def method(self) -> str:
        """GET or POST."""
        return self.name.partition(" ")[0]

    @property
    def path(self) -> str:
        """With `{id}` where the id goes."""
        return self.name.partition(" ")[2]


_EXPAND: Spec = {"expand": Items(Text(200))}

_ADDRESS = Record(
    dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), Text())
)
_SHIPPING = Record(
    {
        "address": _ADDRESS,
        "carrier": Text(),
        "name": Text(),
        "phone": Text(),
        "tracking_number": Text(),
    },
    required=("address", "name"),
)
# Raw card numbers have no business here, and are refused by the name of their type.
_METHOD_DATA = Record({"type": Choice(("ideal",))}, required=("type",))
_METHOD_OPTIONS = Record(
    {"card": Record({"capture_method": Unsettable(Choice(("manual",)))})},
)
CONFIRM: Spec = {
    "allowed_payment_method_types": Items(Text()),
    "capture_method": Choice(("automatic", "automatic_async", "manual")),
    "confirmation_token": Text(),
    "payment_method": Text(),
    "payment_method_data": _METHOD_DATA,
    "payment_method_options": _METHOD_OPTIONS,
    "payment_method_types": Removed(
        "payment_method_types_no_longer_supported",
        "payment_method_types is no longer supported on this API version. Use dynamic payment "
        "methods, or allowed_payment_method_types to limit them.",
    ),
    "receipt_email": Text(800),
    "return_url": Text(),
    "setup_future_usage": Choice(("off_session", "on_session")),
    "shipping": _SHIPPING,
    "use_stripe_sdk": Flag(),
    **_EXPAND,
}
CREATE: Spec = {
    **CONFIRM,
    "amount": Integer(least=1),
    "automatic_payment_methods": Record(
        {"enabled": Flag(), "allow_redirects": Choice(("always", "never"))},
        required=("enabled",),
    ),
    "confirm": Flag(),
    "currency": Text(3),
    "description": Text(1000),
    "metadata": Metadata(),
    "statement_descriptor": Text(22),
    "statement_descriptor_suffix": Text(22),
}
CAPTURE: Spec = {"amount_to_capture": Integer(least=1), "metadata": Metadata(), **_EXPAND}
CANCEL: Spec = {
    "cancellation_reason": Choice(
        ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
    ),
    **_EXPAND,
}
REFUND: Spec = {
    "amount": Integer(least=1),
    "charge": Text(),
    "metadata": Metadata(),
    "payment_intent": Text(),
    "reason": Choice(("duplicate", "fraudulent", "requested_by_customer")),
    **_EXPAND,
}
REFUND_UPDATE: Spec = {"metadata": Metadata(), **_EXPAND}
TOKEN: Spec = {
    "payment_method": Text(),
    "payment_method_data": _METHOD_DATA,
    "return_url": Text(),
    "setup_future_usage": Choice(("off_session", "on_session")),
    "shipping": _SHIPPING,
    **_EXPAND,
}
PAGE: Spec = {
    "created": Moment(),
    "ending_before": Text(),
    "limit": Integer(least=1, most=MAX_LIMIT),
    "starting_after": Text(),
    **_EXPAND,
}
_SEARCH: Spec = {
    "limit": Integer(least=1, most=MAX_LIMIT),
    "page": Text(),
    "query": Text(),
    **_EXPAND,
}
_ACTION: Spec = {"client_secret": Text(), "outcome": Choice(("succeed", "fail", "process"))}
_PAGE_TOKEN: Spec = {"payment_method": Choice(PAGE_METHODS), "return_url": Text()}
_REPORT: Spec = {"outcome": Choice(("succeed", "fail"))}

COMPLETE_ACTION = "POST /v1/sandbox/payment_intents/{id}/complete_action"


def table(
    bench: Bench, intents: Intents, methods: Methods, control: Control, faults: Faults
) -> list[Endpoint]:
    """All endpoints that need a secret key, in the order in which paths are matched."""
    listing, refunds = Listing(bench), Refunds(bench, faults)

    def retrieve(kind: str, call: Call) -> Json:
        return bench.require(kind, call.id, "id")

    def pages(path: str, kind: str, *members: str) -> Endpoint:
        takes = {**PAGE, **dict.fromkeys(members, Text())}
        return Endpoint(f"GET {path}", partial(_page, listing, kind, members), takes)

    of_intent = "/v1/payment_intents/{id}"
    return [
        Endpoint("POST /v1/payment_intents", intents.create, CREATE, ("amount", "currency")),
        pages("/v1/payment_intents", "payment_intent"),
        Endpoint("GET /v1/payment_intents/search", listing.search, _SEARCH, ("query",)),
        Endpoint(f"GET {of_intent}", intents.retrieve, {"client_secret": Text(), **_EXPAND}),
        Endpoint(f"POST {of_intent}/confirm", intents.confirm, CONFIRM),
        Endpoint(f"POST {of_intent}/capture", intents.capture, CAPTURE),
        Endpoint(f"POST {of_intent}/cancel", intents.cancel, CANCEL),
        Endpoint("POST /v1/refunds", refunds.create, REFUND),
        pages("/v1/refunds", "refund", "payment_intent", "charge"),
        Endpoint("GET /v1/refunds/{id}", refunds.retrieve, _EXPAND),
        Endpoint("POST /v1/refunds/{id}", refunds.update, REFUND_UPDATE),
        Endpoint(
            "POST /v1/sandbox/refunds/{id}/complete",
            refunds.complete,
            _REPORT,
            ("outcome",),
            limited=False,
        ),
        pages("/v1/charges", "charge", "payment_intent"),
        Endpoint("GET /v1/charges/{id}", partial(retrieve, "charge"), _EXPAND),
        Endpoint("GET /v1/payment_methods/{id}", methods.retrieve, _EXPAND),
        Endpoint("POST /v1/test_helpers/confirmation_tokens", methods.create_token, TOKEN),
        Endpoint("GET /v1/confirmation_tokens/{id}", methods.retrieve_token, _EXPAND),
        pages("/v1/events", "event", "type"),
        Endpoint("GET /v1/events/{id}", partial(retrieve, "event"), {}),
        Endpoint("GET /v1/account", control.account, _EXPAND),
        Endpoint("GET /v1/balance", control.balance, _EXPAND),
        Endpoint(SPARED, control.summary, {}, limited=False),
    ]


def for_pages(steps: SecondStep, methods: Methods) -> list[Endpoint]:
    """What Stripe.js and the bank's page do, for a page without a key: it shows what it has.

    A second step needs the client secret; a token of a test method is nobody's.
    """
    step, card = ("client_secret", "outcome"), ("payment_method",)
    return [
        Endpoint(COMPLETE_ACTION, steps.complete, _ACTION, step, limited=False),
        Endpoint(
            "POST /v1/sandbox/confirmation_tokens",
            methods.create_page_token,
            _PAGE_TOKEN,
            card,
            limited=False,
        ),
    ]


def _page(listing: Listing, kind: str, members: tuple[str, ...], call: Call) -> Json:
    return listing.page(call, kind, members)
