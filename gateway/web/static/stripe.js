// Payment through Stripe's own form (Payment Element, deferred flow): the card's number goes from
// Stripe's frame to Stripe; the gateway sees a confirmation token. Loaded only when there is a
// publishable key. The element is mounted in the light DOM: it cannot live in a shadow root.

import { h } from "./dom.js";

const SCRIPT = "https://js.stripe.com/endive/stripe.js"; // goes with the API version of the gateway's SDK
const TROUBLE = "The payment form could not be loaded. Please reload the page.";

/** Stripe's form. The first amount comes with `prepare`. */
export class StripePayment {
  #key;
  #stripe = null;
  #elements = null;
  element = h("div", { class: "stripe" });

  constructor(publishableKey) {
    this.#key = publishableKey;
  }

  /** Show the form for this amount; call it again when the amount changes. */
  async prepare(total) {
    const amount = { amount: total.amount, currency: total.currency.toLowerCase() };
    if (this.#elements) return this.#elements.update(amount);
    await load();
    if (this.#elements) return this.#elements.update(amount);
    this.#stripe = window.Stripe(this.#key);
    this.#elements = this.#stripe.elements({
      mode: "payment",
      captureMethod: "manual",
      allowedPaymentMethodTypes: ["card"],
      ...amount,
    });
    this.#elements.create("payment").mount(this.element);
  }

  /** What the shopper typed, as the `payment` of a checkout. Throws a sentence for the shopper. */
  async token(total) {
    await this.prepare(total);
    const { error: incomplete } = await this.#elements.submit();
    if (incomplete) throw new Error(incomplete.message);
    const { error, confirmationToken } = await this.#stripe.createConfirmationToken({
      elements: this.#elements,
    });
    if (error) throw new Error(error.message);
    return { confirmation_token: confirmationToken.id };
  }

  /** Let Stripe show the bank's question. A refusal is the gateway's to tell, from Stripe's event. */
  async secondStep(clientSecret) {
    if (!this.#stripe) {
      await load();
      this.#stripe = window.Stripe(this.#key);
    }
    await this.#stripe.handleNextAction({ clientSecret });
    return true;
  }
}

let loading = null;

function load() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", { src: SCRIPT, async: true, onload: resolve });
    script.onerror = () => {
      loading = null;
      reject(new Error(TROUBLE));
    };
    document.head.append(script);
  });
  return loading;
}
