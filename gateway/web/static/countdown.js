// The time a hold has left, as a ring that empties and as minutes and seconds.

import { h, setText, svg } from "./dom.js";
import { clock } from "./words.js";

const RADIUS = 15;
const AROUND = 2 * Math.PI * RADIUS;
const URGENT_MS = 30_000;

/** Shows milliseconds; the ring is full when a deadline is first seen. */
export class Countdown {
  #deadline = "";
  #full = 1;
  #ring = svg("circle", { class: "ring", cx: 18, cy: 18, r: RADIUS, "stroke-dasharray": AROUND });
  #text = h("span", { role: "timer", "aria-live": "off" });
  element = h("div", { class: "countdown", title: "Time left to pay" },
    svg("svg", { viewBox: "0 0 36 36", "aria-hidden": "true" }, svg("circle", { class: "track", cx: 18, cy: 18, r: RADIUS }), this.#ring),
    this.#text);

  update(hold, left) {
    if (`${hold.id} ${hold.expires_at}` !== this.#deadline) {
      this.#deadline = `${hold.id} ${hold.expires_at}`;
      this.#full = Math.max(1, left);
    }
    const share = Math.min(1, Math.max(0, left / this.#full));
    this.#ring.setAttribute("stroke-dashoffset", String(AROUND * (1 - share)));
    this.element.classList.toggle("urgent", left < URGENT_MS);
    setText(this.#text, clock(left));
  }
}
