// Says aloud, to those who do not see the page, what matters: not every number that moves.

import { fullTitle, stockWords } from "./catalog.js";
import { setText } from "./dom.js";
import { openHolds, remaining } from "./state.js";

const AT_MOST_EVERY_MS = 2_000;
const MOST_AT_ONCE = 3;
const WARN_AT_MS = 30_000;

/** Writes into a polite live region. */
export class Announcer {
  #region;
  #levels = new Map();
  #warned = new Set();
  #waiting = [];
  #last = 0;
  #place = Infinity; // in line, when it was said last

  constructor(region) {
    this.#region = region;
  }

  update(state, now) {
    this.#watchQueue(state.connection);
    for (const [sku, entry] of state.catalog) this.#watchStock(entry, state.stock.items[sku]);
    for (const hold of openHolds(state, now)) {
      if (remaining(state, hold, now) > WARN_AT_MS || this.#warned.has(hold.expires_at)) continue;
      this.#warned.add(hold.expires_at);
      this.#waiting.push("Half a minute left to pay for what is held for you.");
    }
    if (!this.#waiting.length || now - this.#last < AT_MOST_EVERY_MS) return;
    this.#last = now;
    setText(this.#region, this.#waiting.slice(-MOST_AT_ONCE).join(" "));
    this.#waiting = [];
  }

  /** The first place, then one half as far, and so on: a number a second would be noise. */
  #watchQueue({ status, position }) {
    if (status === "open") this.#place = Infinity;
    if (status !== "queued" || position > this.#place / 2) return;
    this.#place = position;
    const place = position === 1 ? "You are next" : `You are number ${position.toLocaleString()} in line`;
    this.#waiting.push(`The show is full. ${place}. You get in by yourself.`);
  }

  #watchStock(entry, available) {
    const { text, level } = stockWords(available);
    const before = this.#levels.get(entry.sku);
    this.#levels.set(entry.sku, level);
    if (before === undefined || before === level || before === "unknown") return;
    const news = level === "plenty" ? "back in stock" : text.toLowerCase();
    this.#waiting.push(`${fullTitle(entry)}: ${news}.`);
  }
}
