// Trying again without making things worse: full jitter, so that a crowd that failed together does
// not come back together, and a bound on everything.

/** Where waiting starts and where it stops growing, in milliseconds. */
export const RECONNECT = { base: 400, cap: 15_000 };
export const OVERLOADED = { base: 1_000, cap: 30_000 };
export const ADMISSION = { base: 1_000, cap: 30_000 };
/** In line; the gateway's own wait comes before it, and together they are short of its patience. */
export const QUEUE = { base: 500, cap: 8_000 };
/** The longest wait after a gateway that goes away has sent us to another. */
export const MOVED = 500;
export const COMMAND = { base: 250, cap: 5_000, tries: 6 };

/** A random wait below a limit that doubles with each attempt (0, 1, 2, …). */
export function jittered(attempt, { base, cap }, random = Math.random) {
  return random() * Math.min(cap, base * 2 ** Math.min(attempt, 20));
}

/**
 * The wait before the next attempt: never sooner than the server asked for, and spread over as
 * long again, since everybody was told the same number.
 */
export function pause(attempt, limits, retryAfterMs = 0, random = Math.random) {
  const asked = Math.min(retryAfterMs, 2 * limits.cap);
  return asked + jittered(attempt, { ...limits, base: Math.max(limits.base, asked) }, random);
}

/** Resolves after so many milliseconds. */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
