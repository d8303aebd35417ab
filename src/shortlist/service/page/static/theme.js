// Light, dark, or as the system has it; remembered by this browser.

import { at, icon } from "./dom.js";

const KEPT = "shortlist-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const SHOWN = { system: "As the system", light: "Light", dark: "Dark" };

/** Make the button at the top that goes from one to the next. */
export function startTheme() {
  show(localStorage.getItem(KEPT) ?? "system");
  at("theme").addEventListener("click", () => {
    const next = NEXT[document.documentElement.dataset.theme];
    localStorage.setItem(KEPT, next);
    show(next);
  });
}

function show(said) {
  const theme = said in NEXT ? said : "system";
  document.documentElement.dataset.theme = theme;
  at("theme").replaceChildren(icon(theme));
  at("theme").setAttribute("aria-label", `Colours: ${SHOWN[theme].toLowerCase()}. Change to ${SHOWN[NEXT[theme]].toLowerCase()}.`);
  at("theme").title = `Colours: ${SHOWN[theme].toLowerCase()}`;
}
