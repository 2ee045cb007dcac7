// The page at `/`: joins the connection, the state and what is drawn.

import { Announcer } from "./announcer.js";
import { askBank } from "./bank.js";
import { Connection } from "./connection.js";
import { Panel } from "./panel.js";
import { Products } from "./products.js";
import { Purchase } from "./purchase.js";
import { RECONNECT, jittered, sleep } from "./retry.js";
import { SandboxPayment } from "./sandbox.js";
import { Stage } from "./stage.js";
import { initial, openHolds, phase, reduce } from "./state.js";
import { StripePayment } from "./stripe.js";
import { fetchTicket, shopperId } from "./tickets.js";
import { Yours } from "./yours.js";

const TICK_MS = 250;

/** Start the page for one show. */
function start({ show, payment, element }) {
  let state = initial;
  let drawing = false;
  const views = [];

  const draw = () => {
    drawing = false;
    for (const view of views) view.update(state, Date.now());
  };
  const redraw = () => {
    if (!drawing) requestAnimationFrame(draw);
    drawing = true;
  };
  const dispatch = (event) => {
    const before = state;
    state = reduce(state, event);
    if (state !== before) redraw();
    react(before);
  };

  const shopper = shopperId(storage(() => localStorage));
  const connection = new Connection({
    show,
    admit: (queueToken) => fetchTicket(show, shopper, queueToken),
    // Behind a proxy that ends TLS without saying so, the ticket names a `ws:` address.
    open: (url, subprotocol) =>
      new WebSocket(location.protocol === "https:" ? url.replace(/^ws:/, "wss:") : url, subprotocol),
    onFrame: (frame) => {
      dispatch({ type: "frame", frame, at: Date.now() });
      if (frame.type === "checkout") purchase.heard(frame);
      if (frame.type === "welcome") purchase.resume();
    },
    onStatus: (status, facts) => dispatch({ type: "status", status, ...facts }),
  });
  const purchase = new Purchase({
    connection, dispatch, payment, state: () => state,
    newKey: () => crypto.randomUUID(), memory: storage(() => sessionStorage),
  });

  const actions = {
    buy: (sku, quantity) => purchase.buy(sku, quantity),
    open: (hold) => dispatch({ type: "open", hold }),
    close: () => dispatch({ type: "close" }),
    choose: (key) => products.choose(key),
    ask: (text) => purchase.ask(text),
    pay: (hold, form) => purchase.pay(hold, form),
    extend: (hold) => purchase.extend(hold),
    release: (hold) => purchase.release(hold),
    answer: (hold) => answerBank(hold),
    redraw,
  };
  const stage = new Stage(element("stage"), actions);
  const products = new Products(element("products"), element("products-count"), actions);
  const panel = new Panel(element("panel"), element("shelf"), actions, payment);
  const yours = new Yours(element("yours"), actions.open);
  views.push(stage, products, panel, yours, new Announcer(element("polite")));

  /** What a change sets off beyond being drawn: the bank's question, and joy. */
  function react(before) {
    const id = state.open;
    if (!id) return;
    const [was, is] = [before, state].map((at) => phase(at, id, Date.now()));
    if (was === is) return;
    if (is === "requires_action") answerBank(id);
    if (is === "confirmed" && before.open === id) stage.celebrate();
  }

  function answerBank(hold) {
    const { clientSecret } = state.checkouts[hold];
    const total = state.holds[hold].total;
    if (element("bank").open) return;
    purchase.answerBank(hold, clientSecret, () => askBank(element("bank"), total));
  }

  setInterval(() => openHolds(state, Date.now()).length && redraw(), TICK_MS);
  addEventListener("online", () => connection.wake());
  document.addEventListener("visibilitychange", () => document.hidden || connection.wake());
  redraw();
  connection.run();
}

/** What the gateway says about this page; asked for until it answers. */
async function configuration() {
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await fetch("./config.json", { headers: { Accept: "application/json" } });
      if (response.ok) return await response.json();
    } catch {
      // nobody answers yet
    }
    await sleep(jittered(attempt, RECONNECT));
  }
}

/** A Storage, or something that forgets where the browser forbids it. */
function storage(reach) {
  try {
    return reach();
  } catch {
    return { getItem: () => null, setItem: () => {} };
  }
}

function paymentOf({ sandbox_url: sandbox, publishable_key: key }) {
  if (sandbox) return new SandboxPayment(sandbox);
  return key ? new StripePayment(key) : null;
}

const config = await configuration();
start({
  show: config.show,
  payment: paymentOf(config),
  element: (id) => document.getElementById(id),
});
