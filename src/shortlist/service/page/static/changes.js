// Two answers, one after the other, to what changed; and rows that move to their new places.

import { h, icon } from "./dom.js";
import { titleOf } from "./items.js";
import { many } from "./words.js";

const NAMED = 3; // of those that are gone

/** Where items stood before and stand now, by id: `{ why, before, fresh, up, down, left }`; null if nothing can be compared. */
export function changesOf(before, now, why) {
  if (before === null || why === null) return null;
  const old = new Map(before.map((item, place) => [item.item_id, place + 1]));
  const ids = now.map((item) => item.item_id);
  const moved = (wanted) => ids.filter((id, place) => old.has(id) && wanted(old.get(id) - (place + 1)));
  return {
    why,
    before: old,
    fresh: ids.filter((id) => !old.has(id)),
    up: moved((places) => places > 0),
    down: moved((places) => places < 0),
    left: [...old.keys()].filter((id) => !ids.includes(id)),
  };
}

/** A sentence on what changed, with what left by name. */
export function toldChanges(changes, { undo, dismiss }) {
  const counts = [[changes.fresh, "new"], [changes.up, "up"], [changes.down, "down"], [changes.left, "gone"]]
    .filter(([ids]) => ids.length)
    .map(([ids, word]) => h("span", { class: `count ${word}` }, `${ids.length} ${word}`));
  const left = changes.left.slice(0, NAMED).flatMap((id, place) => [place ? ", " : "", h("bdi", {}, titleOf(id))]);
  const rest = changes.left.length - NAMED;
  return h("div", { class: "changes" },
    h("p", {}, h("b", { dir: "auto" }, changes.why), counts.length ? counts : h("span", { class: "count" }, "the list is the same")),
    left.length > 0 && h("p", { class: "note" }, h("span", {}, "No longer in the list: ", left, rest > 0 ? ` and ${many(rest, "other")}.` : ".")),
    h("span", { class: "tools" },
      undo && h("button", { class: "quiet", type: "button", onclick: undo }, icon("undo"), "Undo"),
      h("button", { class: "quiet", type: "button", "aria-label": "Hide what changed", onclick: dismiss }, icon("close")),
    ),
  );
}

/** The mark of a row that is new or was elsewhere; null where it was here already. */
export function markOf(changes, id, place) {
  if (changes === null) return null;
  const old = changes.before.get(id);
  if (old === undefined) return h("span", { class: "mark fresh" }, "new");
  if (old === place) return null;
  return h("span", { class: `mark ${old > place ? "rose" : "fell"}` }, `was ${old}`);
}

/** Where the rows that `find` lists stand; call what it returns when they were made anew, and they move there. */
export function moving(find) {
  const tops = new Map(find().map((row) => [row.dataset.item, row.getBoundingClientRect().top]));
  return () => {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || tops.size === 0) return;
    for (const row of find()) {
      const old = tops.get(row.dataset.item);
      const step = old === undefined ? null : old - row.getBoundingClientRect().top;
      const settings = { duration: 420, easing: "cubic-bezier(.2, .7, .2, 1)" };
      if (step === null) row.animate([{ opacity: 0, transform: "translateX(1rem)" }, { opacity: 1, transform: "none" }], settings);
      else if (step !== 0) row.animate([{ transform: `translateY(${step}px)` }, { transform: "none" }], settings);
    }
  };
}
