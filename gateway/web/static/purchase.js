// What a shopper can do: hold, keep, give back, pay, answer the bank, ask. Each deed is one command
// that is safe to repeat, and ends as an event for the state; nothing here is drawn.

import { Refused } from "./connection.js";
import { COMMAND, pause, sleep } from "./retry.js";
import { ENDED_BY_CODE, phase } from "./state.js";
import { UNANSWERED, explain } from "./words.js";

const NOT_NOW = new Set(["rate_limited", "overloaded", "unavailable"]);
const REFUSAL_MS = 15_000; // how long a refusal stays to be read

const UNSETTLED = new Set(["pay", "sending", "queued", "requires_action", "processing"]);
const UNSETTLED_KEY = "holdfast.checkouts";

/**
 * `connection.request` carries commands, `dispatch(event)` changes the state, `state()` reads it,
 * `payment` makes the provider's tokens (sandbox.js or stripe.js), and `memory` is a Storage that
 * survives a reload, so that a payment under way is taken up again.
 */
export class Purchase {
  #connection; #dispatch; #state; #payment; #newKey; #memory; #now;
  #keys = new Map();
  #checkouts; // hold -> the checkout that was sent, until its outcome is known

  constructor({ connection, dispatch, state, payment, newKey, memory, now = Date.now }) {
    this.#connection = connection;
    this.#dispatch = dispatch;
    this.#state = state;
    this.#payment = payment;
    this.#newKey = newKey;
    this.#memory = memory;
    this.#now = now;
    this.#checkouts = recall(memory);
  }

  /** Hold so many of a sku. The key lives until an answer came, so that no tap counts twice. */
  async buy(sku, quantity) {
    const intent = `${sku} ${quantity}`;
    const key = this.#keys.get(intent) ?? this.#newKey();
    this.#keys.set(intent, key);
    this.#dispatch({ type: "buying", sku });
    try {
      const { hold } = await this.#persist("reserve", { key, lines: [{ sku, quantity }] });
      this.#keys.delete(intent);
      this.#dispatch({ type: "bought", sku, hold: hold.id });
    } catch (error) {
      if (error instanceof Refused && !NOT_NOW.has(error.frame.code)) this.#keys.delete(intent);
      this.#dispatch({ type: "refused", sku, text: sentence(error, "reserve") });
      await sleep(REFUSAL_MS);
      this.#dispatch({ type: "forgiven", sku });
    }
  }

  /** Keep a hold longer, as far as the shop allows. */
  async extend(holdId) {
    const before = this.#state().holds[holdId]?.expires_at;
    await this.#change("extend", holdId, ({ hold }) => {
      const kept = Date.parse(hold.expires_at) > Date.parse(before);
      const text = kept ? "Good: you have more time now." : "This is as long as it can be kept.";
      this.#note(holdId, { kind: "info", text });
    });
  }

  /** Give a hold back, so that somebody else can have it. */
  async release(holdId) {
    await this.#change("release", holdId, () => this.#dispatch({ type: "close" }));
  }

  /** Pay for a hold. `total` is what the shopper has seen and agreed to. */
  async pay(holdId, { total, email }) {
    this.#dispatch({ type: "paying", hold: holdId });
    let payment;
    try {
      payment = await this.#payment.token(total);
    } catch (problem) {
      return this.#unpaid(holdId, { kind: "declined", text: problem.message });
    }
    const order = { hold: holdId, expected_total: total, payment, contact: { email } };
    this.#remember(holdId, order);
    return this.#checkout(order);
  }

  /** A checkout frame came, as a reply or as a push: once its outcome is known, forget the command. */
  heard({ hold, state }) {
    if (state === "confirmed" || state === "declined") this.#remember(hold, null);
  }

  /** After a reconnect or a reload: pushes may have been lost, so ask how far each payment is. */
  async resume() {
    for (const [holdId, order] of [...this.#checkouts]) {
      const state = this.#state();
      const at = phase(state, holdId, this.#now());
      if (!UNSETTLED.has(at)) this.#remember(holdId, null);
      if (at === "sending" || !UNSETTLED.has(at)) continue; // the connection sends it again itself
      if (!state.checkouts[holdId]) {
        this.#dispatch({ type: "paying", hold: holdId });
        this.#dispatch({ type: "open", hold: holdId });
      }
      await this.#checkout(order);
    }
  }

  /** The bank's question. `ask` is what a dialog needs to put it: see sandbox.js. */
  async answerBank(holdId, clientSecret, ask) {
    try {
      if (!(await this.#payment.secondStep(clientSecret, ask))) return;
      this.#dispatch({ type: "acted", hold: holdId, clientSecret });
    } catch (problem) {
      this.#note(holdId, { kind: "bank", text: problem.message });
    }
  }

  /** A question to the host. Not sent twice: the host would read it twice. Throws a sentence. */
  async ask(text) {
    try {
      await this.#connection.request("ask", { text }, { resend: false });
    } catch (error) {
      throw new Error(sentence(error, "other"), { cause: error });
    }
  }

  async #checkout(order) {
    try {
      await this.#persist("checkout", order);
    } catch (error) {
      const frame = error.frame ?? {};
      if (frame.code === "completion_in_progress") return; // its outcome comes as a push
      if (ENDED_BY_CODE[frame.code]) this.#dispatch({ type: "ended", hold: order.hold, as: ENDED_BY_CODE[frame.code] });
      const kind = { total_changed: "total_changed", payment_declined: "declined" }[frame.code];
      const text = sentence(error, "checkout");
      this.#unpaid(order.hold, { kind: kind ?? "trouble", text, total: frame.total });
    }
  }

  async #change(type, holdId, done) {
    try {
      done(await this.#persist(type, { hold: holdId }));
    } catch (error) {
      const ended = ENDED_BY_CODE[error.frame?.code];
      if (ended) this.#dispatch({ type: "ended", hold: holdId, as: ended });
      else this.#note(holdId, { kind: "trouble", text: sentence(error, "other") });
    }
  }

  /** Send a command again, unchanged, as long as the answer is "not now". */
  async #persist(type, fields) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#connection.request(type, fields);
      } catch (error) {
        const frame = error.frame ?? {};
        if (!NOT_NOW.has(frame.code) || attempt + 1 >= COMMAND.tries) throw error;
        await sleep(pause(attempt, COMMAND, frame.retry_after_ms));
      }
    }
  }

  #unpaid(holdId, note) {
    this.#remember(holdId, null);
    this.#dispatch({ type: "unpaid", hold: holdId, note });
  }

  #remember(holdId, order) {
    if (order) this.#checkouts.set(holdId, order);
    else if (!this.#checkouts.delete(holdId)) return;
    try {
      this.#memory.setItem(UNSETTLED_KEY, JSON.stringify([...this.#checkouts]));
    } catch {
      // storage is forbidden or full: a reload then shows the form again, which is safe too
    }
  }

  #note(hold, note) {
    this.#dispatch({ type: "note", hold, note });
  }
}

function sentence(error, deed) {
  return error instanceof Refused ? explain(error.frame) : UNANSWERED[deed];
}

function recall(memory) {
  try {
    return new Map(JSON.parse(memory.getItem(UNSETTLED_KEY) ?? "[]"));
  } catch {
    return new Map();
  }
}
