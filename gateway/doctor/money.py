"""What Stripe's key may do, and whether Stripe's webhook arrives.

What a key may write is asked with a payment that does not exist: who may is told that, and who may
not is told so first. Nothing is made, whichever key it is.
"""

import re
import time
from urllib.parse import urlsplit

import httpx

from gateway.checkout.webhook import ROUTE as WEBHOOK_PATH
from gateway.doctor.finding import WITHIN_S, Outcome, Patient, code_of

_STRIPE = "https://api.stripe.com"
_NOBODY = "pi_holdfast_doctor_asks_for_nobody"
_NEEDED: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("read payments", "GET", "/v1/payment_intents?limit=1", {}),
    ("make and capture payments", "POST", f"/v1/payment_intents/{_NOBODY}/cancel", {}),
    ("read refunds", "GET", "/v1/refunds?limit=1", {}),
    ("make refunds", "POST", "/v1/refunds", {"payment_intent": _NOBODY}),
)
"""What we ask of Stripe: what for, and a request that shows whether we may."""
_PERMISSION = re.compile(r"\brak_\w+")


async def money(patient: Patient) -> list[Outcome]:
    """Look at the key, if we have it, and at the way back from Stripe."""
    outcomes = [await _path(patient)]
    if "STRIPE_API_KEY" not in patient.given:
        why = "STRIPE_API_KEY is not in the environment, so that the key was not tried."
        return [Outcome("stripe_key", "skipped", why), *outcomes]
    settings = patient.settings
    key = {"Authorization": f"Bearer {settings.stripe_api_key}"}
    async with httpx.AsyncClient(
        base_url=settings.stripe_url or _STRIPE, headers=key, timeout=WITHIN_S
    ) as stripe:
        try:
            return [
                await _key(stripe),
                _mode(patient),
                *outcomes,
                await _endpoint(patient, stripe),
            ]
        except httpx.HTTPError as error:
            why = f"Stripe does not answer from here: {type(error).__name__}."
            fix = "Let this machine reach api.stripe.com, and see Stripe's status page."
            return [Outcome("stripe_key", "failed", why, fix), *outcomes]


async def _key(stripe: httpx.AsyncClient) -> Outcome:
    """Whether the key is one, and may do all we need."""
    missing: list[str] = []
    for what, method, path, fields in _NEEDED:
        answer = await stripe.request(method, path, data=fields)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            why = "Stripe does not know this key."
            fix = "Put a secret or restricted key of this account into STRIPE_API_KEY."
            return Outcome("stripe_key", "failed", why, fix)
        if answer.status_code == httpx.codes.FORBIDDEN:
            named = _PERMISSION.search(answer.text)
            missing.append(f"{what} ({named[0]})" if named else what)
    if missing:
        why = f"The key may not {', '.join(missing)}."
        fix = "Give the restricted key write access to PaymentIntents and to Refunds."
        return Outcome("stripe_key", "failed", why, fix)
    return Outcome("stripe_key", "ok", "The key may make, capture, void and refund payments.")


def _mode(patient: Patient) -> Outcome:
    live = patient.settings.live
    if live and patient.here:
        why = "The key is live, and this is a machine of somebody's own: money would be real."
        return Outcome("stripe_mode", "warning", why, "Try things with a key that begins sk_test_.")
    if not live and not patient.here:
        why = "The key is a test key: no money is taken at this address."
        return Outcome("stripe_mode", "warning", why, "Use the live key once the shop is open.")
    return Outcome("stripe_mode", "ok", f"The key is a {'live' if live else 'test'} key, as fits.")


async def _path(patient: Patient) -> Outcome:
    """What Stripe did not sign must be refused, and by us."""
    headers = {
        "Content-Type": "application/json",
        "Stripe-Signature": f"t={int(time.time())},v1={'0' * 64}",
    }
    fix = f"Have the ingress send POST {WEBHOOK_PATH} to the gateway as it is, body and headers."
    async with patient.client() as client:
        try:
            answer = await client.post(WEBHOOK_PATH, content=b"{}", headers=headers)
        except httpx.HTTPError as error:
            why = f"The webhook's path does not answer: {type(error).__name__}."
            return Outcome("webhook", "failed", why, fix)
    if answer.is_success:
        why = "An event that Stripe did not sign is taken."
        fix = f"It is not the gateway that answers POST {WEBHOOK_PATH}: see where it goes."
        return Outcome("webhook", "failed", why, fix)
    if answer.status_code == httpx.codes.BAD_REQUEST and code_of(answer):
        return Outcome("webhook", "ok", "The webhook's path leads to the gateway, which checks.")
    if answer.is_redirect:
        why = "The webhook's path is a redirect, which Stripe does not follow."
        return Outcome("webhook", "failed", why, "Give Stripe the address it leads to.")
    why = f"The webhook's path is answered {answer.status_code}, and not by the gateway."
    return Outcome("webhook", "failed", why, fix)


async def _endpoint(patient: Patient, stripe: httpx.AsyncClient) -> Outcome:
    """Whether Stripe has been told of us."""
    answer = await stripe.get("/v1/webhook_endpoints", params={"limit": 100})
    if answer.status_code != httpx.codes.OK:
        why = f"What Stripe calls could not be read: {answer.status_code}."
        fix = "To have it checked, let the key read webhook endpoints; selling does not need that."
        return Outcome("stripe_calls", "skipped", why, fix)
    here = urlsplit(f"{patient.url}{WEBHOOK_PATH}")
    for endpoint in answer.json().get("data", []):
        there = urlsplit(endpoint.get("url", ""))
        if (there.hostname, there.path.rstrip("/")) == (here.hostname, here.path):
            if endpoint.get("status") == "enabled":
                return Outcome("stripe_calls", "ok", "Stripe calls this address.")
            why = "Stripe knows this address, and has stopped calling it."
            return Outcome("stripe_calls", "failed", why, "Enable the endpoint in the dashboard.")
    why = "Stripe does not call this address: what banks decide late is noticed later."
    fix = f"Add {here.geturl()} in Stripe's dashboard, with all payment_intent and refund events."
    return Outcome("stripe_calls", "warning", why, fix)
