// Elements from data. Text is always text: nothing here reads markup, so a title can hold any.

const SVG = "http://www.w3.org/2000/svg";

/** The element with the given id. */
export const at = (id) => document.getElementById(id);

/** An element: `h("li", { class: "row", onclick: f }, "text", child)`. An attribute that is null or false is left out. */
export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);

/** The same in SVG. */
export const svg = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  undo: "M9 7L4 12l5 5M4 12h10a6 6 0 0 1 6 6v1",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  light: "M12 7.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.7 1.7M17.3 17.3L19 19M5 19l1.7-1.7M17.3 6.7L19 5",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
};

/** A line drawing beside or instead of words, which it never replaces for those who do not see it. */
export function icon(name) {
  const path = svg("path", { d: ICONS[name] });
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, path);
}

/** `work` once things have been quiet for so many milliseconds. */
export function settled(work, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}

/** Arrows, Home and End move the focus among the elements that `find` lists, one in each <li>; that line's are in the tab order. */
export function arrows(container, find) {
  const line = (one) => one.closest("li");
  const only = (chosen) => find().forEach((one) => {
    for (const each of [one, ...line(one).querySelectorAll("button")]) each.tabIndex = one === chosen ? 0 : -1;
  });
  container.addEventListener("focusin", (event) => {
    const here = find().find((one) => line(one).contains(event.target));
    if (here) only(here);
  });
  container.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const all = find();
    const place = all.findIndex((one) => line(one).contains(document.activeElement));
    const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: all.length - 1 }[event.key];
    if (place < 0 || next === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, next))].focus();
  });
}
