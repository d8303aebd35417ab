// Numbers to words and short figures.

const UNITS = [["y", 31_557_600], ["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];

/** Seconds as one figure and its unit: "3 h". */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  const rest = Math.max(0, seconds);
  const [unit, size] = UNITS.find(([, least]) => rest >= least) ?? UNITS.at(-1);
  return `${Math.floor(rest / size).toLocaleString("en")} ${unit}`;
}

/** Milliseconds with as many places as mean something. */
export function milliseconds(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A score or a contribution with three significant figures, and its sign if asked for. */
export function figure(value, { sign = false } = {}) {
  const size = Math.abs(value);
  const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  const text = size.toFixed(places);
  const minus = value < 0 && Number(text) !== 0;
  return (minus ? "−" : sign && Number(text) !== 0 ? "+" : "") + text;
}

/** "1 event", "3 events". */
export const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** When an event was, as a date, or as a time where it was today. */
export function day(timestamp) {
  if (timestamp === null || timestamp === undefined) return "";
  const moment = new Date(timestamp * 1000);
  const isToday = moment.toDateString() === new Date().toDateString();
  return isToday
    ? moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : moment.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
}

const SOURCES = {
  model: ["a known user", "The models know this user by stored events."],
  session: ["a session", "The models do not know who asks; they answer by these events alone."],
  features: ["features", "No event is known; the models answer by what they are told of the user."],
  popularity: ["popularity", "Nothing is known of who asks: this is what most others take."],
};

/** What an answer was made from, short and in a sentence. */
export const source = (name) => SOURCES[name] ?? [name, ""];
