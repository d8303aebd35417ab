// What stands where nobody asks yet: users to pick, and items to begin a session with.

import { ask } from "./api.js";
import { at, h } from "./dom.js";
import { learn, picture, showPictures, titled } from "./items.js";
import { many } from "./words.js";

const OFFERED = 6; // of each

/** Two ways to begin. `user(id)` and `session(items)` are called with the choice; without items the session is empty. */
export function startShown({ user, session }) {
  const users = h("ul", { class: "picks", "aria-label": "Users with most events" });
  const items = h("ul", { class: "picks", "aria-label": "Popular items" });
  const pick = (work, ...content) => h("li", {}, h("button", { type: "button", class: "pick", onclick: work }, content));
  fill(users, `users?limit=${OFFERED}`, (found) => found.map(({ user_id: id, events }) =>
    pick(() => user(id), h("bdi", { class: "title" }, id), h("small", {}, many(events, "event")))));
  fill(items, `catalogue?limit=${OFFERED}`, (found) => {
    learn(found);
    return found.map(({ item_id: id }) => pick(() => session([id]), picture(id), titled(id)));
  });
  return h("div", { class: "ways" },
    h("section", { class: "card", "aria-labelledby": "way-user" },
      h("h2", { id: "way-user" }, "A user"),
      h("p", { class: "note" }, "Somebody whose events are stored. Add one more event, and watch the list change."),
      users,
      h("button", { type: "button", class: "link", onclick: () => at("user").focus() }, "Find a user, or type any id")),
    h("section", { class: "card", "aria-labelledby": "way-session" },
      h("h2", { id: "way-session" }, "A session"),
      h("p", { class: "note" }, "Nobody in particular. Click a history together, beginning with one of these."),
      items,
      h("button", { type: "button", class: "link", onclick: () => session([]) }, "Begin with nothing")));
}

async function fill(list, path, lines) {
  try {
    list.replaceChildren(...lines(await ask(path)));
    showPictures();
  } catch {
    list.remove(); // who may not look them up can still type an id
  }
}
