// What is known of items here: titles and pictures, asked for once by id.

import { ask, pictureWithToken, token } from "./api.js";
import { h } from "./dom.js";

const AT_ONCE = 100;
const known = new Map(); // id → { title, has_image }; has_image is not known of what only an answer named
const loaded = new Map(); // id → data URL, where a token is needed to see it

/** Remember the titles, and the pictures where that is told, of items with an `item_id`. */
export function learn(items) {
  for (const item of items) known.set(item.item_id, { ...known.get(item.item_id), ...item });
}

/** Forget everything: another version answers, which may know other titles. */
export function forget() {
  known.clear();
  loaded.clear();
}

/** The title of an item, or its id where it has none. */
export const titleOf = (id) => known.get(id)?.title || id;

/** Whether there is more to say of an item than its id. */
export const hasTitle = (id) => Boolean(known.get(id)?.title);

/** Ask for what is not known of these items, then show the pictures that wait for it. */
export async function lookUp(ids) {
  const missing = [...new Set(ids)].filter((id) => known.get(id)?.has_image === undefined);
  for (let start = 0; start < missing.length; start += AT_ONCE) {
    const part = missing.slice(start, start + AT_ONCE);
    const names = new URLSearchParams(part.map((id) => ["item", id]));
    const found = await ask(`catalogue?${names}`);
    learn(part.map((id) => ({ item_id: id, has_image: false })));
    learn(found);
  }
  showPictures();
}

/** A title that keeps its own direction, with the whole of it where it is cut. */
export function titled(id, attributes = {}) {
  const text = titleOf(id);
  return h("span", { class: "title", dir: "auto", title: text, ...attributes }, text);
}

/** A place for an item's picture, which is filled when it is known that there is one. */
export function picture(id, { large = false } = {}) {
  const place = h("span", { class: large ? "picture large" : "picture", "data-picture": id, "aria-hidden": "true" });
  fill(place);
  return place;
}

/** Fill all places whose picture is known by now. */
export function showPictures() {
  document.querySelectorAll("[data-picture]:empty").forEach(fill);
}

function fill(place) {
  const id = place.dataset.picture;
  const item = known.get(id);
  if (item?.has_image === undefined) return;
  if (item.has_image) {
    document.body.classList.add("pictures");
    const image = h("img", { alt: "", loading: "lazy", decoding: "async" });
    show(image, id);
    place.append(image);
  } else {
    place.append(h("span", { dir: "auto" }, [...titleOf(id).trim()][0] ?? "?"));
  }
}

async function show(image, id) {
  const path = `items/${encodeURIComponent(id)}/image`;
  if (token() === null) {
    image.src = new URL(path, document.baseURI);
    return;
  }
  if (!loaded.has(id)) loaded.set(id, pictureWithToken(path));
  try {
    image.src = await loaded.get(id);
  } catch {
    loaded.delete(id);
    image.remove(); // it was withdrawn between two questions
  }
}
