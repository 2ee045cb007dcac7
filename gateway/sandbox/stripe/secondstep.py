"""The second step: the shopper is sent to the bank's page, and what becomes of the answer.

The page stands where Stripe would send a browser for 3-D Secure, or for iDEAL. The client secret
and the way back come in its own address; it talks to the sandbox it was served by and to nobody
else.
"""

import hmac
from urllib.parse import urlencode

from gateway.sandbox.stripe import objects, refusal
from gateway.sandbox.stripe.acquirer import Acquirer
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.faults import Faults
from gateway.sandbox.stripe.store import Json
from gateway.sandbox.stripe.transfers import Transfers

ASKED = ("requires_action",)
COMPLETABLE = (*ASKED, "processing")
_NOT_ITS_OWN = (
    "The client_secret provided does not match the client_secret associated with this "
    "PaymentIntent."
)


class SecondStep:
    """Asks the shopper, and hears the answer."""

    def __init__(self, bench: Bench, acquirer: Acquirer, faults: Faults) -> None:
        self._bench = bench
        self._acquirer = acquirer
        self._transfers = Transfers(bench)
        self._faults = faults

    def ask(self, call: Call, intent: Json, method: Json, return_url: str | None) -> Json:
        """The intent, waiting for the shopper; without a way back, in the shop's own page."""
        query = {"client_secret": intent["client_secret"], "method": method["type"]}
        if return_url:
            query["return_url"] = return_url
        page = f"{call.base_url}v1/sandbox/payment_intents/{intent['id']}/second_step"
        url = f"{page}?{urlencode(query)}"
        action = objects.redirect(url, return_url) if return_url else objects.stripe_js_step(url)
        waiting = self._bench.store.change(
            intent, status="requires_action", next_action=action, payment_method=method["id"]
        )
        self._bench.journal.write("payment_intent.requires_action", waiting)
        return waiting

    def complete(self, call: Call) -> Json:
        """What the shopper did on the bank's page, or what the bank reports later.

        Open to whoever knows the client secret. `outcome=fail` is an answer, not an error;
        `process` leaves an iDEAL payment under way until it is told to succeed or fail.
        """
        bench = self._bench
        intent = bench.require("payment_intent", call.id, "intent")
        if not hmac.compare_digest(intent["client_secret"], call.params["client_secret"]):
            raise refusal.invalid(_NOT_ITS_OWN, param="client_secret")
        if intent["status"] not in COMPLETABLE:
            raise _nothing_to_complete(intent, COMPLETABLE)
        method = bench.require("payment_method", intent["payment_method"], "payment_method")
        outcome = self._faults.answer(call.endpoint, call.params["outcome"])
        if outcome is None:
            return intent
        if intent["status"] == "processing":
            return self._report(intent, method, outcome)
        if outcome == "fail":
            return self._refused(intent, method)
        if method["type"] == "card":
            if outcome == "process":
                message = "A card is never processing: its outcome is succeed or fail."
                raise refusal.malformed(message, param="outcome")
            return self._acquirer.charge(call.endpoint, intent, method)
        if outcome == "process":
            return self._transfers.begin(intent, method)
        return self._acquirer.approve(intent, method)

    def _report(self, intent: Json, method: Json, outcome: str) -> Json:
        if outcome == "process":
            raise _nothing_to_complete(intent, ASKED)
        if outcome == "fail":
            return self._transfers.fail(intent, method)
        return self._transfers.arrive(intent)

    def _refused(self, intent: Json, method: Json) -> Json:
        failed = self._bench.store.change(
            intent,
            status="requires_payment_method",
            last_payment_error=objects.authentication_error(method),
            next_action=None,
            payment_method=None,
        )
        self._bench.journal.write("payment_intent.payment_failed", failed)
        return failed


def _nothing_to_complete(intent: Json, allowed: tuple[str, ...]) -> refusal.RefusedError:
    return refusal.wrong_state(intent, "has no action to complete", "completed", allowed)


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Confirm your payment</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 15vh auto; padding: 1rem }
  button { font: inherit; padding: .6rem 1rem; margin-right: .5rem; border-radius: .5rem;
           border: 1px solid #888; background: #fff; cursor: pointer }
  button[value=succeed] { background: #0a7d4f; border-color: #0a7d4f; color: #fff }
</style>
<h1>Confirm your payment</h1>
<p>This is the sandbox's bank. No money moves.</p>
<p><button value="succeed">Complete</button><button value="fail">Fail</button>
<button value="process" hidden>Take your time</button></p>
<p role="status"></p>
<script type="module">
  const query = new URLSearchParams(location.search);
  const status = document.querySelector("[role=status]");
  document.querySelector("[value=process]").hidden = query.get("method") !== "ideal";
  async function complete(outcome) {
    for (const button of document.querySelectorAll("button")) button.disabled = true;
    const body = new URLSearchParams({ client_secret: query.get("client_secret"), outcome });
    const action = location.pathname.replace(/second_step$/, "complete_action");
    const reply = await (await fetch(action, { method: "POST", body })).json();
    status.textContent = reply.error ? reply.error.message : `The payment is now ${reply.status}.`;
    const back = query.get("return_url");
    if (!back || !/^https?:/.test(back)) return;
    const url = new URL(back);
    url.searchParams.set("payment_intent", location.pathname.split("/").at(-2));
    url.searchParams.set("payment_intent_client_secret", query.get("client_secret"));
    location.assign(url);
  }
  document.addEventListener("click", (event) => {
    if (event.target.value) complete(event.target.value);
  });
</script>
"""
