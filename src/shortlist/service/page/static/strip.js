// What answers: state, versions and ages, asked for again and again while the page is looked at.

import { ask, forgetToken, token } from "./api.js";
import { at, h } from "./dom.js";
import { age } from "./words.js";

const EVERY_MS = 10_000;

let told = null; // what was said last, and when
let troubled = "";
let whenNew = () => {};
let shown = "";
let inUse = null; // versions that the answer shown comes from

/** Ask now and then; `work()` is called by the button that appears when another version answers than the one shown. */
export function startStrip(work) {
  whenNew = work;
  poll();
  setInterval(() => document.hidden || poll(), EVERY_MS);
  setInterval(() => document.hidden || show(), 1_000);
  document.addEventListener("visibilitychange", () => document.hidden || poll());
}

/** An answer came: its versions and ages are the latest. */
export function noteAnswer({ versions, ages_s }) {
  inUse = versions ?? null;
  troubled = "";
  note({ versions, ages_s });
}

async function poll() {
  try {
    const ready = await ask("health/ready");
    troubled = "";
    note(ready);
    at("model").textContent = ready.model ?? "";
  } catch (error) {
    troubled = error.message;
    show();
  }
}

function note(values) {
  const known = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  told = { ...told, ...known, ...(known.ages_s ? { at: Date.now() } : {}) };
  show();
}

function show() {
  if (told === null && troubled === "") return;
  const { status, items, versions, ages_s: ages, at: moment } = told ?? {};
  const passed = (Date.now() - moment) / 1000;
  const old = (name) => (ages?.[name] === null || ages?.[name] === undefined ? "unknown" : `${age(ages[name] + passed)} old`);
  const part = (name, value, more) => h("span", { class: "part", title: more ?? "" }, h("span", { class: "soft" }, name), " ", value);
  const isNewer = versions && inUse && (versions.model !== inUse.model || versions.index !== inUse.index);
  const parts = [
    h("span", { class: troubled ? "state bad" : "state" }, troubled || status || "ready"),
    items !== undefined && part("items", items.toLocaleString("en")),
    ages && part("model", old("model"), versions && `version ${versions.model}`),
    versions && h("code", { class: "version" }, versions.model),
    ages && part("index", old("index"), versions && `version ${versions.index}`),
    versions && h("code", { class: "version" }, versions.index),
    ages && part("newest stored event", old("events")),
    isNewer && h("span", { class: "newer" }, "Another version answers now.", h("button", { class: "link", type: "button", onclick: whenNew }, "Ask again")),
    h("span", { class: "space" }),
    token() !== null && h("button", { class: "link", type: "button", onclick: () => { forgetToken(); location.reload(); } }, "Forget the token"),
  ].filter(Boolean);
  const text = parts.map((one) => one.textContent).join("\n");
  if (text !== shown) at("strip").replaceChildren(...parts); // a button that has the focus keeps it
  shown = text;
}
