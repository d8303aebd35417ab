// A ranked answer to rows: rank, where retrieval had it, picture, title, score.

import { markOf } from "./changes.js";
import { h, icon } from "./dom.js";
import { hasTitle, picture, titled, titleOf } from "./items.js";
import { figure, many } from "./words.js";

/** How far re-ranking carried each item: `{ from, places }`; `from` is null for one from below what is told. */
export function movements({ items, retrieved }) {
  const ranks = new Map(retrieved.map((item, place) => [item.item_id, place + 1]));
  return new Map(items.map((item, place) => {
    const from = ranks.get(item.item_id) ?? null;
    return [item.item_id, { from, places: from === null ? null : from - (place + 1) }];
  }));
}

/** Whether anything orders the items after retrieval: what differs from it then means something. */
export const isReranked = (answer) => "rank" in answer.stages_ms || "select" in answer.stages_ms;

/** An arrow and how many places, with the same in words. */
export function moveShown({ from, places }, depth) {
  if (places === null) return h("span", { class: "move up", title: `Retrieval had it below ${depth}` }, "▲", h("span", {}, `>${depth}`));
  if (places === 0) return h("span", { class: "move same", title: `Retrieval had it here too` }, "=");
  const way = places > 0 ? "up" : "down";
  const words = `${many(Math.abs(places), "place")} ${way}: retrieval had it at ${from}`;
  return h("span", { class: `move ${way}`, title: words },
    h("span", { "aria-hidden": "true" }, places > 0 ? "▲" : "▼", h("span", {}, Math.abs(places))),
    h("span", { class: "unseen" }, words));
}

/** The list of an answer. `open(id, row)` is called for why, `add(id)` for one more event. */
export function listShown(answer, changes, { open, add }) {
  const reranked = isReranked(answer);
  const moves = movements(answer);
  const scores = answer.items.map((item) => item.score);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const rows = answer.items.map((item, place) => {
    const id = item.item_id;
    const bar = h("i", {});
    bar.style.width = `${high === low ? 100 : 8 + (92 * (item.score - low)) / (high - low)}%`;
    return rowShown(id, place, { open, add, marked: changes?.before.get(id) !== place + 1 && changes !== null },
      h("span", { class: "rank" }, place + 1),
      reranked && moveShown(moves.get(id), answer.retrieved.length),
      picture(id),
      h("span", { class: "what" }, titled(id), hasTitle(id) && h("small", {}, id)),
      h("span", { class: "marks" }, markOf(changes, id, place + 1)),
      h("span", { class: "score" }, h("span", { class: "bar", "aria-hidden": "true" }, bar),
        h("span", { class: "unseen" }, "score"), h("span", { class: "number" }, figure(item.score))),
    );
  });
  const names = h("div", { class: "names", "aria-hidden": "true" },
    h("span", { class: "rank" }, "#"),
    reranked && h("span", { class: "move", title: "Against the order of retrieval" }, "Moved"),
    h("span", { class: "what" }, "Item"),
    h("span", { class: "score" }, "Score"));
  return h("div", { class: reranked ? "list moved" : "list" }, names, h("ol", { class: "rows", "aria-label": "The shortlist" }, rows));
}

/** One row: a button that opens why, and one that adds an event. */
export function rowShown(id, place, { open, add, marked }, ...content) {
  const main = h("button", {
    type: "button", class: "open", tabindex: place === 0 ? "0" : "-1", "aria-expanded": "false", "aria-controls": "why",
    onclick: () => open(id),
  }, content);
  const name = titleOf(id);
  const plus = h("button", {
    type: "button", class: "add quiet", tabindex: place === 0 ? "0" : "-1", title: "Add as an event", "aria-label": `Add ${name} as an event`,
    onclick: () => add(id),
  }, icon("plus"));
  return h("li", { class: marked ? "row marked" : "row", "data-item": id }, main, plus);
}
