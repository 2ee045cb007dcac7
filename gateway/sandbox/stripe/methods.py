"""Payment methods and confirmation tokens: what a shopper pays with."""

from gateway.sandbox.stripe import objects, refusal
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.cards import BY_LAST4, TEST_METHODS
from gateway.sandbox.stripe.instruments import IDEAL_METHOD, card_method, ideal_method
from gateway.sandbox.stripe.params import Params
from gateway.sandbox.stripe.store import Json

PAGE_TOKENS = 10_000
"""Most unspent tokens kept once pages, which need no key, make them; the oldest go first."""
PAGE_METHODS = (*TEST_METHODS, IDEAL_METHOD)
"""What a page can offer its shopper."""

_WAYS_TO_PAY = ("confirmation_token", "payment_method", "payment_method_data")


def require_one_way_to_pay(params: Params) -> None:
    """Raises RefusedError where `params` name a method in more than one way."""
    ways = [name for name in _WAYS_TO_PAY if name in params]
    if len(ways) > 1:
        message = f"You may only specify one of these parameters: {', '.join(ways)}."
        raise refusal.malformed(message, param=ways[-1])


class Methods:
    """Turns `pm_card_visa`, `pm_…`, `ctoken_…` and payment_method_data into what can be charged."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def kind(self, params: Params, intent: Json) -> str | None:
        """The type of what `chosen` would give, for the same arguments; nothing is used up."""
        if "confirmation_token" in params:
            shown = self._token(params["confirmation_token"])["payment_method_preview"]
            return str(shown["type"])
        identifier = _named(params) or intent["payment_method"]
        if identifier is None:
            return None
        if identifier in PAGE_METHODS:
            return "ideal" if identifier == IDEAL_METHOD else "card"
        return str(self.resolve(identifier)["type"])

    def chosen(self, params: Params, intent: Json) -> Json:
        """What `params` name, else what `intent` has on file; a token is used up by the intent."""
        if "confirmation_token" in params:
            return self._redeem(self._token(params["confirmation_token"]), intent)
        return self.resolve(_named(params) or intent["payment_method"])

    def resolve(self, identifier: str) -> Json:
        """A stored method, or a new one of a test method; raises RefusedError if neither."""
        if identifier in PAGE_METHODS:
            return self._bench.store.add(self._new(identifier))
        stored = self._bench.store.get("payment_method", identifier)
        if stored is None:
            raise refusal.no_such("PaymentMethod", identifier, "payment_method", status=400)
        return stored

    def retrieve(self, call: Call) -> Json:
        """GET /v1/payment_methods/{id}."""
        return self._bench.require("payment_method", call.id, "payment_method")

    def create_token(self, call: Call) -> Json:
        """POST /v1/test_helpers/confirmation_tokens: what Stripe.js would do in the page."""
        require_one_way_to_pay(call.params)
        identifier = _named(call.params)
        if identifier is None:
            message = "Missing required param: payment_method."
            raise refusal.malformed(message, code="parameter_missing", param="payment_method")
        return self._keep_token(self.resolve(identifier), call.params)

    def create_page_token(self, call: Call) -> Json:
        """POST /v1/sandbox/confirmation_tokens: as above, for a page and of a test method only."""
        # The token shows the method and keeps none: it gets one when it is redeemed.
        token = self._keep_token(self._new(call.params["payment_method"]), call.params)
        self._bench.store.forget_unspent("confirmation_token", PAGE_TOKENS)
        return token

    def retrieve_token(self, call: Call) -> Json:
        """GET /v1/confirmation_tokens/{id}."""
        return self._bench.require("confirmation_token", call.id, "confirmation_token")

    def return_url(self, params: Params) -> str | None:
        """Where the shopper comes back to, from the request or from the token in it."""
        source = params
        if "return_url" not in params and "confirmation_token" in params:
            source = self._token(params["confirmation_token"])
        url: str | None = source.get("return_url")
        return url

    def _new(self, name: str) -> Json:
        bench = self._bench
        identifier = bench.ids.new("pm")
        if name == IDEAL_METHOD:
            return ideal_method(identifier, bench.now())
        return card_method(identifier, TEST_METHODS[name], bench.now())

    def _keep_token(self, method: Json, given: Params) -> Json:
        bench = self._bench
        identifier = bench.ids.new("ctoken")
        token = objects.confirmation_token(identifier, method, bench.now(), given)
        return bench.store.add(token)

    def _token(self, identifier: str) -> Json:
        param = "confirmation_token"
        return self._bench.require("confirmation_token", identifier, param, status=400)

    def _redeem(self, token: Json, intent: Json) -> Json:
        if token["expires_at"] <= self._bench.now():
            raise _useless(token, "has expired", intent)
        if token["payment_intent"]:
            raise _useless(token, "has already confirmed a PaymentIntent", intent)
        shown = token["payment_method_preview"]
        bench = self._bench
        bench.store.change(token, payment_intent=intent["id"])
        identifier = bench.ids.new("pm")
        if shown["type"] == "ideal":
            return bench.store.add(ideal_method(identifier, bench.now()))
        card = BY_LAST4[shown["card"]["last4"]]
        return bench.store.add(card_method(identifier, card, bench.now()))


def _named(params: Params) -> str | None:
    """The payment method that `params` name, be it by its type alone."""
    if "payment_method_data" in params:
        return IDEAL_METHOD
    identifier: str | None = params.get("payment_method")
    return identifier


def _useless(token: Json, why: str, intent: Json) -> refusal.RefusedError:
    return refusal.invalid(
        f"The ConfirmationToken {token['id']} {why}. Create a new one to try again.",
        code="payment_intent_confirmation_token_invalid",
        param="confirmation_token",
        payment_intent=intent,
    )
