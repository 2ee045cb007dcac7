// Pictures of products: the shop's image, and beneath it a drawn tile that stays when the image is
// missing or does not load. Also the few icons of the page.

import { optionsText } from "./catalog.js";
import { h, svg } from "./dom.js";

/** Outlines on a 48 × 48 field, found by a word of the title. */
const SHAPES = [
  [/shoe|sneaker|boot|high.?top|trainer|sandal/i, "M7 16c3 3 7 3 9 0l11 9c6 3 13 2 14 9v4H7z"],
  [/jacket|coat|jumper|sweater|hood|cardigan|tux|blazer/i, "M18 7 9 12 7 37h6l1.5-15v19h19V22L35 37h6l-2-25-9-5-6 8z"],
  [/skirt|dress|gown/i, "M18 7l2 7-3 6-7 21h28l-7-21-3-6 2-7c-2 4-10 4-12 0z"],
  [/shirt|tee\b|top\b|blouse|polo|jersey/i, "M17 8 8 13l3 8 3.5-1.500V40h19V19.500L37 21l3-8-9-5c-1 4-4 6-7 6s-6-2-7-6z"],
  [/bag|tote|backpack|purse/i, "M17 18c0-14 14-14 14 0h6l2 23H9l2-23zm3 0h8c0-10-8-10-8 0z"],
  [/can\b|kettle|jug|pitcher/i, "M14 19h18v7l8-9 3 3-11 13v8H14v-4C4 37 4 23 14 23zm0 8c-5 0-5 6 0 6z"],
  [/pot\b|pots\b|plant|vase|flower/i, "M14 27h20l-3 15H17zm9-3C23 15 17 10 9 10c0 9 6 13 14 14zm2-1c0-9 5-15 14-16 0 10-5 15-14 16z"],
  [/lamp\b|lantern/i, "M16 7h16l6 17H10zm6 19h4v11h8v4H14v-4h8z"],
  [/light/i, "M23 4h2v10c8 0 13 7 14 16H9c1-9 6-16 14-16zm-3 28h8c0 6-8 6-8 0z"],
  [/sofa|couch|chair|bean.?bag/i, "M10 22c0-6 2-8 6-8h16c4 0 6 2 6 8 3 0 5 2 5 5v9h-4v4h-4v-4H13v4H9v-4H5v-9c0-3 2-5 5-5z"],
  [/throw\b|blanket|rug\b|towel/i, "M9 8h30v26H9zm0 28h3v6H9zm6.8 0h3v6h-3zm6.7 0h3v6h-3zm6.8 0h3v6h-3zm6.7 0h3v6h-3z"],
  [/pillow|cushion|bed\b/i, "M8 13c10 3 22 3 32 0-3 8-3 14 0 22-10-3-22-3-32 0 3-8 3-14 0-22z"],
  [/table|desk|bench|stool/i, "M5 17h38v5h-6l3 19h-4l-3-19H15l-3 19H8l3-19H5z"],
  [/drawer|dresser|cabinet|shelf/i, "M9 9h30v32H9zm3 4v11h24V13zm0 14v11h24V27zm10-9h4v2h-4zm0 14h4v2h-4z"],
  [/candle|wax/i, "M17 21h14v21H17zm7-15c5 5 5 10 0 12-5-2-5-7 0-12z"],
  [/carafe|bottle|decanter/i, "M19 6h10v9c0 4 8 8 8 18 0 6-4 9-13 9s-13-3-13-9c0-10 8-14 8-18z"],
  [/\bboard\b/i, "M21 14V8a3 3 0 0 1 6 0v6h4a4 4 0 0 1 4 4v20a4 4 0 0 1-4 4H17a4 4 0 0 1-4-4V18a4 4 0 0 1 4-4z"],
  [/journal|notebook|book\b|diary/i, "M12 6h3v36h-3zm6 0h16a3 3 0 0 1 3 3v30a3 3 0 0 1-3 3H18zm5 8v3h9v-3z"],
  [/mug|cup|bowl|glass/i, "M9 14h24v3c11-1 11 16 0 15-1 5-3 8-8 8h-8c-5 0-8-3-8-8zm24 7v7c5 0 5-7 0-7z"],
  [/hat\b|cap\b|beanie/i, "M8 33c0-13 6-20 15-20s14 6 14 17l7 4v2H8z"],
  [/scarf|sock|glove/i, "M19 7h12v17l8 9c4 6-4 12-9 7L19 28z"],
  [/trowel|spade|tool|knife/i, "M21 6h6v15h-6zm-4 16h14v8c0 6-3 10-7 13-4-3-7-7-7-13z"],
];

/** What a variant looks like: the tile, with the image over it once that has loaded. */
export function picture(entry) {
  const { image } = entry;
  const frame = h("span", { class: "picture", "aria-hidden": "true" }, tile(entry));
  if (!image) return frame;
  const img = h("img", { alt: "", loading: "lazy", decoding: "async", referrerpolicy: "no-referrer" });
  img.onload = () => frame.classList.add("loaded");
  img.onerror = () => img.remove();
  img.src = image;
  frame.append(img);
  return frame;
}

/** Colours that titles and options name: [words, hue, saturation, lightness]. */
const COLOURS = [
  [/\b(yellow|mustard|gold|vanilla)\b/i, 42, 74, 62],
  [/\b(orange|copper|clay|amber|rust|terracotta|terrace)\b/i, 20, 62, 58],
  [/\b(red|cherry|crimson)\b/i, 354, 58, 58],
  [/\b(pink|rose)\b/i, 338, 58, 70],
  [/\b(purple|lilac|violet)\b/i, 272, 44, 62],
  [/\b(navy|denim|ink)\b/i, 222, 42, 46],
  [/\b(blue|ocean|sky|tidepool)\b/i, 202, 50, 58],
  [/\b(green|olive|moss|plant\w*|garden\w*|meadow)\b/i, 138, 28, 54],
  [/\b(black|dark)\b/i, 258, 12, 40],
  [/\b(brown|wooden|leather|antique|oak|driftwood|board)\b/i, 28, 40, 54],
  [/\b(white|cream|floral|sand|oat)\b/i, 36, 34, 66],
  [/\b(gr[ea]y|silver|smoke|salt)\b/i, 216, 14, 60],
];
const HUES = [262, 232, 196, 168, 318, 344, 14]; // for titles that name no colour

/** The colour that always belongs to a variant: hue in degrees, saturation and lightness in %. */
export function colour(entry) {
  for (const text of [optionsText(entry), entry.title]) {
    const named = COLOURS.find(([words]) => words.test(text));
    if (named) return { hue: named[1], saturation: named[2], lightness: named[3] };
  }
  let hash = 7;
  for (const letter of entry.title) hash = (hash * 31 + letter.codePointAt(0)) % 65_521;
  return { hue: HUES[hash % HUES.length], saturation: 44, lightness: 62 };
}

let gradients = 0;

function tile(entry) {
  const id = `tile-${++gradients}`;
  const { hue, saturation, lightness } = colour(entry);
  const gradient = svg("linearGradient", { id, x1: 0, y1: 0, x2: 0.6, y2: 1 },
    svg("stop", { offset: 0, "stop-color": `hsl(${hue} ${saturation}% ${lightness + 9}%)` }),
    svg("stop", { offset: 1, "stop-color": `hsl(${hue - 8} ${saturation}% ${lightness - 11}%)` }));
  return svg("svg", { viewBox: "0 0 48 48", preserveAspectRatio: "xMidYMid slice", class: "tile" },
    svg("defs", {}, gradient),
    svg("rect", { width: 48, height: 48, fill: `url(#${id})` }),
    svg("circle", { cx: 40, cy: 4, r: 19, fill: "#fff", opacity: 0.13 }),
    svg("g", { transform: "translate(8.6 8.6) scale(.64)" }, figure(entry.title)));
}

/** A drawing of the product alone, or its initials. */
export function figure(title) {
  const shape = SHAPES.find(([words]) => words.test(title))?.[1];
  if (shape) return svg("path", { d: shape, fill: "#fff", "fill-rule": "evenodd", "stroke-linejoin": "round", stroke: "#fff", "stroke-width": 1.2 });
  return svg("text", { x: 24, y: 24, fill: "#fff", "font-size": 21, "font-weight": 700, "text-anchor": "middle", "dominant-baseline": "central" }, initials(title));
}

function initials(title) {
  const words = title.split(/\s+/).filter((word) => /\p{L}|\p{N}/u.test(word));
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}

const ICONS = {
  eye: "M12 5C6 5 2.5 12 2.5 12S6 19 12 19s9.5-7 9.5-7S18 5 12 5zm0 11a4 4 0 1 1 0-8 4 4 0 0 1 0 8z",
  send: "M3.5 11.5 20.5 4l-5 16.5-4.2-6.800zm7.8 2.2 4.2-4.7",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 12.500l4.5 4.500L19 7.5",
  clock: "M12 7v5.500l3.5 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  lock: "M7 11V8a5 5 0 0 1 10 0v3M5.5 11h13v9h-13z",
};

/** A line icon that takes the colour of the text around it. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" },
    svg("path", { d: ICONS[name], fill: name === "eye" ? "currentColor" : "none", "fill-rule": "evenodd", stroke: name === "eye" ? "none" : "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}

/** A small payment card; `tone` is `good`, `bad` or `ask`. */
export function cardIcon(tone) {
  return svg("svg", { viewBox: "0 0 40 28", class: `card-icon ${tone}`, "aria-hidden": "true" },
    svg("rect", { x: 1, y: 1, width: 38, height: 26, rx: 5, class: "card-body" }),
    svg("rect", { x: 1, y: 7, width: 38, height: 5, class: "card-stripe" }),
    svg("rect", { x: 6, y: 17, width: 9, height: 5, rx: 1.5, class: "card-stripe" }));
}
