// Questions to the service. Ids are text here, whatever they are outside; a token is kept for as long as the tab is open.

import { askToken } from "./dialogs.js";

const KEPT = "shortlist-token";
const IDS = new Set(["item_id", "user_id"]);

/** What the service said instead of an answer; status 0: it could not be reached. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The token that is sent along, if any. */
export const token = () => sessionStorage.getItem(KEPT);

/** Ask again for a token at the next question that needs one. */
export const forgetToken = () => sessionStorage.removeItem(KEPT);

/** The answer to GET `path`, or with `body` to POST; a `Refusal` where there is none. */
export async function ask(path, { body, signal } = {}) {
  const answer = await fetched(path, { body, signal });
  const text = await answer.text();
  return text === "" ? null : JSON.parse(text, idsAsText);
}

/** The picture at `path` as a data URL: an <img> cannot send a token. */
export async function pictureWithToken(path) {
  const blob = await (await fetched(path, {})).blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

async function fetched(path, { body, signal }) {
  for (;;) {
    const sent = token();
    const headers = sent === null ? {} : { Authorization: `Bearer ${sent}` };
    const request = { headers, signal };
    if (body !== undefined) {
      request.method = "POST";
      request.body = JSON.stringify(body);
      headers["Content-Type"] = "application/json";
    }
    let answer;
    try {
      answer = await fetch(new URL(path, document.baseURI), request);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal(0, "The service cannot be reached.");
    }
    if (answer.ok) return answer;
    const said = await words(answer);
    if (answer.status !== 401) throw new Refusal(answer.status, said);
    if (token() === sent) sessionStorage.setItem(KEPT, await askToken(said, sent !== null));
  }
}

async function words(answer) {
  try {
    return (await answer.json()).error ?? `The service answered ${answer.status}.`;
  } catch {
    return `The service answered ${answer.status} ${answer.statusText}`.trim() + ".";
  }
}

/** An id as text; one larger than 2^53 keeps all its digits where the browser tells how it was written. */
function idsAsText(key, value, context) {
  return IDS.has(key) && typeof value === "number" ? (context?.source ?? String(value)) : value;
}
