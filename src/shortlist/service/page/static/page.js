// The page: asks when something changes, and shows what came.

import { ask } from "./api.js";
import { showAsking, startAsking } from "./asking.js";
import { changesOf, moving, toldChanges } from "./changes.js";
import { compareShown } from "./compare.js";
import { showKeys, startKeys } from "./dialogs.js";
import { arrows, at, h } from "./dom.js";
import { forget, learn, lookUp, titleOf } from "./items.js";
import { isReranked, listShown } from "./list.js";
import { edit, showPast, startPast } from "./past.js";
import { stagesShown } from "./stages.js";
import { startShown } from "./start.js";
import { isAsking, question, readAddress, state, writeAddress } from "./state.js";
import { noteAnswer, startStrip } from "./strip.js";
import { startTheme } from "./theme.js";
import { closeWhy, explained, isOver, openWhy, startWhy } from "./why.js";
import { source } from "./words.js";

let answer = null; // what is shown, with the `asker` whose it is
let changes = null; // against the answer before
let undo = null;
let running = null;
let late = 0; // the timer of an answer that takes long

/** Ask again. `why` heads what changed against the answer shown; null: it is another question, not to be compared. */
async function refresh(why = null, undoing = null) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  at("trouble").replaceChildren();
  if (!isAsking()) return showNobody();
  const asker = state.mode === "user" ? `user ${state.user}` : "session";
  if (answer?.asker !== asker) answer = changes = null;
  heading();
  const body = question();
  wait(true);
  const start = performance.now();
  try {
    const found = await ask("recommend", { body, signal });
    const there_ms = performance.now() - start;
    learn([...found.items, ...found.retrieved]);
    changes = changesOf(answer?.items ?? null, found.items, why);
    undo = undoing;
    answer = { ...found, asker, body, there_ms };
    noteAnswer(found);
    show();
    lookUp([...found.items, ...found.retrieved.slice(0, found.items.length)].map((item) => item.item_id)).catch(() => {});
    if (explained() !== null) openWhy(explained(), answer);
  } catch (error) {
    if (error.name !== "AbortError") showTrouble(error);
  } finally {
    if (!signal.aborted) wait(false);
  }
}

/** Say that an answer is waited for, and show it once that takes long. */
function wait(isWaiting) {
  clearTimeout(late);
  at("shortlist").setAttribute("aria-busy", String(isWaiting));
  if (isWaiting) late = setTimeout(showWaiting, 150);
  else at("progress").hidden = true;
  at("shortlist").classList.remove("late");
}

function showWaiting() {
  at("progress").hidden = false;
  at("shortlist").classList.add("late");
  if (answer === null) at("answer").replaceChildren(h("div", { class: "skeleton" }, Array.from({ length: 8 }, () => h("i"))));
}

function show() {
  const rows = () => [...at("answer").querySelectorAll(".rows .row")];
  const move = moving(rows);
  const focused = document.activeElement?.closest?.("#answer .rows .row")?.dataset.item;
  const isAdding = document.activeElement?.classList.contains("add");
  const reranked = isReranked(answer);
  heading();
  at("stages").replaceChildren(...stagesShown(answer.stages_ms, answer.there_ms));
  at("told").replaceChildren(changes === null ? "" : toldChanges(changes, { undo, dismiss: () => { changes = null; show(); } }));
  const work = { open: (id) => answer && openWhy(id, answer), add };
  const isCompared = reranked && state.view === "compare";
  const body = isCompared ? compareShown(answer, changes, work) : listShown(answer, changes, work);
  at("shortlist").classList.toggle("comparing", isCompared);
  at("answer").replaceChildren(...(answer.items.length ? [body] : [nothing()]), ...lacking(), asked());
  move();
  if (focused !== undefined && rows().length) {
    const row = rows().find((each) => each.dataset.item === focused) ?? rows()[0];
    row.querySelector(isAdding ? ".add" : ".open").focus({ preventScroll: true });
  }
  const row = rows().find((each) => each.dataset.item === explained());
  row?.querySelector(".open").setAttribute("aria-expanded", "true");
}

function heading() {
  const title = state.mode === "user" ? ["Shortlist for user ", h("bdi", {}, state.user)] : [state.session.length ? "Shortlist for this session" : "Shortlist for anybody"];
  at("heading").replaceChildren(...(isAsking() ? title : ["Whose shortlist?"]));
  document.title = isAsking() ? `${at("heading").textContent} · Shortlist` : "Shortlist";
  at("views").hidden = !isShownReranked();
  at("source").hidden = !answer?.source; // who may not know which users are known is not told
  if (at("source").hidden) return;
  const [short, long] = source(answer.source);
  at("source").title = long;
  at("source").replaceChildren("from ", h("b", {}, short), h("span", { class: "unseen" }, ` ${long}`));
}

function nothing() {
  return h("p", { class: "plain" }, "No item is left to recommend.", state.where && " Perhaps the condition is too narrow.");
}

/** What the answer had to do without. */
function lacking() {
  const ids = answer.unknown_items;
  const degraded = answer.degraded ?? [];
  return [
    ids.length > 0 && h("p", { class: "note" }, `Left out, because the catalogue does not have ${ids.length === 1 ? "it" : "them"}: ${ids.join(", ")}`),
    degraded.length > 0 && h("p", { class: "note" }, `Answered without ${degraded.join(" and ")}, which could not be had just now.`),
  ].filter(Boolean);
}

function asked() {
  const url = new URL("recommend", document.baseURI);
  const text = JSON.stringify(answer.body).replaceAll("'", "'\\''");
  return h("details", { class: "request" }, h("summary", {}, "The same question from a terminal"),
    h("pre", { tabindex: "0" }, `curl -s ${url} -H 'Content-Type: application/json' \\\n  -d '${text}'`));
}

function showNobody() {
  answer = changes = null;
  heading();
  for (const id of ["stages", "told"]) at(id).replaceChildren();
  const begin = (values) => { Object.assign(state, values); showAsking(); changed(); };
  at("answer").replaceChildren(startShown({
    user: (id) => begin({ mode: "user", user: id }),
    session: (items) => begin({ mode: "session", session: items }),
  }));
  wait(false);
}

function showTrouble(error) {
  answer = changes = null;
  heading();
  for (const id of ["stages", "told", "answer"]) at(id).replaceChildren();
  const title = error.status === 400 ? "The question cannot be answered" : error.status === 0 ? "No answer" : "The service refused";
  at("trouble").replaceChildren(h("div", { class: "trouble" }, h("h2", {}, title), h("p", { dir: "auto" }, error.message),
    h("button", { class: "main", type: "button", onclick: () => refresh() }, "Ask again")));
}

/** One more event: of the user, where it is stored, or of the session. */
async function add(id) {
  const why = `After ${titleOf(id)} was added`;
  if (state.mode === "session") {
    const before = state.session;
    state.session = [...before, id];
    return happened(why, () => edit(before, "After it was taken back"));
  }
  try {
    await ask("events", { body: { events: [{ user_id: state.user, item_id: id }] } });
  } catch (error) {
    return at("told").replaceChildren(h("p", { class: "refused" }, `The event was not stored. ${error.message}`));
  }
  return happened(why);
}

/** Somebody else asks: the address, the history and the answer follow. */
function changed() {
  writeAddress({ isNew: true });
  closeWhy();
  return Promise.all([showPast(), refresh()]);
}

/** The same one asks after one event more or fewer. */
function happened(why, undoing = null) {
  writeAddress();
  return Promise.all([showPast(), refresh(why, undoing)]);
}

/** The same one asks in another way. */
function refined(why) {
  writeAddress();
  return refresh(why);
}

function setView(view) {
  state.view = view;
  writeAddress();
  showViews();
  if (answer !== null) show();
}

function showViews() {
  for (const radio of document.querySelectorAll("[name=view]")) radio.checked = radio.value === state.view;
}

function startAgain() {
  readAddress();
  showAsking();
  showViews();
  closeWhy();
  showPast();
  refresh();
}

function pressed(event) {
  const isTyping = event.target.matches("input:not([type=radio], [type=checkbox], [type=range]), textarea");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const row = event.target.closest(".rows .row");
  const work = {
    "/": () => (at("search").disabled ? at("user") : at("search")).focus(),
    u: () => { if (state.mode === "user") at("user").focus(); },
    "?": showKeys,
    v: () => isShownReranked() && setView(state.view === "list" ? "compare" : "list"),
    a: () => row && add(row.dataset.item),
    Escape: closeWhy,
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (work === undefined) return;
  event.preventDefault();
  work();
}

const isShownReranked = () => answer !== null && isReranked(answer);

startTheme();
startKeys();
startAsking({ changed, refined, add });
startPast(happened);
startWhy({
  add: (id) => {
    if (isOver()) closeWhy(); // the list is what changes
    return add(id);
  },
  closed: (id) => [...document.querySelectorAll(".rows .row")].find((row) => row.dataset.item === id)?.querySelector(".open").focus({ preventScroll: true }),
});
startStrip(() => { forget(); refresh("From the other version"); });
arrows(at("answer"), () => [...at("answer").querySelectorAll(".rows .open")]);
for (const radio of document.querySelectorAll("[name=view]")) radio.addEventListener("change", () => setView(radio.value));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds who asks
  at("shortlist").focus();
});
addEventListener("keydown", pressed);
addEventListener("popstate", startAgain);
startAgain();
