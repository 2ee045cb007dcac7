// What is on offer, in the words and groups a shopper thinks in. The catalogue lists variants; a
// shopper sees one product with its options.

const ONLY_VARIANT = "Default Title"; // what Shopify calls the variant of a product without options
const FEW = 3;
const MOST_AT_ONCE = 10;

/** The options that mean something, as [name, value] pairs. */
export function options(entry) {
  return Object.entries(entry.options ?? {}).filter(([, value]) => value !== ONLY_VARIANT);
}

/** "Large · Red", or nothing for a product without options. */
export function optionsText(entry) {
  return options(entry).map(([, value]) => value).join(" · ");
}

/** "Varsity Top, Large": one line that names a variant. */
export function fullTitle(entry) {
  const text = optionsText(entry);
  return text ? `${entry.title}, ${text}` : entry.title;
}

/**
 * Entries that differ only in their options, as one product: `{key, title, image, optionName,
 * variants}`. The order is the catalogue's.
 */
export function products(entries) {
  const groups = new Map();
  for (const entry of entries) {
    const names = options(entry).map(([name]) => name);
    const key = names.length ? `${entry.title}\n${names.join("\n")}` : entry.sku;
    const group = groups.get(key);
    if (group) group.variants.push(entry);
    else groups.set(key, { key, title: entry.title, optionName: names.join(" / "), variants: [entry] });
  }
  return [...groups.values()].map((group) => ({
    ...group,
    image: group.variants.find((entry) => entry.image)?.image,
  }));
}

/** Units left, in words, and how alarming that is: `plenty`, `few`, `none`, or `unknown`. */
export function stockWords(available) {
  if (available === undefined) return { text: "", level: "unknown" };
  if (available <= 0) return { text: "Sold out", level: "none" };
  if (available <= FEW) return { text: `Only ${available} left`, level: "few" };
  return { text: `${available} left`, level: "plenty" };
}

/** The most units one press of Buy may ask for. */
export function mostAtOnce(entry, available = 0) {
  const limit = entry.limit_per_shopper ?? MOST_AT_ONCE;
  return Math.max(1, Math.min(limit, available, MOST_AT_ONCE));
}
