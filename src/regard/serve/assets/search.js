// How to search: what is left empty is as in the model's recipe.

import { element } from "./dom.js";

const KINDS = {
  beam: { width: "beams", length_penalty: "length penalty", n_best: "outputs" },
  greedy: {},
  sampling: { temperature: "temperature", top_k: "top k", top_p: "top p", samples: "outputs", seed: "seed" },
};

export class SearchOptions {
  constructor() {
    const kinds = Object.keys(KINDS).map((kind) => element("option", { value: kind, textContent: kind }));
    this.kind = element("select", {}, ...kinds);
    this.fields = element("div", { className: "fields" });
    this.kind.addEventListener("change", () => this.offer());
    this.root = element("details", {}, element("summary", { textContent: "Search" }),
      element("div", { className: "fields" }, element("label", {}, "kind", this.kind)), this.fields);
    this.offer();
  }

  offer() {
    this.fields.replaceChildren(...Object.entries(KINDS[this.kind.value]).map(([name, text]) =>
      element("label", {}, text, element("input", { type: "number", name, step: "any", placeholder: "as trained" }))));
  }

  get value() {
    const given = [...this.fields.querySelectorAll("input")].filter(({ value }) => value !== "").map(({ name, value }) => [name, Number(value)]);
    return { kind: this.kind.value, ...Object.fromEntries(given) };
  }
}
