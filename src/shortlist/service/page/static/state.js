// Who asks and how, kept in the address after the #, so that a view can be sent to somebody else.

export const MOST = 500; // items of an answer, events of a session

const DEFAULTS = { mode: "user", user: "", session: [], k: 10, diversity: null, where: "", seen: false, view: "list" };

/** All that an answer depends on, and the view of it. */
export const state = { ...DEFAULTS };

/** Take over what the address says. */
export function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const k = Number(said.get("k") ?? DEFAULTS.k);
  const diversity = said.get("diversity") === null ? null : Number(said.get("diversity"));
  Object.assign(state, {
    mode: said.has("user") || !said.has("session") ? "user" : "session",
    user: said.get("user") ?? "",
    session: said.getAll("session").filter((id) => id !== "").slice(0, MOST),
    k: Number.isInteger(k) && k >= 1 && k <= MOST ? k : DEFAULTS.k,
    diversity: diversity !== null && diversity >= 0 && diversity <= 1 ? diversity : null,
    where: said.get("where") ?? "",
    seen: said.get("seen") === "1",
    view: said.get("view") === "compare" ? "compare" : "list",
  });
}

/** Write the address; `isNew` makes an entry in the browser's history, to which its back button returns. */
export function writeAddress({ isNew = false } = {}) {
  const said = new URLSearchParams();
  if (state.mode === "user" && state.user !== "") said.set("user", state.user);
  if (state.mode === "session") (state.session.length ? state.session : [""]).forEach((id) => said.append("session", id));
  if (state.k !== DEFAULTS.k) said.set("k", state.k);
  if (state.diversity !== null) said.set("diversity", state.diversity);
  if (state.where !== "") said.set("where", state.where);
  if (state.seen) said.set("seen", "1");
  if (state.view !== DEFAULTS.view) said.set("view", state.view);
  const address = `#${said}`;
  if (address === location.hash || (address === "#" && location.hash === "")) return;
  history[isNew ? "pushState" : "replaceState"](null, "", address === "#" ? location.pathname : address);
}

/** Whether there is somebody to recommend for. A session without events is: nobody in particular. */
export const isAsking = () => state.mode === "session" || state.user !== "";

/** The body of POST /recommend. */
export function question() {
  const body = { ...who(), k: state.k, detail: true };
  if (state.diversity !== null) body.diversity = state.diversity;
  if (state.where !== "") body.where = state.where;
  if (state.seen) body.exclude_seen = false;
  return body;
}

/** The part of a body that says who asks. */
export function who() {
  return state.mode === "user" ? { user_id: state.user } : { events: state.session.map((id) => ({ item_id: id })) };
}
