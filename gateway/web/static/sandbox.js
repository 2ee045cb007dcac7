// Payment in the sandbox: Stripe's test methods to choose from, and its bank's question.

import { h } from "./dom.js";
import { cardIcon } from "./pictures.js";

/** What can be tried, in Stripe's names for its test cards. */
const METHODS = [
  { id: "pm_card_visa", title: "A card that works", hint: "Visa •••• 4242", tone: "good" },
  { id: "pm_card_visa_chargeDeclined", title: "A card the bank declines", hint: "Visa •••• 0002", tone: "bad" },
  { id: "pm_card_visa_chargeDeclinedInsufficientFunds", title: "A card without enough money", hint: "Visa •••• 9995", tone: "bad" },
  { id: "pm_card_authenticationRequired", title: "A bank that asks first", hint: "Visa •••• 3184", tone: "ask" },
];

/** Test methods as a group of radio buttons. `url` is where the sandbox answers pages. */
export class SandboxPayment {
  #url;
  #chosen = METHODS[0].id;
  element = h("fieldset", { class: "methods" }, h("legend", {}, "Pay with (practice, no real money)"));

  constructor(url) {
    this.#url = url.replace(/\/$/, "");
    for (const method of METHODS) this.element.append(this.#choice(method));
  }

  /** The chosen method, as the `payment` of a checkout. */
  async token() {
    return { payment_method: this.#chosen };
  }

  /**
   * Put the bank's question to the shopper and tell the bank. `ask()` resolves with `succeed`,
   * `fail`, or nothing when the shopper put it off. True when the bank was told.
   */
  async secondStep(clientSecret, ask) {
    const outcome = await ask();
    if (!outcome) return false;
    const [intent] = clientSecret.split("_secret_");
    const url = `${this.#url}/v1/sandbox/payment_intents/${encodeURIComponent(intent)}/complete_action`;
    const body = new URLSearchParams({ client_secret: clientSecret, outcome });
    const response = await fetch(url, { method: "POST", body }).catch(() => null);
    if (!response?.ok) throw new Error("Your bank could not be reached. Please answer once more.");
    return true;
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
