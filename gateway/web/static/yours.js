// What this shopper holds and has bought, above the products; it is there again after a reload.

import { fullTitle } from "./catalog.js";
import { h, setText } from "./dom.js";
import { money } from "./money.js";
import { icon } from "./pictures.js";
import { openHolds, orderPhase, phase, remaining } from "./state.js";
import { clock } from "./words.js";

const WAITING = { sending: "Paying…", queued: "Paying…", processing: "Paying…", requires_action: "Your bank asks" };
const ORDERS = { confirmed: "Bought", processing: "Almost yours", canceled: "Canceled" };

/** Fills a section; `open(id)` shows a hold or the hold an order came from. */
export class Yours {
  #root; #open;
  #rows = new Map();

  constructor(root, open) {
    this.#root = root;
    this.#open = open;
  }

  update(state, now) {
    const wanted = [
      ...openHolds(state, now).map((hold) => this.#holdRow(state, hold, now)),
      ...Object.values(state.orders).map((order) => this.#orderRow(state, order)),
    ];
    const keys = wanted.map(({ key }) => key);
    if (keys.join() !== [...this.#rows.keys()].join()) this.#rebuild(wanted);
    for (const { key, text, label, tone } of wanted) {
      const row = this.#rows.get(key);
      setText(row.querySelector(".row-state"), text);
      row.querySelector(".row-state").dataset.tone = tone;
      row.setAttribute("aria-label", label);
    }
    this.#root.hidden = wanted.length === 0;
  }

  #holdRow(state, hold, now) {
    const waiting = WAITING[phase(state, hold.id, now)];
    const left = remaining(state, hold, now);
    return {
      key: `hold ${hold.id}`, hold: hold.id, icon: "clock", title: linesText(state, hold.lines),
      total: hold.total, text: waiting ?? clock(left), tone: left < 30_000 ? "urgent" : "held",
      label: `Held for you: ${linesText(state, hold.lines)}. Open to pay.`,
    };
  }

  #orderRow(state, order) {
    const now = orderPhase(order);
    return {
      key: `order ${order.id}`, hold: order.hold, icon: "check", title: linesText(state, order.lines),
      total: order.total, text: ORDERS[now], tone: now === "canceled" ? "held" : "bought",
      label: `${ORDERS[now]}: ${linesText(state, order.lines)}. Open the order.`,
    };
  }

  #rebuild(wanted) {
    this.#rows = new Map(wanted.map((item) => [item.key, h("button", { type: "button", class: "row", onclick: () => this.#open(item.hold) },
      icon(item.icon), h("span", { class: "row-title" }, item.title), h("span", { class: "row-state" }), h("strong", {}, money(item.total)))]));
    this.#root.replaceChildren(h("h2", {}, "Yours"), ...this.#rows.values());
  }
}

/** "2 × Varsity Top, Large and 1 × Bag", as far as the catalogue knows them. */
export function linesText(state, lines) {
  const parts = lines.map(({ sku, quantity }) => {
    const entry = state.catalog.get(sku);
    const title = entry ? fullTitle(entry) : sku;
    return quantity > 1 ? `${quantity} × ${title}` : title;
  });
  return new Intl.ListFormat("en", { type: "conjunction" }).format(parts);
}
