// What the panel says when there is no form to fill in: wait, answer the bank, bought, too late.

import { h } from "./dom.js";
import { icon } from "./pictures.js";
import { orderOf } from "./state.js";
import { count } from "./words.js";

/** The elements for a hold in this phase. */
export function outcome(state, id, phase, actions) {
  return (DRAWN[phase] ?? DRAWN.gone)(state, id, actions);
}

const DRAWN = {
  sending: () => waiting("Talking to your bank…", "This takes a few seconds. Your item stays yours meanwhile."),

  processing: () => waiting("Almost there…", "Your payment is being completed. Your item stays yours meanwhile."),

  queued: (state, id) => {
    const { position, etaS } = state.checkouts[id] ?? {};
    const time = etaS ? `, about ${count(etaS, "second")}` : "";
    const place = position ? `You are number ${position.toLocaleString()} in line${time}.` : "You are in line.";
    return waiting("Many people are paying right now", `${place} Your item stays yours meanwhile.`);
  },

  requires_action: (_state, id, actions) => [
    sign("lock", "ask"),
    h("p", { class: "lead" }, "Your bank asks you to confirm this payment."),
    button("Answer your bank", "primary wide", () => actions.answer(id)),
  ],

  confirmed: (state, id, actions) => [
    sign("check", "good"),
    h("p", { class: "lead" }, "Thank you! Your order is confirmed and the shop is getting it ready."),
    h("p", { class: "muted order-id" }, "Order ", h("code", {}, orderOf(state, id).id)),
    button("Keep watching", "primary wide", () => actions.close()),
  ],

  canceled: (_state, _id, actions) => [
    sign("close", "bad"),
    h("p", { class: "lead" }, "This order did not go through. Your payment was given back."),
    button("Back to the show", "primary wide", () => actions.close()),
  ],

  expired: (state, id, actions) => [
    sign("clock", "bad"),
    h("p", { class: "lead" }, "The time to pay ran out, and the item is back on sale. Nothing was charged."),
    ...again(state, id, actions),
    button("Back to the show", "quiet wide", () => actions.close()),
  ],

  released: (state, id, actions) => [
    sign("check", "ask"),
    h("p", { class: "lead" }, "You gave this back. Somebody else can have it now."),
    button("Back to the show", "primary wide", () => actions.close()),
  ],

  lost: (state, id, actions) => [
    sign("close", "bad"),
    h("p", { class: "lead" }, "The shop had a breakdown and could not keep this for you: it is sold. You were not charged."),
    ...again(state, id, actions),
    button("Back to the show", "quiet wide", () => actions.close()),
  ],

  gone: (_state, _id, actions) => [
    h("p", { class: "lead" }, "There is nothing held for you here."),
    button("Back to the show", "primary wide", () => actions.close()),
  ],
};

function again(state, id, actions) {
  const [line, ...more] = state.holds[id]?.lines ?? [];
  if (!line || more.length || state.show?.state !== "live") return [];
  const press = () => {
    actions.close();
    actions.buy(line.sku, line.quantity);
  };
  return [button("Try to get it again", "primary wide", press)];
}

function waiting(title, text) {
  return [h("div", { class: "spinner", "aria-hidden": "true" }), h("p", { class: "lead", role: "status" }, title), h("p", { class: "muted" }, text)];
}

function sign(name, tone) {
  return h("div", { class: `sign ${tone}`, "aria-hidden": "true" }, icon(name));
}

function button(text, look, press) {
  return h("button", { type: "button", class: `button ${look}`, onclick: press }, text);
}
