// The sandbox bank's question: a dialog over the page. With Stripe, Stripe shows its own.

import { h } from "./dom.js";
import { money } from "./money.js";
import { icon } from "./pictures.js";

/** Ask the shopper; resolves with `succeed`, `fail`, or nothing when the dialog was put away. */
export function askBank(dialog, total) {
  const answer = (outcome) => () => dialog.close(outcome);
  dialog.replaceChildren(
    h("div", { class: "sign ask", "aria-hidden": "true" }, icon("lock")),
    h("h2", { id: "bank-title" }, "Your bank asks you to confirm"),
    h("p", {}, `Pay ${money(total)} with the card ending in 3184?`),
    h("button", { type: "button", class: "button primary wide", onclick: answer("succeed") }, "Approve"),
    h("button", { type: "button", class: "button quiet wide", onclick: answer("fail") }, "Refuse"),
    h("p", { class: "muted small" }, "Practice bank: no real money moves."));
  dialog.returnValue = "";
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue || null);
    dialog.showModal();
  });
}
