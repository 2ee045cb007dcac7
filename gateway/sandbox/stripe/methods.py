"""Payment methods and confirmation tokens: what a shopper pays with."""

from gateway.sandbox.stripe import objects, refusal
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.cards import BY_LAST4, TEST_METHODS, Card
from gateway.sandbox.stripe.params import Params
from gateway.sandbox.stripe.store import Json

PAGE_TOKENS = 10_000
"""Most unspent tokens kept once pages, which need no key, make them; the oldest go first."""


class Methods:
    """Turns `pm_card_visa`, `pm_…` and `ctoken_…` into something that can be charged."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def chosen(self, params: Params, intent: Json) -> Json | None:
        """The payment method that `params` name, or None; a token is used up by `intent`."""
        token, method = params.get("confirmation_token"), params.get("payment_method")
        if token and method:
            message = "Only one of payment_method and confirmation_token may be given."
            raise refusal.invalid(message, param="confirmation_token", payment_intent=intent)
        if token:
            return self._redeem(self._token(token), intent)
        return self.resolve(method) if method else None

    def resolve(self, identifier: str) -> Json:
        """A stored method, or a new one of a test card; raises RefusedError if neither."""
        card = TEST_METHODS.get(identifier)
        if card is not None:
            return self._new(card)
        stored = self._bench.store.get("payment_method", identifier)
        if stored is None:
            raise refusal.no_such("PaymentMethod", identifier, "payment_method", status=400)
        return stored

    def retrieve(self, call: Call) -> Json:
        """GET /v1/payment_methods/{id}."""
        return self._bench.require("payment_method", call.id, "payment_method")

    def create_token(self, call: Call) -> Json:
        """POST /v1/test_helpers/confirmation_tokens: what Stripe.js would do in the page."""
        bench = self._bench
        method = self.resolve(call.params["payment_method"])
        identifier = bench.ids.new("ctoken")
        token = objects.confirmation_token(identifier, method, bench.now(), call.params)
        return bench.store.add(token)

    def create_page_token(self, call: Call) -> Json:
        """POST /v1/sandbox/confirmation_tokens: as above, for a page and of a test card only."""
        bench = self._bench
        card = TEST_METHODS[call.params["payment_method"]]
        # The token shows the card and keeps no method: it gets one when it is redeemed.
        method = objects.payment_method(bench.ids.new("pm"), card, bench.now())
        token = objects.confirmation_token(bench.ids.new("ctoken"), method, bench.now(), {})
        bench.store.add(token)
        bench.store.forget_unspent("confirmation_token", PAGE_TOKENS)
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

    def _new(self, card: Card) -> Json:
        bench = self._bench
        return bench.store.add(objects.payment_method(bench.ids.new("pm"), card, bench.now()))

    def _token(self, identifier: str) -> Json:
        param = "confirmation_token"
        return self._bench.require("confirmation_token", identifier, param, status=400)

    def _redeem(self, token: Json, intent: Json) -> Json:
        if token["expires_at"] <= self._bench.now():
            raise _useless(token, "has expired", intent)
        if token["payment_intent"]:
            raise _useless(token, "has already confirmed a PaymentIntent", intent)
        self._bench.store.change(token, payment_intent=intent["id"])
        return self._new(BY_LAST4[token["payment_method_preview"]["card"]["last4"]])


def _useless(token: Json, why: str, intent: Json) -> refusal.RefusedError:
    return refusal.invalid(
        f"The ConfirmationToken {token['id']} {why}. Create a new one to try again.",
        code="payment_intent_confirmation_token_invalid",
        param="confirmation_token",
        payment_intent=intent,
    )
