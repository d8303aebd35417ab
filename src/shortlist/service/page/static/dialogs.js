// What stands before the page: the list of keys, and the question for a token.

import { at, h, icon } from "./dom.js";

const KEYS = [
  [["/"], "Search the catalogue"],
  [["U"], "Choose the user"],
  [["↑", "↓"], "Move in a list"],
  [["Enter"], "Why an item stands where it does"],
  [["A"], "Add the item in focus as an event"],
  [["V"], "List, or before and after re-ranking"],
  [["Alt", "↑ ↓"], "Move an event of a session"],
  [["Delete"], "Take an event out of a session"],
  [["Esc"], "Close what is open"],
  [["?"], "This list"],
];

/** The button with the keys, and what it opens. */
export function startKeys() {
  at("keys").addEventListener("click", showKeys);
}

/** Open the list of keys. */
export function showKeys() {
  const rows = KEYS.map(([keys, what]) => [
    h("dt", {}, keys.map((key) => h("kbd", {}, key))),
    h("dd", {}, what),
  ]);
  open("Keys", h("dl", { class: "keys" }, rows));
}

let asked = null;

/** A token that the user types; a second question while one is open gets the same answer. */
export function askToken(said, isWrong) {
  asked ??= new Promise((resolve, reject) => {
    const input = h("input", { type: "password", id: "token", autocomplete: "off", required: true, "aria-describedby": "token-said" });
    const form = h("form", { method: "dialog" },
      h("p", { id: "token-said" }, said),
      h("label", { for: "token" }, isWrong ? "Another token" : "Token"),
      input,
      h("p", { class: "note" }, "It is kept until this tab is closed, and sent to this service only."),
      h("div", { class: "buttons" }, h("button", { class: "main" }, "Continue")),
    );
    const dialog = open("A token is needed", form);
    let given = null;
    form.addEventListener("submit", () => (given = input.value.trim()));
    dialog.addEventListener("close", () => {
      asked = null;
      if (given) resolve(given);
      else reject(Object.assign(new Error(said), { status: 401 }));
    });
    input.focus();
  });
  return asked;
}

function open(title, ...content) {
  const close = h("button", { class: "quiet", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"));
  const dialog = h("dialog", { "aria-labelledby": "dialog-heading" },
    h("div", { class: "head" }, h("h2", { id: "dialog-heading" }, title), h("span", { class: "space" }), close),
    content,
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
