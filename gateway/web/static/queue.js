// What is shown to those who wait before a full show: their place, and how much of the way is done.

import { h, setText } from "./dom.js";

const TITLE = document.title;

/** Fills a curtain; `update` takes the connection of the state. */
export class QueuePlace {
  #label = h("p", { class: "queue-label" });
  #number = h("strong", { class: "queue-number" });
  #done = h("span");
  #text = h("p", {}, "You get in by yourself. Please keep this page open and in sight.");
  element = h("div", { class: "queue", hidden: true }, h("p", { class: "pill" }, "The show is full"),
    this.#label, this.#number, h("p", { class: "queue-label" }, "in line"), h("div", { class: "queue-way", "aria-hidden": "true" }, this.#done), this.#text);

  update({ status, position, from }) {
    this.element.hidden = status !== "queued";
    document.title = status === "queued" ? `${short(position)} – ${TITLE}` : TITLE;
    if (status !== "queued") return;
    const next = position === 1;
    setText(this.#label, next ? "You are" : "You are number");
    setText(this.#number, next ? "next" : position.toLocaleString());
    // Never empty, so that it is seen to be a bar, and never full before we are in.
    this.#done.style.width = `${4 + 92 * (1 - (position - 1) / Math.max(1, from))}%`;
  }
}

/** The title of a tab that may be out of sight. */
function short(position) {
  return position === 1 ? "You are next" : `Number ${position.toLocaleString()} in line`;
}
