// Why an item stands where it does: what each event of the history adds to its score, each left out in turn.

import { ask } from "./api.js";
import { at, h, icon } from "./dom.js";
import { hasTitle, picture, titled, titleOf } from "./items.js";
import { isReranked, movements } from "./list.js";
import { who } from "./state.js";
import { figure, many } from "./words.js";

const SHOWN = 12; // contributions at first

let opened = null; // the item that is explained
let asked = 0;
let actions = {};

/** What the buttons of the panel do: `add(id)`, and `closed(id)` once it is closed. */
export function startWhy(work) {
  actions = work;
  showNothing();
  at("why").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    closeWhy();
  });
}

/** The item that is explained, if any. */
export const explained = () => opened;

/** Close the panel. */
export function closeWhy() {
  const id = opened;
  asked += 1;
  showNothing();
  if (id !== null) actions.closed(id);
}

/** Whether the panel lies over the page, as it does where there is no room beside. */
export const isOver = () => getComputedStyle(at("why")).position === "fixed";

function showNothing() {
  opened = null;
  at("why").classList.remove("opened");
  document.querySelectorAll(".row .open[aria-expanded=true]").forEach((one) => one.setAttribute("aria-expanded", "false"));
  at("why").replaceChildren(
    h("h2", { id: "why-heading" }, "Why?"),
    h("p", { class: "note" }, "Choose an item of the shortlist to see which events of the history moved it, and by how much."));
}

/** Explain an item of `answer`, or of the answer before if it is not in this one any more. */
export async function openWhy(id, answer) {
  const number = ++asked;
  opened = id;
  const place = answer.items.findIndex((item) => item.item_id === id);
  document.querySelectorAll(".rows .row").forEach((row) =>
    row.querySelector(".open").setAttribute("aria-expanded", String(row.dataset.item === id)));
  const body = h("div", { class: "reasons", "aria-live": "polite", "aria-busy": "true" }, h("div", { class: "waiting" }));
  const close = h("button", { class: "quiet close", type: "button", "aria-label": "Close", onclick: closeWhy }, icon("close"));
  at("why").classList.add("opened");
  at("why").replaceChildren(
    h("div", { class: "subject" }, picture(id, { large: true }),
      h("div", {}, h("h2", { id: "why-heading" }, titled(id)), h("p", { class: "note" }, standing(id, place, answer))),
      close),
    h("div", { class: "buttons" },
      h("button", { class: "main", type: "button", onclick: () => actions.add(id) }, icon("plus"), "Add as an event")),
    body);
  if (isOver()) close.focus();
  try {
    const { model, contributions } = await ask("explain", { body: { ...who(), item_id: id } });
    if (number === asked) body.replaceChildren(...reasons(model, contributions, id));
  } catch (error) {
    if (number === asked) body.replaceChildren(h("h3", {}, "What moved it"), h("p", { class: "note" }, error.message));
  }
  if (number === asked) body.setAttribute("aria-busy", "false");
}

function standing(id, place, answer) {
  const name = hasTitle(id) ? `${id} · ` : "";
  if (place < 0) return `${name}no longer in the list`;
  const { from } = movements(answer).get(id);
  const before = !isReranked(answer) ? "" : from === null ? ` · retrieved below ${answer.retrieved.length}` : ` · retrieved as ${from}`;
  return `${name}rank ${place + 1} · score ${figure(answer.items[place].score)}${before}`;
}

function reasons(model, contributions, id) {
  const values = contributions.map((each) => each.contribution);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const zero = (100 * -low) / (high - low || 1);
  const line = ({ item_id: event, title, contribution }) => {
    const bar = h("i", { class: contribution < 0 ? "less" : "more" });
    const width = (100 * Math.abs(contribution)) / (high - low || 1);
    bar.style.width = `${width}%`;
    bar.style.left = `${contribution < 0 ? zero - width : zero}%`;
    const axis = h("b", {});
    axis.style.left = `${zero}%`;
    const text = title ?? event;
    return h("li", {},
      h("span", { class: "title", dir: "auto", title: text }, text),
      h("span", { class: "number" }, figure(contribution, { sign: true })),
      h("span", { class: "effect", "aria-hidden": "true" }, bar, axis));
  };
  const strongest = new Set([...contributions].sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution)).slice(0, SHOWN));
  const list = h("ol", { class: "contributions", "aria-label": `What each event adds to the score of ${titleOf(id)}` },
    contributions.filter((each) => strongest.has(each)).map(line));
  const rest = contributions.length - strongest.size;
  const more = rest > 0 && h("button", { class: "link", type: "button", onclick: (event) => {
    list.replaceChildren(...contributions.map(line));
    event.target.remove();
  } }, `Show all ${contributions.length}`);
  const shown = rest > 0 ? `The ${SHOWN} strongest of ${many(contributions.length, "event")}.` : "";
  return [
    h("h3", {}, "What moved it"),
    h("p", { class: "note" }, `What ${model}’s score would lose without each event, left out in turn.`, shown && ` ${shown}`),
    h("p", { class: "legend" }, h("span", { class: "key less" }, "pushed it down"), h("span", { class: "key more" }, "lifted it")),
    list, more,
  ].filter(Boolean);
}
