// The time of each stage to one bar with its figures.

import { h } from "./dom.js";
import { milliseconds } from "./words.js";

const WORDS = {
  embed: "The history to a vector",
  search: "The vector to candidates",
  fuse: "The sources to one list",
  fill: "Popular items where nothing was found",
  rank: "The candidates in the ranker's order",
  select: "A varied few of them",
};

/** The stages side by side, as long as they took; `there_ms` is how long the answer took to come here. */
export function stagesShown(stages, there_ms) {
  const steps = Object.entries(stages);
  const total = steps.reduce((sum, [, value]) => sum + value, 0);
  const bar = h("div", { class: "stages", "aria-hidden": "true" }, steps.map(([name, value], number) => {
    const part = h("i", { class: `s${number % 6}`, title: `${name}: ${milliseconds(value)} ms` });
    part.style.flexGrow = value / (total || 1);
    return part;
  }));
  const legend = h("dl", { class: "legend" },
    steps.map(([name, value], number) => h("div", { title: WORDS[name] ?? "" },
      h("dt", {}, h("i", { class: `s${number % 6}` }), name), h("dd", {}, `${milliseconds(value)} ms`))),
    h("div", { class: "whole", title: "All stages together" }, h("dt", {}, "all"), h("dd", {}, `${milliseconds(total)} ms`)),
    h("div", { class: "whole", title: "From the question to the answer, as this browser saw it" },
      h("dt", {}, "to here"), h("dd", {}, `${milliseconds(there_ms)} ms`)));
  return [bar, legend];
}
