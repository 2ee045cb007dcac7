// Making elements without markup in strings, so that nothing from outside is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: properties that the element knows are set, others become attributes. */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on") || name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set text only where it differs; true when it did. */
export function setText(element, text) {
  if (element.textContent === text) return false;
  element.textContent = text;
  return true;
}

/** Play a short highlight, again even if one is under way. */
export function flash(element) {
  element.classList.remove("flash");
  void element.offsetWidth; // the browser must see it gone, or it does not start anew
  element.classList.add("flash");
}

/** A button that stays focusable while it cannot be pressed, and says so. */
export function enable(button, enabled) {
  button.setAttribute("aria-disabled", String(!enabled));
}
