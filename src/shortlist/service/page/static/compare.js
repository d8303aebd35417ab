// An answer before and after re-ranking, side by side, with a line from each place to the next.

import { h, svg } from "./dom.js";
import { picture, titled } from "./items.js";
import { movements, moveShown, rowShown } from "./list.js";
import { figure } from "./words.js";

/** Both orders. Left stand the best that retrieval found, and below them those that only re-ranking brought in. */
export function compareShown(answer, changes, { open, add }) {
  const { items, retrieved } = answer;
  const moves = movements(answer);
  const after = new Set(items.map((item) => item.item_id));
  const ranks = retrieved.map((item, place) => ({ ...item, place }));
  const first = ranks.slice(0, items.length);
  const deeper = ranks.slice(items.length).filter((item) => after.has(item.item_id));
  const beforeRow = ({ item_id: id, place, score }) =>
    h("li", { class: after.has(id) ? "row" : "row out", "data-item": id },
      h("span", { class: "rank" }, place + 1), picture(id), h("span", { class: "what" }, titled(id)),
      after.has(id) ? h("span", { class: "number" }, figure(score)) : h("span", { class: "mark" }, "out"));
  const afterRow = ({ item_id: id }, place) =>
    rowShown(id, place, { open, add, marked: changes !== null && changes.before.get(id) !== place + 1 },
      h("span", { class: "rank" }, place + 1), picture(id), h("span", { class: "what" }, titled(id)),
      moveShown(moves.get(id), retrieved.length));
  const left = h("div", { class: "side" },
    h("h2", {}, "Retrieved ", h("small", {}, "before re-ranking")),
    h("ol", { class: "before", "aria-label": "Before re-ranking" }, first.map(beforeRow)),
    deeper.length > 0 && [h("p", { class: "note" }, "further down"), h("ol", { class: "before deeper", "aria-label": "Brought in from further down" }, deeper.map(beforeRow))]);
  const right = h("div", { class: "side" },
    h("h2", {}, "Shortlist ", h("small", {}, "after")),
    h("ol", { class: "rows", "aria-label": "The shortlist" }, items.map(afterRow)));
  const lines = svg("svg", { class: "lines", "aria-hidden": "true" });
  const whole = h("div", { class: "compare" }, left, h("div", { class: "gutter" }, lines), right);
  const draw = () => drawLines(whole, lines, moves);
  new ResizeObserver(draw).observe(whole);
  const point = (event) => highlight(whole, event.target.closest?.("[data-item]")?.dataset.item ?? null);
  for (const name of ["pointerover", "focusin"]) whole.addEventListener(name, point);
  whole.addEventListener("pointerleave", () => highlight(whole, null));
  return whole;
}

function drawLines(whole, lines, moves) {
  const box = lines.getBoundingClientRect();
  const middle = (row) => {
    const place = row.getBoundingClientRect();
    return place.top + place.height / 2 - box.top;
  };
  lines.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  const paths = [...whole.querySelectorAll(".rows .row")].flatMap((row) => {
    const { places } = moves.get(row.dataset.item);
    if (places === null) return [];
    const start = [...whole.querySelectorAll(".before .row")].find((other) => other.dataset.item === row.dataset.item);
    const [from, to, bend] = [middle(start), middle(row), box.width / 2];
    const way = places > 0 ? "up" : places < 0 ? "down" : "same";
    const path = `M0 ${from}C${bend} ${from} ${bend} ${to} ${box.width} ${to}`;
    return [svg("path", { class: way, d: path, "data-item": row.dataset.item })];
  });
  lines.replaceChildren(...paths);
}

function highlight(whole, id) {
  whole.classList.toggle("pointed", id !== null);
  whole.querySelectorAll("[data-item]").forEach((one) => one.classList.toggle("hot", one.dataset.item === id));
}
