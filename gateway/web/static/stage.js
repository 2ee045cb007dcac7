// The video area: the show's video, or a drawn studio where there is none, with what is said over
// it: live or not, how many watch, the product pinned now, questions to the host, the connection.

import { fullTitle, products, stockWords } from "./catalog.js";
import { enable, flash, h, setText, svg } from "./dom.js";
import { money } from "./money.js";
import { colour, figure, icon, picture } from "./pictures.js";
import { QueuePlace } from "./queue.js";
import { Scenery } from "./scenery.js";
import { offer } from "./state.js";
import { whyStopped } from "./words.js";

/** Fills `root`. `actions` are buy(sku, quantity), open(hold), choose(key), ask(text). */
export class Stage {
  #actions; #scenery;
  #shown = { video: undefined, sku: undefined };
  #backdrop = h("div", { class: "backdrop" });
  #figure = svg("svg", { viewBox: "0 0 48 48", class: "figure" });
  #title = h("h1", { class: "stage-title" });
  #badge = h("span", { class: "badge" });
  #viewers = h("span");
  #viewersPill = h("span", { class: "pill", hidden: true }, icon("eye"), this.#viewers);
  #line = h("p", { class: "line pill", role: "status", hidden: true });
  #curtain = h("div", { class: "curtain", role: "status", hidden: true });
  #queue = new QueuePlace();
  #pinned;
  #asking;

  constructor(root, actions) {
    this.#actions = actions;
    const canvas = h("canvas", { class: "lights" });
    this.#pinned = new Pinned(actions);
    this.#asking = new Asking(actions.ask);
    this.#backdrop.append(canvas, h("div", { class: "arch" }), h("div", { class: "plinth" }), this.#figure);
    root.append(this.#backdrop, h("div", { class: "shade" }),
      h("header", { class: "stage-head" },
        h("div", { class: "pills" }, this.#badge, this.#viewersPill), this.#title, this.#line),
      this.#curtain, this.#queue.element,
      h("div", { class: "stage-foot" }, this.#pinned.element, this.#asking.element));
    this.#scenery = new Scenery(canvas);
  }

  /** Confetti. */
  celebrate() {
    this.#scenery.celebrate();
  }

  update(state, now) {
    const live = state.show?.state === "live";
    this.#scenery.live = live;
    setText(this.#title, state.show?.title ?? "");
    setText(this.#badge, { live: "Live", scheduled: "Soon", ended: "Ended" }[state.show?.state] ?? "");
    this.#badge.className = `badge ${state.show?.state ?? ""}`;
    this.#viewersPill.hidden = !live || state.viewers === null;
    setText(this.#viewers, `${(state.viewers ?? 0).toLocaleString()} watching`);
    this.#updateVideo(state.show?.video);
    this.#updateFigure(state);
    this.#updateLine(state);
    this.#updateCurtain(state);
    this.#queue.update(state.connection);
    this.#pinned.update(state, now);
    this.#asking.element.hidden = !live || state.connection.status === "stopped";
  }

  #updateVideo(url) {
    if (url === this.#shown.video) return;
    this.#shown.video = url;
    this.#backdrop.querySelector("video")?.remove();
    if (!url) return;
    const video = h("video", { src: url, playsinline: true, autoplay: true, loop: true });
    video.muted = true; // the attribute alone does not count once the element exists
    video.onerror = () => video.remove();
    this.#backdrop.append(video);
  }

  #updateFigure(state) {
    const entry = state.catalog.get(state.show?.highlight) ?? state.catalog.values().next().value;
    if (!entry || entry.sku === this.#shown.sku) return;
    this.#shown.sku = entry.sku;
    this.#figure.replaceChildren(figure(entry.title));
    const { hue } = colour(entry);
    this.#scenery.hue = hue;
    this.#backdrop.style.setProperty("--hue", hue);
  }

  #updateLine({ connection, show }) {
    const text = { connecting: "Connecting…", waiting: "Reconnecting…" }[connection.status];
    this.#line.hidden = !text || !show;
    if (text) setText(this.#line, text);
  }

  #updateCurtain({ connection, show }) {
    const said = curtainWords(connection, show);
    this.#curtain.hidden = !said;
    if (!said || this.#curtain.dataset.said === said.title + said.text) return;
    this.#curtain.dataset.said = said.title + said.text;
    const reload = said.reload
      ? h("button", { class: "button light", type: "button", onclick: () => location.reload() }, "Reload")
      : null;
    this.#curtain.replaceChildren(h("strong", {}, said.title), h("p", {}, said.text),
      ...(reload ? [reload] : []));
  }
}

function curtainWords(connection, show) {
  if (connection.status === "queued") return null; // the queue has words of its own
  if (show?.state === "ended") return { title: "The show is over", text: "Thank you for watching." };
  if (connection.status === "stopped") {
    const { text, reload } = whyStopped(connection);
    return { title: "We have to stop here", text, reload };
  }
  if (!show) return { title: "One moment", text: connection.status === "waiting" ? "The shop does not answer yet. We keep trying." : "The show is opening." };
  if (show.state === "scheduled") return { title: "Starts soon", text: startsAt(show.starts_at) };
  return null;
}

function startsAt(time) {
  if (!time) return "Stay here: it begins by itself.";
  const words = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", hour: "numeric", minute: "2-digit" });
  return `${words.format(new Date(time))}. It begins by itself.`;
}

/** The product the host shows now, as a card over the video. */
class Pinned {
  #actions;
  #entry = null;
  #does = {};
  #thumb = h("span", { class: "pinned-thumb" });
  #title = h("strong");
  #price = h("span", { class: "price" });
  #stock = h("span", { class: "stock" });
  #button = h("button", { class: "button primary", type: "button" });
  #refusal = h("p", { class: "refusal", hidden: true }); // read aloud from the product's own card
  element = h("article", { class: "pinned", "aria-label": "Shown right now", hidden: true },
    this.#thumb, h("div", { class: "pinned-text" }, this.#title, h("span", {}, this.#price, this.#stock)), this.#button,
    this.#refusal);

  constructor(actions) {
    this.#actions = actions;
    this.#button.onclick = () => this.#press();
  }

  update(state, now) {
    const sku = state.show?.highlight;
    const entry = state.catalog.get(sku);
    this.element.hidden = !entry || state.show.state === "ended";
    if (!entry) return;
    const group = products([...state.catalog.values()]).find(({ variants }) => variants.includes(entry));
    if (entry !== this.#entry) {
      this.#entry = entry;
      this.#thumb.replaceChildren(picture({ ...entry, image: entry.image ?? group.image }));
      setText(this.#title, entry.title);
      setText(this.#price, money(entry.price));
      flash(this.element);
    }
    this.#updateStock(state.stock.items, group);
    this.#updateButton(state, entry, group, now);
    const refusal = group.variants.length > 1 ? "" : (state.refusals[sku] ?? "");
    this.#refusal.hidden = !refusal;
    setText(this.#refusal, refusal);
  }

  #updateStock(items, { variants }) {
    const known = variants.map(({ sku }) => items[sku]).filter((units) => units !== undefined);
    const left = known.length ? known.reduce((sum, units) => sum + Math.max(0, units), 0) : undefined;
    const { text, level } = stockWords(left);
    this.#stock.dataset.level = level;
    setText(this.#stock, text);
  }

  #updateButton(state, entry, group, now) {
    const several = group.variants.length > 1;
    const does = several ? { label: "Choose", action: "choose" } : offer(state, entry.sku, now);
    this.#does = { ...does, sku: entry.sku, key: group.key };
    setText(this.#button, does.label);
    this.#button.setAttribute("aria-label", `${does.label}: ${several ? entry.title : fullTitle(entry)}`);
    enable(this.#button, does.action !== null);
  }

  #press() {
    const { action, sku, hold, key } = this.#does;
    if (action === "buy") this.#actions.buy(sku, 1);
    if (action === "open") this.#actions.open(hold);
    if (action === "choose") this.#actions.choose(key);
  }
}

/** A question to the host. */
class Asking {
  #ask;
  #busy = false;
  #input = h("input", { type: "text", name: "question", maxlength: 500, placeholder: "Ask the host…", "aria-label": "Ask the host", autocomplete: "off", enterkeyhint: "send" });
  #said = h("p", { class: "asked", role: "status" });
  element = h("form", { class: "asking" },
    h("div", { class: "ask-field" }, this.#input, h("button", { type: "submit", class: "round", "aria-label": "Send your question" }, icon("send"))), this.#said);

  constructor(ask) {
    this.#ask = ask;
    this.element.onsubmit = (event) => {
      event.preventDefault();
      this.#send(this.#input.value.trim());
    };
  }

  async #send(text) {
    if (!text || this.#busy) return;
    this.#busy = true;
    try {
      await this.#ask(text);
      this.#input.value = "";
      setText(this.#said, "Your question is with the host.");
    } catch (problem) {
      setText(this.#said, problem.message);
    }
    this.#busy = false;
    setTimeout(() => setText(this.#said, ""), 6_000);
  }
}
