"""Error bodies have Stripe's members, and leave out what is null."""

from gateway.sandbox.stripe import refusal


def test_an_invalid_request_names_code_and_parameter() -> None:
    refused = refusal.no_such("payment_intent", "pi_1", "intent")
    assert refused.status == 404
    assert refused.error == {
        "code": "resource_missing",
        "doc_url": "https://stripe.com/docs/error-codes/resource-missing",
        "message": "No such payment_intent: 'pi_1'",
        "param": "intent",
        "type": "invalid_request_error",
    }


def test_a_rate_limit_says_which() -> None:
    refused = refusal.rate_limited("endpoint-rate")
    assert refused.headers == {"Stripe-Rate-Limited-Reason": "endpoint-rate"}
    assert (refused.status, refused.error["code"]) == (429, "rate_limit")


def test_only_what_had_begun_is_recorded() -> None:
    never_began = (
        refusal.malformed("m"),
        refusal.unauthorized("m"),
        refusal.rate_limited("global-rate"),
        refusal.locked(),
        refusal.key_in_use("k"),
        refusal.reused_key("m"),
    )
    began = (refusal.broken(), refusal.invalid("m"), refusal.unexpected_state("m", {}))
    assert not any(refused.executed for refused in never_began)
    assert all(refused.executed for refused in began)
