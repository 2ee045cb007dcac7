// Amounts as people read them. On the wire money is an integer in the currency's minor unit.

/** How many decimals a currency has: 2 for EUR, 0 for JPY, 3 for KWD. */
export function decimals(currency) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency });
  return format.resolvedOptions().maximumFractionDigits;
}

/** `{amount: 1999, currency: "USD"}` as "$19.99", in the reader's own notation. */
export function money({ amount, currency }, locale = undefined) {
  const value = amount / 10 ** decimals(currency);
  return new Intl.NumberFormat(locale, { style: "currency", currency }).format(value);
}

/** So many of a unit price. */
export function times({ amount, currency }, quantity) {
  return { amount: amount * quantity, currency };
}

/** How much cheaper than before, in whole percent; 0 when it is not, or cannot be compared. */
export function saving(price, before) {
  if (!before || before.currency !== price.currency || before.amount <= price.amount) return 0;
  return Math.round(100 * (1 - price.amount / before.amount));
}
