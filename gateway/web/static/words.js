// What went wrong, in plain words: what happened, whether money moved, and what to do next.

import { money } from "./money.js";

const SORRY = "Something went wrong on our side, and nothing was charged. Please try again.";

const NOT_NOW = {
  frozen: "One moment: the shop is making sure of what is left. What you hold is kept for you if it can be. Please try again.",
  paused: "Checkout is paused for a moment, and nothing is lost. Please try again in a few seconds.",
};

const SENTENCES = {
  sold_out: ({ available }) =>
    available > 0
      ? `Only ${available} left, so we could not hold that many. Try a smaller quantity.`
      : "Sold out: someone was a moment faster. If one comes back, the button wakes up by itself.",
  limit_exceeded: ({ limit, sku }) =>
    sku
      ? `The shop allows ${limit} per person, and you have reached that.`
      : "You are holding as many things as one person can. Pay for one or give it back first.",
  show_not_live: ({ state }) =>
    state === "ended" ? "The show is over, so nothing can be bought any more." : "The show has not started yet. You can buy as soon as it does.",
  hold_expired: () => "The time ran out and your item went back on sale. Nothing was charged. You can try to get it again.",
  hold_already_released: () => "You gave this back already.",
  hold_already_committed: () => "This is already paid for.",
  completion_in_progress: () => "A payment for this is already under way. One moment, please.",
  total_changed: ({ total }) =>
    total
      ? `The total is now ${money(total)}. Nothing was charged. Do you still want it?`
      : "The total has changed. Nothing was charged.",
  payment_declined: ({ message }) => message || "Your bank said no to this card. Nothing was charged.",
  rate_limited: () => "That was a little fast for us. Please wait a few seconds and try again.",
  overloaded: () => "Very many people are buying right now and we could not take your request. Please try again.",
  unavailable: ({ reason }) => NOT_NOW[reason] ?? "The shop does not answer at the moment. Please try again in a few seconds.",
  not_found: () => "This is not on sale any more.",
  forbidden: () => "This is not possible with your ticket. Reloading the page may help.",
  unauthenticated: () => "Your ticket has run out. Please reload the page.",
};

/** One or two sentences for an error frame. */
export function explain(frame) {
  return SENTENCES[frame?.code]?.(frame) ?? SORRY;
}

/** For a command nobody answered: say what is known, and that repeating is safe. */
export const UNANSWERED = {
  reserve: "We could not reach the shop. If your item was held after all, it appears here by itself; trying again is safe.",
  checkout: "We could not reach the shop. You will not be charged twice: please try again.",
  other: "We could not reach the shop. Please try again.",
};

const STOPPED = {
  not_found: "There is no such show here.",
  4500: "Your ticket for this show is not valid any more.",
  4504: "This show is open in too many windows. Close some of them.",
  4506: "This page is out of date.",
  4510: "The show is over. Thank you for watching.",
};

/** Why the page has stopped for good, by close code or error code; and whether a reload may help. */
export function whyStopped({ code }) {
  return {
    text: STOPPED[code] ?? "The show cannot be opened right now.",
    reload: code !== 4510,
  };
}

/** "1:43" for milliseconds, never negative. */
export function clock(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** "1 unit", "2 units". */
export function count(number, noun) {
  return `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;
}
