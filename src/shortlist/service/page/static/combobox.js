// A text field with a list of what it may mean below it: typed, clicked, or chosen with the arrows.

import { h, settled } from "./dom.js";

/**
 * `find(text)` promises what may be meant, `show(one)` makes the content of its line, `choose(one)` is told the choice.
 * Where `typed` is given, Enter without a chosen line tells it the text. With `first` the
 * first line is chosen as soon as something is typed; with `stays` the list stays open for the next.
 */
export function combobox(input, { find, show, choose, typed = null, stays = false, first = false, label, none }) {
  const list = h("ul", { id: `${input.id}-list`, role: "listbox", "aria-label": label, hidden: true });
  const told = h("span", { class: "unseen", role: "status" });
  let found = [], foundFor = null, active = -1, asked = 0;
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-expanded", "false");
  input.parentElement.append(list, told);

  const isOpen = () => !list.hidden;

  function open(isShown) {
    list.hidden = !isShown;
    input.setAttribute("aria-expanded", String(isShown));
    if (!isShown) mark(-1);
  }

  function mark(place) {
    active = place;
    [...list.querySelectorAll("[role=option]")].forEach((line, number) => {
      line.setAttribute("aria-selected", String(number === place));
      if (number === place) line.scrollIntoView({ block: "nearest" });
    });
    if (place < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `${list.id}-${place}`);
  }

  async function look() {
    const number = ++asked;
    const text = input.value.trim();
    let answer;
    try {
      answer = await find(text);
    } catch (error) {
      if (number !== asked) return;
      [found, foundFor] = [[], null];
      list.replaceChildren(h("li", { class: "empty", role: "presentation" }, error.message));
      return open(document.activeElement === input);
    }
    if (number !== asked) return;
    [found, foundFor] = [answer, text];
    const lines = found.map((one, place) => h("li", { id: `${list.id}-${place}`, role: "option", "aria-selected": "false" }, show(one)));
    list.replaceChildren(...(lines.length ? lines : [h("li", { class: "empty", role: "presentation" }, none(text))]));
    told.textContent = `${found.length} found`;
    list.scrollTop = 0;
    mark(first && text !== "" && found.length ? 0 : -1);
    open(document.activeElement === input);
  }

  async function enter() {
    if (first && foundFor !== input.value.trim()) await look(); // typed faster than found
    if (isOpen() && active >= 0) return pick(found[active]);
    if (typed === null || input.value.trim() === "") return undefined;
    open(false);
    return typed(input.value.trim());
  }

  async function pick(one) {
    if (!stays) open(false);
    await choose(one);
  }

  const soon = settled(look, 120);
  input.addEventListener("input", soon);
  input.addEventListener("focus", look);
  input.addEventListener("click", () => isOpen() || look());
  input.addEventListener("blur", () => open(false));
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", (event) => {
    const line = event.target.closest("[role=option]");
    if (line) pick(found[[...list.children].indexOf(line)]);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen()) return look();
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark(found.length ? (active + step + found.length + (active < 0 && step < 0 ? 1 : 0)) % found.length : -1);
    } else if (event.key === "Enter") {
      event.preventDefault();
      enter();
    } else if (event.key === "Escape" && (isOpen() || input.value !== "")) {
      event.stopPropagation();
      if (isOpen()) open(false);
      else input.value = "";
    }
  });
}
