// The events that an answer is made from: those stored of a user, or a session that is clicked together.

import { ask } from "./api.js";
import { arrows, at, h, icon } from "./dom.js";
import { hasTitle, learn, lookUp, picture, showPictures, titled, titleOf } from "./items.js";
import { state } from "./state.js";
import { day, many } from "./words.js";

const SHOWN = 50; // events of a user

let changed = () => {}; // is told why the session is another
let latest = 0;

/** Keep the panel's keys; `whenChanged(why)` is called when the session was edited. */
export function startPast(whenChanged) {
  changed = whenChanged;
  arrows(at("history"), () => [...at("history").querySelectorAll("li.event[tabindex]")]);
  at("history").addEventListener("keydown", (event) => {
    const line = event.target.closest("li.event[data-place]");
    if (line === null || state.mode !== "session") return;
    const place = Number(line.dataset.place);
    if (event.key === "Delete" || event.key === "Backspace") take(place);
    else if (event.altKey && event.key === "ArrowUp") move(place, 1);
    else if (event.altKey && event.key === "ArrowDown") move(place, -1);
    else return;
    event.preventDefault();
  });
}

/** Show what is known of whoever asks. */
export async function showPast() {
  const number = ++latest;
  if (state.mode === "session") return showSession(number);
  if (state.user === "") return at("history").replaceChildren();
  try {
    const events = await ask(`users/${encodeURIComponent(state.user)}/history?limit=${SHOWN}`);
    if (number !== latest) return;
    learn(events);
    showEvents(events);
  } catch (error) {
    if (number !== latest) return;
    at("history").replaceChildren(heading("History"), h("p", { class: "note" }, error.message));
  }
}

function heading(text, note = "") {
  return h("h2", {}, text, note && h("small", {}, note));
}

function showEvents(events) {
  if (!events.length) {
    const note = h("p", { class: "note" }, "No event of this user is stored.");
    return at("history").replaceChildren(heading("History"), note);
  }
  const lines = events.map((event) =>
    h("li", { class: event.liked ? "event" : "event passed" },
      picture(event.item_id),
      h("span", { class: "what" }, titled(event.item_id),
        h("small", {}, [day(event.timestamp), event.liked ? "" : "does not count as liked"].filter(Boolean).join(" · "))),
    ),
  );
  const count = events.length < SHOWN ? many(events.length, "event") : `the last ${SHOWN} events`;
  at("history").replaceChildren(heading("History", `${count}, newest first`), h("ol", {}, lines));
}

async function showSession(number) {
  if (!state.session.length) return showStart();
  drawSession();
  const isNamed = state.session.every(hasTitle);
  await lookUp(state.session).catch(() => {}); // without an answer the ids do
  if (!isNamed && number === latest) drawSession();
}

function drawSession() {
  const focused = document.activeElement?.closest?.("#history li.event")?.dataset.place;
  const last = state.session.length - 1;
  const lines = state.session.map((id, place) => {
    const name = titleOf(id);
    const tabindex = place === last ? "0" : "-1";
    const button = (drawing, words, work, isOff = false) =>
      h("button", { class: "quiet", type: "button", tabindex, "aria-label": words, title: words, disabled: isOff, onclick: work }, icon(drawing));
    return h("li", { class: "event own", tabindex, "data-place": place, "aria-keyshortcuts": "Alt+ArrowUp Alt+ArrowDown Delete" },
      picture(id),
      h("span", { class: "what" }, titled(id), hasTitle(id) && h("small", {}, id)),
      h("span", { class: "tools" },
        button("up", `Make ${name} later`, () => move(place, 1), place === last),
        button("down", `Make ${name} earlier`, () => move(place, -1), place === 0),
        button("close", `Take ${name} out`, () => take(place)),
      ),
    );
  });
  const list = h("ol", { "aria-label": "Events of the session, newest first" }, lines.reverse());
  const clear = h("button", { class: "link", type: "button", onclick: () => edit([], "After the session was emptied") }, "Clear");
  at("history").replaceChildren(heading("Session", `${many(last + 1, "event")}, newest first`), clear, list);
  if (focused !== undefined) focusOn(Number(focused));
}

async function showStart() {
  const number = latest;
  const place = h("ol", { class: "start" });
  at("history").replaceChildren(heading("Session", "empty"), h("p", { class: "note" }, "Begin with something popular, or search."), place);
  let items;
  try {
    items = await ask("catalogue?limit=8");
  } catch (error) {
    if (number === latest) place.replaceWith(h("p", { class: "note" }, error.message));
    return;
  }
  if (number !== latest) return;
  learn(items);
  place.append(...items.map(({ item_id: id }) =>
    h("li", {}, h("button", { type: "button", class: "event pick", onclick: () => edit([id], `After ${titleOf(id)} was added`) },
      picture(id), h("span", { class: "what" }, titled(id)), icon("plus"))),
  ));
  showPictures();
}

/** The session with other events; the page is told why. */
export function edit(session, why) {
  state.session = session;
  changed(why);
}

function take(place) {
  const name = titleOf(state.session[place]);
  const had = place;
  edit(state.session.filter((_, each) => each !== place), `After ${name} was taken out`);
  focusOn(Math.min(had, state.session.length - 1));
}

function move(place, step) {
  const other = place + step;
  if (other < 0 || other >= state.session.length) return;
  const session = [...state.session];
  [session[place], session[other]] = [session[other], session[place]];
  edit(session, `After ${titleOf(session[other])} was moved`);
  focusOn(other);
}

function focusOn(place) {
  (at("history").querySelector(`li.event[data-place="${place}"]`) ?? at("search")).focus();
}
