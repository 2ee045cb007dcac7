// What the page knows, and how each frame and each deed of the shopper changes it. Pure: an event
// and a state in, a new state out; the time is part of the event.

/** Before anything is known. */
export const initial = Object.freeze({
  connection: { status: "connecting" },
  clockOffset: 0, // the gateway's clock minus ours, in milliseconds
  show: null,
  catalog: new Map(), // sku -> entry, in the catalogue's order
  stock: { epoch: null, version: -1, items: {} },
  viewers: null,
  holds: {}, // id -> {…hold, version}
  orders: {}, // id -> order
  checkouts: {}, // hold id -> {state, clientSecret, position, etaS, acted}
  notes: {}, // hold id -> {kind, text, total?}: what the shopper should read beside that hold
  buying: {}, // sku -> true while its reservation is under way
  refusals: {}, // sku -> why the last Buy did not work
  open: null, // the hold shown in the panel
});

const UNDER_WAY = new Set(["sending", "queued", "requires_action", "processing"]);
/** How long after its deadline a hold may be drawn as alive while the gateway has not spoken. */
const EXPIRY_GRACE_MS = 3_000;

/** The close code, and the error, that say the show is over. */
const OVER = new Set([4510, "show_not_live"]);
/** Codes that say how a hold ended. */
export const ENDED_BY_CODE = {
  hold_expired: "expired",
  hold_already_released: "released",
  hold_already_committed: "committed",
};

/** The next state. Events are listed in FRAMES and DEEDS; unknown ones change nothing. */
export function reduce(state, event) {
  if (event.type !== "frame") return DEEDS[event.type]?.(state, event) ?? state;
  return FRAMES[event.frame.type]?.(state, event.frame, event.at) ?? state;
}

const FRAMES = {
  welcome: welcomed,

  stock(state, { epoch, version, items }) {
    if (epoch !== state.stock.epoch || version <= state.stock.version) return state;
    return { ...state, stock: { epoch, version, items: { ...state.stock.items, ...items } } };
  },

  catalog(state, { items }) {
    const catalog = new Map(state.catalog);
    for (const entry of items) catalog.set(entry.sku, entry);
    return { ...state, catalog };
  },

  // `sku` is left out when nothing is pinned any more.
  highlight: (state, { sku = null }) => ({ ...state, show: { ...state.show, highlight: sku } }),

  show: (state, frame) => ({ ...state, show: { ...state.show, state: frame.state } }),

  viewers: (state, { count }) => ({ ...state, viewers: count }),

  hold: (state, { hold, version, reason }) => withHold(state, { ...hold, version, reason }),

  order: (state, { order }) => withOrder(state, order),

  checkout(state, frame) {
    let next = frame.order ? withOrder(state, frame.order) : state;
    const hold = next.holds[frame.hold];
    const ended = ENDED_BY_CODE[frame.code];
    if (hold && ended) next = withHold(next, { ...hold, state: ended });
    const before = state.checkouts[frame.hold];
    const checkout = {
      state: frame.state,
      clientSecret: frame.client_secret,
      position: frame.position,
      etaS: frame.eta_s,
      acted: before?.acted,
    };
    // The shopper has answered the bank; a late copy of its question must not ask again.
    if (checkout.state === "requires_action" && before?.acted === frame.client_secret) {
      checkout.state = "processing";
    }
    const notes = { ...state.notes };
    delete notes[frame.hold];
    if (frame.state === "declined") notes[frame.hold] = declined(frame.message);
    return { ...next, notes, checkouts: { ...state.checkouts, [frame.hold]: checkout } };
  },
};

const DEEDS = {
  status: (state, { status, ...facts }) => ({
    ...state,
    connection: { status, ...facts, ...wayInLine(state.connection, facts.position) },
    show: OVER.has(facts.code) ? { ...state.show, state: "ended" } : state.show,
  }),

  buying: (state, { sku }) => ({
    ...state,
    buying: { ...state.buying, [sku]: true },
    refusals: without(state.refusals, sku),
  }),

  bought: (state, { sku, hold }) => ({
    ...state,
    buying: without(state.buying, sku),
    open: hold,
  }),

  refused: (state, { sku, text }) => ({
    ...state,
    buying: without(state.buying, sku),
    refusals: { ...state.refusals, [sku]: text },
  }),

  forgiven: (state, { sku }) => ({ ...state, refusals: without(state.refusals, sku) }),

  open: (state, { hold }) => ({ ...state, open: hold }),

  close: (state) => ({ ...state, open: null }),

  paying: (state, { hold }) => ({
    ...state,
    notes: without(state.notes, hold),
    checkouts: { ...state.checkouts, [hold]: { state: "sending" } },
  }),

  // The checkout did not begin: back to the form, with the reason.
  unpaid: (state, { hold, note }) => ({
    ...state,
    notes: { ...state.notes, [hold]: note },
    checkouts: without(state.checkouts, hold),
  }),

  // The shopper answered the bank's question that `clientSecret` stands for.
  acted: (state, { hold, clientSecret }) => ({
    ...state,
    checkouts: {
      ...state.checkouts,
      [hold]: { ...state.checkouts[hold], state: "processing", acted: clientSecret },
    },
  }),

  note: (state, { hold, note }) => ({ ...state, notes: { ...state.notes, [hold]: note } }),

  // The gateway says how the hold ended before its push came.
  ended: (state, { hold, as }) =>
    state.holds[hold] ? withHold(state, { ...state.holds[hold], state: as }) : state,
};

/** Where in line we began, so that the way done can be shown. */
function wayInLine({ from = 0 }, position) {
  return position ? { from: Math.max(from, position) } : {};
}

function welcomed(state, frame, at) {
  const { catalog, stock } = frame;
  let next = {
    ...state,
    clockOffset: Date.parse(frame.now) - at,
    show: frame.show,
    // What we said we have is not sent again.
    catalog: catalog ? new Map(catalog.map((entry) => [entry.sku, entry])) : state.catalog,
    stock: isOurs(state.stock, stock) ? state.stock : stock,
  };
  for (const order of frame.orders) next = withOrder(next, order);
  const { version } = stock;
  for (const hold of frame.holds) next = withHold(next, { ...hold, version });
  const alive = new Set(frame.holds.map((hold) => hold.id));
  for (const hold of Object.values(state.holds)) {
    if (hold.state !== "active" || alive.has(hold.id)) continue;
    const ended = orderOf(next, hold.id) ? "committed" : "expired"; // while we were away
    next = withHold(next, { ...hold, version, state: ended });
  }
  return next;
}

/** Whether the gateway has found that we know the stock as it is. */
function isOurs(known, { epoch, version, items }) {
  return epoch === known.epoch && version === known.version && !Object.keys(items).length;
}

function withHold(state, hold) {
  const known = state.holds[hold.id];
  if (known && (known.version > hold.version || (known.state !== "active" && hold.state === "active"))) {
    return state;
  }
  return { ...state, holds: { ...state.holds, [hold.id]: hold } };
}

function withOrder(state, order) {
  const known = state.orders[order.id];
  if (known && known.order_version > order.order_version) return state;
  return { ...state, orders: { ...state.orders, [order.id]: order } };
}

function without(object, key) {
  const { [key]: _gone, ...rest } = object;
  return rest;
}

function declined(message) {
  return { kind: "declined", text: message || "Your bank said no to this card. Nothing was charged." };
}

/** The gateway's time now, in milliseconds, from ours. */
export function serverNow(state, now) {
  return now + state.clockOffset;
}

/** Milliseconds until a hold lapses, by the gateway's clock; negative when it should have. */
export function remaining(state, hold, now) {
  return Date.parse(hold.expires_at) - serverNow(state, now);
}

/** The order a hold became, if it did. */
export function orderOf(state, holdId) {
  return Object.values(state.orders).find((order) => order.hold === holdId);
}

/**
 * Where a purchase stands: `pay`, `sending`, `queued`, `requires_action`, `processing`,
 * `confirmed`, `canceled`, `expired`, `released`, `lost` when the shop could not keep it, or `gone`
 * when nothing is known of it.
 */
export function phase(state, holdId, now) {
  const order = orderOf(state, holdId);
  if (order) return orderPhase(order);
  const hold = state.holds[holdId];
  if (!hold) return "gone";
  if (hold.state === "committed") return "processing"; // its order is about to come
  if (hold.state !== "active") return hold.reason ?? hold.state;
  const checkout = state.checkouts[holdId]?.state;
  if (UNDER_WAY.has(checkout)) return checkout;
  return remaining(state, hold, now) < -EXPIRY_GRACE_MS ? "expired" : "pay";
}

/** The same for an order: `confirmed` (also when part of it was refunded), `canceled`, or `processing`. */
export function orderPhase(order) {
  if (order.state === "canceled" || order.state === "refunded") return "canceled";
  return order.state === "processing" ? "processing" : "confirmed";
}

/** Holds that still wait for the shopper or the bank, the one that lapses first in front. */
export function openHolds(state, now) {
  const settled = new Set(["confirmed", "canceled", "expired", "released", "lost"]);
  return Object.values(state.holds)
    .filter((hold) => !settled.has(phase(state, hold.id, now)))
    .sort((a, b) => a.expires_at.localeCompare(b.expires_at));
}

/** What the Buy button of a variant does now: `{label, action, hold?}`; no action, no press. */
export function offer(state, sku, now) {
  const held = openHolds(state, now).find((hold) => hold.lines.some((line) => line.sku === sku));
  if (held) return { label: "Pay now", action: "open", hold: held.id };
  if (state.buying[sku]) return { label: "Holding…", action: null };
  if (state.show?.state === "ended") return { label: "Show over", action: null };
  if ((state.stock.items[sku] ?? 0) <= 0) return { label: "Sold out", action: null };
  if (state.show?.state === "scheduled") return { label: "Soon", action: null };
  if (state.connection.status === "stopped") return { label: "Buy", action: null };
  return { label: "Buy", action: "buy" };
}
