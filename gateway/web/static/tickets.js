// Who this shopper is, and the ticket that lets them into a show.

const SHOPPER_KEY = "holdfast.shopper";

/** A random id that stays with this browser, so that a reload is the same shopper. */
export function shopperId(storage, newId = () => crypto.randomUUID()) {
  try {
    const known = storage.getItem(SHOPPER_KEY);
    if (known) return known;
    const made = newId();
    storage.setItem(SHOPPER_KEY, made);
    return made;
  } catch {
    return newId(); // storage is forbidden here: the shopper lasts as long as the page
  }
}

/** The gateway refused a ticket. `retryable` says whether asking again may help. */
export class TicketRefused extends Error {
  constructor({ code = "", message = "", detail = "", retry_after_ms = 0 }, status) {
    super(detail || message || "The show cannot be opened.");
    this.code = code;
    this.status = status;
    this.retryAfterMs = retry_after_ms;
    this.retryable = status === 429 || status >= 500;
  }
}

/**
 * Ask for a ticket: `{token, expires_at, url}`, or `{position, retry_after_ms, queue_token}` when
 * the show is full. Throws TicketRefused, or what `fetch` throws when nobody answers.
 */
export async function fetchTicket(show, shopper, queueToken = undefined) {
  const response = await fetch("./v1/tickets", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ show, shopper, queue_token: queueToken }),
    signal: AbortSignal.timeout(10_000),
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new TicketRefused(body, response.status);
  return body;
}
