// The list of products: what each costs, how many are left this second, and its Buy button.

import { fullTitle, mostAtOnce, options, optionsText, products, stockWords } from "./catalog.js";
import { enable, flash, h, setText } from "./dom.js";
import { money, saving } from "./money.js";
import { picture } from "./pictures.js";
import { offer } from "./state.js";
import { count } from "./words.js";

const MOST_CHIPS = 6; // above it the variants become a drop-down list

/** Fills a list. `actions` are buy(sku, quantity), open(hold) and redraw(). */
export class Products {
  #list; #counter; #actions;
  #catalog = null;
  #cards = new Map();

  constructor(list, counter, actions) {
    this.#list = list;
    this.#counter = counter;
    this.#actions = actions;
  }

  update(state, now) {
    if (state.show && state.catalog !== this.#catalog) this.#rebuild(state.catalog);
    for (const card of this.#cards.values()) card.update(state, now);
  }

  /** Bring a product into view and put the focus on its options. */
  choose(key) {
    this.#cards.get(key)?.reveal();
  }

  #rebuild(catalog) {
    this.#catalog = catalog;
    const before = this.#cards;
    this.#cards = new Map();
    for (const product of products([...catalog.values()])) {
      const known = before.get(product.key);
      const same = known && JSON.stringify(known.product) === JSON.stringify(product);
      this.#cards.set(product.key, same ? known : new Card(product, this.#actions));
    }
    this.#list.replaceChildren(...[...this.#cards.values()].map((card) => card.element));
    setText(this.#counter, this.#cards.size ? count(this.#cards.size, "product") : "");
  }
}

let cards = 0;

class Card {
  #actions; #entry; #does = {};
  #preselected = false;
  #quantity = 1;
  #most = 1;
  #picture = h("span", { class: "picture-slot" });
  #pictured = null;
  #price = h("span", { class: "price" });
  #before = h("s", { class: "before" });
  #saving = h("span", { class: "saving" });
  #stock = h("span", { class: "stock" });
  #limit = h("span", { class: "limit muted" });
  #refusal = h("p", { class: "refusal", role: "alert", hidden: true });
  #count = h("output", { class: "count" }, "1");
  #less = h("button", { type: "button", class: "step", "aria-label": "One less" }, "−");
  #more = h("button", { type: "button", class: "step", "aria-label": "One more" }, "+");
  #stepper = h("div", { class: "stepper", role: "group" }, this.#less, this.#count, this.#more);
  #button = h("button", { type: "button", class: "button primary buy" });

  constructor(product, actions) {
    this.product = product;
    this.#actions = actions;
    this.#entry = product.variants[0];
    this.#less.onclick = () => this.#step(-1);
    this.#more.onclick = () => this.#step(+1);
    this.#button.onclick = () => this.#press();
    this.#stepper.setAttribute("aria-label", `Quantity of ${product.title}`);
    this.element = h("li", { class: "product", "data-key": product.key },
      this.#picture,
      h("div", { class: "product-body" },
        h("div", { class: "product-head" }, h("h3", {}, product.title), this.#stock),
        h("p", { class: "prices" }, this.#price, this.#before, this.#saving, this.#limit),
        this.#description(),
        this.#options(),
        h("div", { class: "product-foot" }, this.#stepper, this.#button),
        this.#refusal));
  }

  update(state, now) {
    if (!this.#preselected) this.#preselect(state.stock.items);
    const { sku, price, compare_at: before, limit_per_shopper: limit } = this.#entry;
    const available = state.stock.items[sku];
    this.element.dataset.sku = sku;
    this.#updatePicture();
    this.element.classList.toggle("pinned-now", this.product.variants.some((entry) => entry.sku === state.show?.highlight));
    setText(this.#price, money(price));
    const percent = saving(price, before);
    setText(this.#before, percent ? money(before) : "");
    setText(this.#saving, percent ? `−${percent} %` : "");
    setText(this.#limit, limit ? `${limit} per person` : "");
    this.#updateStock(available);
    this.#updateChoices(state.stock.items);
    this.element.classList.toggle("sold-out", this.product.variants.every((entry) => state.stock.items[entry.sku] <= 0));
    this.#updateButton(state, now);
    this.#most = mostAtOnce(this.#entry, available);
    this.#stepper.hidden = this.#most < 2 || this.#does.action !== "buy";
    this.#setQuantity(Math.min(this.#quantity, this.#most));
    const refusal = state.refusals[sku] ?? "";
    this.#refusal.hidden = !refusal;
    setText(this.#refusal, refusal);
  }

  reveal() {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.element.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
    const control = this.element.querySelector("input:checked, select") ?? this.#button;
    control.focus({ preventScroll: true });
    flash(this.element);
  }

  #updatePicture() {
    if (this.#pictured === this.#entry) return;
    this.#pictured = this.#entry;
    this.#picture.replaceChildren(picture({ ...this.#entry, image: this.#entry.image ?? this.product.image }));
  }

  #updateStock(available) {
    const { text, level } = stockWords(available);
    const first = this.#stock.dataset.sku !== this.#entry.sku;
    this.#stock.dataset.level = level;
    this.#stock.dataset.sku = this.#entry.sku;
    if (setText(this.#stock, text) && !first) flash(this.#stock);
  }

  #updateButton(state, now) {
    const does = offer(state, this.#entry.sku, now);
    this.#does = does;
    setText(this.#button, does.label);
    this.#button.setAttribute("aria-label", `${does.label}: ${fullTitle(this.#entry)}`);
    this.#button.dataset.action = does.action ?? "none";
    enable(this.#button, does.action !== null);
  }

  #updateChoices(items) {
    for (const choice of this.element.querySelectorAll("[data-variant]")) {
      const gone = (items[choice.dataset.variant] ?? 1) <= 0;
      choice.classList.toggle("gone", gone);
      if (choice.tagName === "OPTION") setText(choice, choice.dataset.name + (gone ? " (sold out)" : ""));
    }
  }

  #description() {
    const text = this.product.variants.find(({ description }) => description)?.description;
    return text ? h("p", { class: "muted description" }, text) : null;
  }

  #options() {
    const { variants, optionName, key } = this.product;
    if (variants.length > MOST_CHIPS) return this.#dropDown();
    if (variants.length > 1) {
      const group = `options-${++cards}`;
      const chips = variants.map((entry) => h("label", { class: "chip", "data-variant": entry.sku },
        h("input", { type: "radio", class: "visually-hidden", name: group, value: entry.sku, checked: entry === this.#entry, onchange: () => this.#select(entry) }),
        h("span", {}, optionsText(entry))));
      return h("fieldset", { class: "chips", "data-options": key }, h("legend", { class: "visually-hidden" }, optionName), ...chips);
    }
    const fixed = options(variants[0]).map(([name, value]) => `${name}: ${value}`).join(" · ");
    return fixed ? h("p", { class: "muted fixed-options" }, fixed) : null;
  }

  #dropDown() {
    const { variants, optionName } = this.product;
    const choices = variants.map((entry) => h("option", { value: entry.sku, "data-variant": entry.sku, "data-name": optionsText(entry) }, optionsText(entry)));
    const select = h("select", { "aria-label": optionName }, ...choices);
    select.onchange = () => this.#select(variants.find((entry) => entry.sku === select.value));
    return select;
  }

  /** Begin with the first variant that can be had; later only the shopper changes it. */
  #preselect(items) {
    this.#preselected = true;
    const entry = this.product.variants.find(({ sku }) => items[sku] > 0) ?? this.#entry;
    const choice = this.element.querySelector(`[value="${CSS.escape(entry.sku)}"]`);
    if (choice) choice[choice.tagName === "OPTION" ? "selected" : "checked"] = true;
    this.#entry = entry;
  }

  #select(entry) {
    this.#entry = entry;
    this.#actions.redraw();
  }

  #step(by) {
    this.#setQuantity(Math.min(this.#most, Math.max(1, this.#quantity + by)));
  }

  #setQuantity(quantity) {
    this.#quantity = quantity;
    setText(this.#count, String(quantity));
    enable(this.#less, quantity > 1);
    enable(this.#more, quantity < this.#most);
  }

  #press() {
    if (this.#does.action === "buy") this.#actions.buy(this.#entry.sku, this.#quantity);
    if (this.#does.action === "open") this.#actions.open(this.#does.hold);
  }
}
