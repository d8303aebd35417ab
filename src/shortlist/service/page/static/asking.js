// The fields that say who asks and how.

import { ask } from "./api.js";
import { combobox } from "./combobox.js";
import { at, h, icon, settled } from "./dom.js";
import { hasTitle, learn, picture, titled } from "./items.js";
import { MOST, state } from "./state.js";
import { many } from "./words.js";

/** Connect the fields. `changed` is called when somebody else asks, `refined(why)` otherwise, `add(id)` for an event. */
export function startAsking({ changed, refined, add }) {
  const chooseUser = (id) => {
    const isOther = state.user !== id;
    state.user = id;
    showAsking();
    if (isOther) changed();
  };
  combobox(at("user"), {
    label: "Users",
    find: (text) => ask(`users?${new URLSearchParams({ search: state.user === text ? "" : text, limit: 20 })}`),
    show: (user) => [h("span", { class: "title", dir: "auto" }, user.user_id), h("small", {}, many(user.events, "event"))],
    choose: (user) => chooseUser(user.user_id),
    typed: chooseUser,
    none: (text) => (text === "" ? "No user has stored events." : `Enter asks for “${text}” all the same.`),
  });
  combobox(at("search"), {
    label: "Items",
    stays: true,
    first: true,
    find: async (text) => {
      const items = await ask(`catalogue?${new URLSearchParams({ search: text, limit: 30 })}`);
      learn(items);
      return items;
    },
    show: ({ item_id: id }) => [picture(id), h("span", { class: "what" }, titled(id), hasTitle(id) && h("small", {}, id))],
    choose: (item) => add(item.item_id),
    none: (text) => `No title and no id has “${text}” in it.`,
  });
  at("options").open = matchMedia("(min-width: 46rem)").matches;
  for (const radio of document.querySelectorAll("[name=mode]")) {
    radio.addEventListener("change", () => {
      state.mode = radio.value;
      showAsking();
      changed();
    });
  }
  const numbered = settled(() => {
    const k = Number(at("k").value);
    if (!Number.isInteger(k) || k < 1 || k > MOST || k === state.k) return;
    state.k = k;
    refined(null);
  }, 250);
  at("k").addEventListener("input", numbered);
  at("k").addEventListener("blur", () => (at("k").value = state.k));
  const slid = settled(() => refined(`With diversity ${shownDiversity()}`), 150);
  at("diversity").addEventListener("input", () => {
    state.diversity = Number(at("diversity").value);
    showDiversity();
    slid();
  });
  at("diversity-reset").append(icon("undo"));
  at("diversity-reset").addEventListener("click", () => {
    state.diversity = null;
    at("diversity").value = 0;
    showDiversity();
    slid();
  });
  at("where").addEventListener("change", () => {
    state.where = at("where").value.trim();
    refined(null);
  });
  at("seen").addEventListener("change", () => {
    state.seen = at("seen").checked;
    refined(null);
  });
}

/** Show in the fields what the state says. */
export function showAsking() {
  const isUser = state.mode === "user";
  for (const radio of document.querySelectorAll("[name=mode]")) radio.checked = radio.value === state.mode;
  at("user-part").hidden = !isUser;
  at("user").value = state.user;
  at("search-label").textContent = isUser ? "Add an event of this user" : "Add to the session";
  at("search").disabled = isUser && state.user === "";
  at("k").value = state.k;
  at("where").value = state.where;
  at("seen").checked = state.seen;
  at("diversity").value = state.diversity ?? 0;
  showDiversity();
}

function showDiversity() {
  at("diversity-shown").textContent = shownDiversity();
  at("diversity-reset").disabled = state.diversity === null;
}

const shownDiversity = () => (state.diversity === null ? "default" : state.diversity === 0 ? "off" : state.diversity.toFixed(2));
