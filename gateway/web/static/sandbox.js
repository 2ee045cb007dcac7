// Payment in the sandbox: Stripe's test methods to choose from, tokens of them, and its bank's question.

import { h } from "./dom.js";
import { cardIcon } from "./pictures.js";

/** What can be tried, in Stripe's names for its test cards. */
const METHODS = [
  { id: "pm_card_visa", title: "A card that works", hint: "Visa •••• 4242", tone: "good" },
  { id: "pm_card_visa_chargeDeclined", title: "A card the bank declines", hint: "Visa •••• 0002", tone: "bad" },
  { id: "pm_card_visa_chargeDeclinedInsufficientFunds", title: "A card without enough money", hint: "Visa •••• 9995", tone: "bad" },
  { id: "pm_card_authenticationRequired", title: "A bank that asks first", hint: "Visa •••• 3184", tone: "ask" },
];

const PATIENCE_MS = 10_000;

/** Test methods as a group of radio buttons. `url` is where the sandbox answers pages. */
export class SandboxPayment {
  #url;
  #chosen = METHODS[0].id;
  element = h("fieldset", { class: "methods" }, h("legend", {}, "Pay with (practice, no real money)"));

  constructor(url) {
    this.#url = url.replace(/\/$/, "");
    for (const method of METHODS) this.element.append(this.#choice(method));
  }

  /** A new token of the chosen method, as the `payment` of a checkout; as with Stripe.js, it pays once. */
  async token() {
    const made = await this.#post("confirmation_tokens", { payment_method: this.#chosen });
    if (!made) throw new Error("Your card could not be checked, so nothing was charged. Please press Pay once more.");
    return { confirmation_token: made.id };
  }

  /**
   * Put the bank's question to the shopper and tell the bank. `ask()` resolves with `succeed`,
   * `fail`, or nothing when the shopper put it off. True when the bank was told.
   */
  async secondStep(clientSecret, ask) {
    const outcome = await ask();
    if (!outcome) return false;
    const [intent] = clientSecret.split("_secret_");
    const told = await this.#post(`payment_intents/${encodeURIComponent(intent)}/complete_action`,
      { client_secret: clientSecret, outcome });
    if (!told) throw new Error("Your bank could not be reached. Please answer once more.");
    return true;
  }

  /** What the sandbox answers to a form, or null if it cannot be reached or refuses. */
  async #post(path, form) {
    try {
      const response = await fetch(`${this.#url}/v1/sandbox/${path}`, {
        method: "POST", body: new URLSearchParams(form), signal: AbortSignal.timeout(PATIENCE_MS),
      });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  #choice({ id, title, hint, tone }) {
    const input = h("input", {
      type: "radio", name: "method", value: id, checked: id === this.#chosen,
      onchange: () => { this.#chosen = id; },
    });
    return h("label", { class: "method" }, input, cardIcon(tone),
      h("span", {}, h("strong", {}, title), h("small", { class: "muted" }, hint)));
  }
}
