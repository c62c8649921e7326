// What a model says, as people read it.

import { button, bytesOf, element, save } from "./dom.js";

// The nodes of the outputs of one input, best first.
export function shown(model, outputs, input) {
  const [best] = outputs;
  if ("probabilities" in best) return classified(best);
  if ("things" in best) return [...pictures(best), things(best)];
  if ("shares" in best) return [...pictures(best), shares(best)];
  return [...outputs.map((output) => written(output, outputs.length > 1, input)), ...subtitles(best)];
}

function written(output, ranked, input) {
  const text = output.words?.length ? words(output.words, input) : [output.text || element("span", { className: "muted", textContent: "(nothing)" })];
  const score = element("span", { className: "score", textContent: output.score.toFixed(3), title: "what it is ranked by" });
  return element("p", { className: "written", dir: "auto" }, ...(ranked ? [score, " "] : []), ...text);
}

// Words that play from where they were said.
function words(found, input) {
  return found.flatMap(({ text, start, end }) => {
    const node = button(text, () => input.play(start), "word");
    node.title = `${start.toFixed(2)} to ${end.toFixed(2)} s`;
    return [node, " "];
  });
}

function subtitles({ files }) {
  const texts = Object.entries(files ?? {}).filter(([ending]) => /^\.(srt|vtt)$/.test(ending));
  if (!texts.length) return [];
  return [element("div", { className: "tools" }, ...texts.map(([ending, content]) =>
    button(ending.slice(1).toUpperCase(), () => save(new Blob([bytesOf(content)], { type: "text/plain" }), `subtitles${ending}`))))];
}

function classified({ labels, probabilities, words: carried }) {
  const rows = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  const nodes = [element("p", { className: "written", textContent: labels.join(", ") || "none of them" }), bars(rows)];
  if (carried?.length) {
    nodes.push(element("p", { className: "muted small", textContent: "carried by" }), element("p", {}, ...carried.flatMap(({ word, share }) =>
      [element("span", { className: "chip" }, element("bdi", { textContent: word }), element("span", { className: "number", textContent: ` ${(100 * share).toFixed(0)} %` })), " "])));
  }
  return nodes;
}

function bars(rows) {
  return element("table", { className: "bars" }, element("tbody", {}, ...rows.map(([name, share]) => {
    const bar = element("meter", { min: 0, max: 1, value: share, attributes: { "aria-hidden": "true" } });
    return element("tr", {}, element("th", { scope: "row", textContent: name }), element("td", {}, bar),
      element("td", { className: "number", textContent: `${(100 * share).toFixed(1)} %` }));
  })));
}

function shares({ shares: found }) {
  return bars(Object.entries(found));
}

function things({ things: found }) {
  if (!found.length) return element("p", { className: "muted", textContent: "It finds nothing that it is sure of." });
  const head = element("tr", {}, ...["thing", "how sure", "left", "top", "width", "height"].map((name) => element("th", { scope: "col", textContent: name })));
  return element("table", { className: "things" }, element("thead", {}, head), element("tbody", {}, ...found.map(({ label, score, bbox }) =>
    element("tr", {}, element("th", { scope: "row", textContent: label }), ...[score.toFixed(2), ...bbox.map((value) => value.toFixed(0))].map((text) =>
      element("td", { className: "number", textContent: text }))))));
}

// What is drawn, to be seen and saved.
function pictures({ files }) {
  return Object.entries(files ?? {}).filter(([ending]) => ending.endsWith(".png") && !ending.includes("mask")).map(([ending, content]) => {
    const blob = new Blob([bytesOf(content)], { type: "image/png" });
    const image = element("img", { src: `data:image/png;base64,${content}`, alt: "the picture with what the model found", className: "drawn" });
    return element("figure", {}, image, element("div", { className: "tools" }, button("PNG", () => save(blob, `found${ending}`))));
  });
}
