// Checkout inside the player: a sheet from below on phones, a side panel on desktops. It shows one
// hold, from the countdown to the order. The form is built once, so that nothing typed is lost.

import { fullTitle, optionsText } from "./catalog.js";
import { enable, h, setText } from "./dom.js";
import { money, times } from "./money.js";
import { Countdown } from "./countdown.js";
import { icon, picture } from "./pictures.js";
import { orderOf, phase, remaining } from "./state.js";
import { outcome } from "./outcome.js";

const TITLES = {
  pay: "Held for you", sending: "Paying", queued: "Paying", processing: "Paying",
  requires_action: "One more step", confirmed: "It’s yours", canceled: "Order canceled",
  expired: "Time ran out", released: "Given back", lost: "We are sorry", gone: "Nothing here",
};
const NOTED = new Set(["pay", "requires_action"]); // elsewhere a note would be about the past

/**
 * Fills `root`. `payment` is sandbox.js', stripe.js' or null; `actions` are pay(hold, {total,
 * email}), extend(hold), release(hold), buy(sku, quantity), answer(hold), close().
 */
export class Panel {
  #root; #shelf; #actions; #payment;
  #shown = ""; // hold and phase that are drawn now
  #state = null;
  #returnTo = null;
  #title = h("h2", { id: "panel-title", tabindex: "-1" });
  #countdown = new Countdown();
  #note = h("p", { class: "note", role: "alert", hidden: true });
  #lines = h("ul", { class: "lines" });
  #total = h("strong");
  #summary = h("section", { class: "summary", "aria-label": "What is held" }, this.#lines,
    h("p", { class: "total" }, h("span", {}, "Total"), this.#total));
  #email = h("input", { type: "email", name: "email", required: true, maxlength: 254, autocomplete: "email", inputmode: "email", placeholder: "you@example.com" });
  #pay = h("button", { type: "submit", class: "button primary wide" });
  #extend = h("button", { type: "button", class: "button quiet" }, "Keep it a little longer");
  #release = h("button", { type: "button", class: "button quiet" }, "Give it back");
  #form;
  #outcome = h("section", { class: "outcome" });

  constructor(root, shelf, actions, payment) {
    this.#root = root;
    this.#shelf = shelf;
    this.#actions = actions;
    this.#payment = payment;
    this.#form = this.#makeForm();
    const close = h("button", { type: "button", class: "round close", "aria-label": "Close", onclick: () => actions.close() }, icon("close"));
    root.append(h("header", { class: "panel-head" }, this.#title, this.#countdown.element, close),
      this.#note, h("div", { class: "panel-body" }, this.#outcome, this.#summary, this.#form));
    root.onkeydown = (event) => {
      if (event.key === "Escape") actions.close();
    };
  }

  update(state, now) {
    this.#state = state;
    const id = state.open;
    if (!id) return this.#hide();
    const at = phase(state, id, now);
    const hold = state.holds[id];
    const order = orderOf(state, id);
    const drawn = `${id} ${at} ${state.checkouts[id]?.position ?? ""}`;
    if (drawn !== this.#shown) this.#show(drawn, id, at, hold, order);
    const note = NOTED.has(at) ? state.notes[id] : undefined;
    this.#updateNote(note);
    const total = order?.total ?? note?.total ?? hold?.total;
    if (total) setText(this.#total, money(total));
    if (at === "pay") {
      setText(this.#pay, `Pay ${money(total)}`);
      this.#payment?.prepare?.(total).catch((problem) => this.#updateNote({ kind: "trouble", text: problem.message }));
      this.#countdown.update(hold, remaining(state, hold, now));
    }
  }

  #show(drawn, id, at, hold, order) {
    const first = this.#root.hidden;
    const otherHold = !this.#shown.startsWith(`${id} `);
    this.#shown = drawn;
    if (first) this.#returnTo = document.activeElement;
    this.#root.hidden = false;
    this.#root.dataset.phase = at;
    document.body.classList.add("paying");
    this.#shelf.inert = true;
    setText(this.#title, TITLES[at]);
    const paying = at === "pay";
    this.#form.hidden = !paying;
    this.#countdown.element.hidden = !paying;
    this.#drawLines(order?.lines ?? hold?.lines ?? []);
    this.#outcome.hidden = paying;
    this.#outcome.replaceChildren(...(paying ? [] : outcome(this.#state, id, at, this.#actions)));
    if (otherHold) this.#root.querySelector(".panel-body").scrollTop = 0;
    this.#title.focus({ preventScroll: true });
  }

  #hide() {
    if (this.#root.hidden) return;
    this.#root.hidden = true;
    this.#shown = "";
    document.body.classList.remove("paying");
    this.#shelf.inert = false;
    const back = this.#returnTo?.isConnected ? this.#returnTo : this.#shelf;
    back.focus({ preventScroll: true });
  }

  #drawLines(lines) {
    this.#summary.hidden = lines.length === 0;
    this.#lines.replaceChildren(...lines.map(({ sku, quantity, unit_price: price }) => {
      const entry = this.#state.catalog.get(sku) ?? { title: sku };
      const each = quantity > 1 ? `${quantity} × ${money(price)}` : "";
      const details = [optionsText(entry), each].filter(Boolean).join(" · ");
      return h("li", { "aria-label": `${quantity} × ${fullTitle(entry)}` }, picture(entry),
        h("span", {}, h("strong", {}, entry.title), h("small", { class: "muted" }, details)),
        h("span", {}, money(times(price, quantity))));
    }));
  }

  #updateNote(note) {
    this.#note.hidden = !note;
    if (!note) return setText(this.#note, "");
    this.#note.dataset.kind = note.kind;
    setText(this.#note, note.text);
  }

  #makeForm() {
    const none = h("p", { class: "note" }, "This shop cannot take payments yet.");
    enable(this.#pay, Boolean(this.#payment));
    this.#extend.onclick = () => this.#during(this.#extend, this.#actions.extend);
    this.#release.onclick = () => this.#during(this.#release, this.#actions.release);
    const form = h("form", { class: "pay-form" },
      h("label", { class: "field" }, h("span", {}, "E-mail"), this.#email,
        h("small", { class: "muted" }, "Only for this order.")),
      this.#payment?.element ?? none,
      this.#pay,
      h("div", { class: "quiet-actions" }, this.#extend, this.#release));
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    return form;
  }

  #submit() {
    const { open, holds, notes } = this.#state;
    if (!this.#payment || phase(this.#state, open, Date.now()) !== "pay") return;
    const total = notes[open]?.total ?? holds[open].total;
    this.#actions.pay(open, { total, email: this.#email.value.trim() });
  }

  async #during(button, action) {
    if (button.getAttribute("aria-disabled") === "true") return;
    enable(button, false);
    await action(this.#state.open);
    enable(button, true);
  }
}
