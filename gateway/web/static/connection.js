// One shopper's line to the gateway: admission, the socket, commands with their replies, and coming
// back after every kind of close. It knows nothing of what is drawn.

import { ADMISSION, MOVED, OVERLOADED, QUEUE, RECONNECT, jittered, pause } from "./retry.js";

export const SUBPROTOCOL = "holdfast.v1.json";

/** Every wait and every buffer of a connection; times in milliseconds. */
export const LIMITS = {
  welcome: 10_000, // from opening the socket to `welcome`
  reply: 8_000, // from sending a command to its reply, before the socket is taken for dead
  request: 30_000, // for a command in all, across reconnects
  pending: 16, // commands that may wait for an answer
  refresh: 0.75, // the share of a session's life after which it is prolonged
  refreshLeast: 1_000, // between two times, also when little is left of the session
};

/** The gateway answered a command with an error; `frame` holds the code and the facts. */
export class Refused extends Error {
  constructor(frame) {
    super(frame.message);
    this.frame = frame;
  }
}

/** No answer came, so whether the command had an effect is unknown. */
export class Unanswered extends Error {}

/** What a close code tells us to do: `reconnect`, `ticket` (a new one, then reconnect) or `stop`. */
export function afterClose(code) {
  if (code === 4500 || code === 4001) return "ticket";
  return code >= 4500 && code <= 4999 ? "stop" : "reconnect";
}

/**
 * `admit(queueToken)` fetches a ticket, `open(url, subprotocol)` makes a WebSocket. `onFrame(frame)`
 * hears every frame, replies too; `onStatus(status, facts)` hears `connecting`, `queued`
 * {position}, `open`, `waiting`, and `stopped` {code}, after which nothing follows: a close code, or the
 * code of the error that refused a ticket. A move to another gateway, because this one goes away, is
 * no status: the line stays `open` unless the other does not let us in.
 */
export class Connection {
  #admit; #open; #show; #onFrame; #onStatus; #random;
  #socket = null;
  #live = false;
  #draining = false; // this gateway has said that it goes away
  #moving = false; // it has sent us to another, which is no trouble
  #stopped = false;
  #ticket = null; // for the next socket: each ticket opens one, and the welcome brings the next
  #lastId = 0;
  #pending = new Map();
  #resume = undefined;
  #failures = 0;
  #badTokens = 0;
  #wakeUp = () => {};
  #refreshTimer = 0;
  #expiresAt = 0; // when the session ends, by our clock
  #abandon = () => {};

  constructor({ show, admit, open, onFrame, onStatus, random = Math.random }) {
    this.#show = show;
    this.#admit = admit;
    this.#open = open;
    this.#onFrame = onFrame;
    this.#onStatus = onStatus;
    this.#random = random;
  }

  /** Connect, and keep connected until the gateway says stop or `stop()` is called. */
  async run() {
    while (!this.#stopped) {
      const ticket = this.#ticket ?? (await this.#admission());
      if (!ticket || this.#stopped) return;
      this.#ticket = ticket;
      if (!this.#moving) this.#onStatus("connecting", {});
      const { code, welcomed } = await this.#session(ticket);
      if (this.#stopped) return;
      this.#moving = welcomed && (code === 1012 || this.#draining);
      await this.#recover(code);
    }
  }

  /**
   * Send a command and wait for its reply. While the line is down it waits, and what was sent
   * without an answer is sent again, unless `resend` is false. Throws Refused or Unanswered.
   */
  request(type, fields, { resend = true } = {}) {
    if (this.#stopped || this.#pending.size >= LIMITS.pending) {
      return Promise.reject(new Unanswered("The line is closed."));
    }
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      const command = { frame: { type, id, ...fields }, resend, resolve, reject, replyTimer: 0 };
      command.requestTimer = setTimeout(() => this.#giveUp(id), LIMITS.request);
      this.#pending.set(id, command);
      if (this.#live) this.#send(command);
    });
  }

  /** The network is back, or the page is looked at again: do not wait any longer. */
  wake() {
    this.#wakeUp();
  }

  /** Close for good. */
  stop() {
    this.#end({ code: 1000 });
    this.#socket?.close(1000);
  }

  async #admission() {
    let queueToken;
    let failures = 0;
    while (!this.#stopped) {
      let asked = 0;
      try {
        const answer = await this.#admit(queueToken);
        if (answer.token) return answer;
        queueToken = answer.queue_token;
        asked = answer.retry_after_ms ?? 0;
        failures = 0;
        this.#onStatus("queued", { position: answer.position });
      } catch (error) {
        if (queueToken && (error.status === 401 || error.status === 403)) {
          queueToken = undefined; // the place is gone: to the end of the line
          continue;
        }
        if (error.retryable === false) return this.#end({ code: error.code });
        asked = error.retryAfterMs ?? 0;
        failures += 1;
        if (!queueToken) this.#onStatus("waiting", {}); // else the place that is shown stays ours
      }
      await this.#wait(queueToken ? asked + jittered(failures, QUEUE, this.#random)
        : pause(failures, ADMISSION, asked, this.#random));
    }
    return null;
  }

  /** One socket from opening to closing; resolves with the close code, and whether we were in. */
  #session(ticket) {
    return new Promise((resolve) => {
      let socket;
      try {
        socket = this.#open(ticket.url, SUBPROTOCOL);
      } catch {
        return resolve({ code: 1006, welcomed: false }); // an address this page may not use
      }
      this.#socket = socket;
      this.#draining = false;
      const deadline = setTimeout(() => this.#abandon(), LIMITS.welcome);
      const closed = (code) => {
        clearTimeout(deadline);
        if (this.#socket !== socket) return;
        this.#socket = null;
        const welcomed = this.#live;
        this.#hangUp();
        resolve({ code, welcomed });
      };
      socket.onopen = () => this.#connect(socket, ticket.token);
      socket.onmessage = ({ data }) => {
        if (this.#socket !== socket) return;
        const frame = JSON.parse(data);
        if (frame.type === "welcome") clearTimeout(deadline);
        this.#receive(frame);
      };
      socket.onclose = ({ code }) => closed(code);
      // A dead network may keep `close` waiting for minutes: leave at once instead.
      this.#abandon = () => {
        socket.close(4000);
        closed(1006);
      };
    });
  }

  #connect(socket, token) {
    const frame = { type: "connect", id: ++this.#lastId, token, show: this.#show };
    socket.send(JSON.stringify(this.#resume ? { ...frame, resume: this.#resume } : frame));
  }

  #receive(frame) {
    if (frame.type === "welcome") this.#welcomed(frame);
    else if (frame.type === "drain") this.#draining = true;
    else if (frame.type === "stock") {
      if (frame.epoch !== this.#resume?.epoch) return this.#abandon(); // ask for a snapshot
      this.#resume.version = Math.max(frame.version, this.#resume.version);
    } else if (frame.type === "catalog") {
      // Ours is not the tag's any more, and that may be right again before we come back.
      delete this.#resume.catalog_tag;
    }
    this.#onFrame(frame);
    const command = this.#pending.get(frame.id);
    if (!command) return;
    this.#forget(frame.id);
    if (frame.type === "error") command.reject(new Refused(frame));
    else command.resolve(frame);
  }

  #welcomed(frame) {
    this.#live = true;
    this.#moving = false;
    this.#failures = 0;
    this.#badTokens = 0;
    const { epoch, version } = frame.stock;
    this.#resume = { epoch, version, catalog_tag: frame.catalog_tag };
    this.#renewed(frame);
    this.#onStatus("open", {});
    for (const command of [...this.#pending.values()]) this.#send(command);
  }

  #send(command) {
    command.sent = true;
    command.replyTimer = setTimeout(() => this.#abandon(), LIMITS.reply);
    this.#socket.send(JSON.stringify(command.frame));
  }

  #hangUp() {
    this.#live = false;
    clearTimeout(this.#refreshTimer);
    for (const [id, command] of [...this.#pending]) {
      clearTimeout(command.replyTimer);
      if (command.sent && !command.resend) this.#giveUp(id);
    }
  }

  async #recover(code) {
    const next = afterClose(code);
    if (next === "stop" || (code === 4500 && this.#badTokens++ > 0)) return this.#end({ code });
    if (next === "ticket") this.#ticket = null;
    // Who does not know our ticket may be another, whose epochs and versions are not those we know.
    if (code === 4500) this.#resume = undefined;
    if (this.#moving) return this.#wait(this.#random() * MOVED);
    this.#onStatus("waiting", {});
    const limits = code === 1013 ? OVERLOADED : RECONNECT;
    await this.#wait(jittered(this.#failures++, limits, this.#random));
    // A ticket that never led to a welcome may be for a process that is gone.
    if (this.#failures > 3) this.#ticket = null;
  }

  /** We are in for longer, and have what brings us in again: nobody needs to be asked for a ticket. */
  #renewed({ token, token_ttl_s: ttl }) {
    this.#ticket = { ...this.#ticket, token };
    this.#expiresAt = Date.now() + ttl * 1000;
    this.#scheduleRefresh(ttl * 1000);
  }

  /** Prolong the session when much of the life that is left of it is over. */
  #scheduleRefresh(ttlMs) {
    clearTimeout(this.#refreshTimer);
    const share = LIMITS.refresh * (0.9 + 0.1 * this.#random()); // not everybody at once
    const wait = Math.max(LIMITS.refreshLeast, ttlMs * share);
    this.#refreshTimer = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    try {
      // Only as long as this socket lives: the next brings a token of its own.
      this.#renewed(await this.request("refresh", { token: this.#ticket.token }, { resend: false }));
    } catch {
      // The session still lives for a while; when it ends, 4001 has us fetch a new ticket.
      const left = this.#expiresAt - Date.now();
      if (this.#live && left > LIMITS.reply) this.#scheduleRefresh(left);
    }
  }

  #giveUp(id) {
    const command = this.#pending.get(id);
    if (!command) return;
    this.#forget(id);
    command.reject(new Unanswered("No answer came."));
  }

  #forget(id) {
    const command = this.#pending.get(id);
    clearTimeout(command.requestTimer);
    clearTimeout(command.replyTimer);
    this.#pending.delete(id);
  }

  #end(facts) {
    this.#stopped = true;
    clearTimeout(this.#refreshTimer);
    for (const id of [...this.#pending.keys()]) this.#giveUp(id);
    this.#onStatus("stopped", facts);
    this.#wakeUp();
    return null;
  }

  #wait(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
