// One model: what it is given, what it says, and what it attended to.

import { look, predict, stream } from "./api.js";
import { Attention } from "./attention.js";
import { button, element, save } from "./dom.js";
import { FileInput } from "./file_input.js";
import { shown } from "./output.js";
import { SearchOptions } from "./search.js";
import { TextInput } from "./text_input.js";

export class ModelView {
  constructor(model) {
    this.model = model;
    this.input = model.reads === "texts" ? new TextInput(model) : new FileInput(model);
    this.search = model.searches ? new SearchOptions() : null;
    this.attention = new Attention(model);
    this.go = element("button", { textContent: "Run", className: "main" });
    this.stop = button("Stop", () => this.running?.abort(), "stop");
    this.stop.hidden = true;
    this.status = element("p", { className: "status", attributes: { role: "status" } });
    this.output = element("div", { className: "output", attributes: { "aria-live": "polite" } });
    this.tools = element("div", { className: "tools" });
    const form = element("form", { className: "panel input" },
      ...[this.input.root, this.search?.root].filter(Boolean), element("div", { className: "row" }, this.go, this.stop, this.status));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    const output = element("section", { className: "panel", attributes: { "aria-label": "output" } },
      element("div", { className: "row spread" }, element("h2", { textContent: "Output" }), this.tools), this.output);
    this.root = element("div", { className: "model" }, element("div", { className: "pair" }, form, output), this.attention.root);
    this.idle();
  }

  idle() {
    const what = { texts: "Write a text", pictures: "Choose a picture", sounds: "Record or choose a sound" }[this.model.reads];
    this.output.replaceChildren(element("p", { className: "muted", textContent: `${what}, and run the model.` }));
  }

  async run() {
    const given = this.input.value;
    if (!given) {
      this.input.ask();
      return;
    }
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    this.go.disabled = true;
    this.stop.hidden = false;
    this.tools.replaceChildren();
    this.attention.clear();
    this.say("running …");
    const began = performance.now();
    try {
      const outputs = await this.outputs(given, running.signal);
      this.show(outputs);
      this.say(`${((performance.now() - began) / 1000).toFixed(2)} s`);
      await this.attention.show(given, running.signal);
    } catch (error) {
      if (error.name === "AbortError") this.say("stopped");
      else this.fail(error);
    } finally {
      if (this.running === running) {
        this.go.disabled = false;
        this.stop.hidden = true;
      }
    }
  }

  // A text is shown while it is written; of everything else there is one answer.
  async outputs(given, signal) {
    const search = this.search?.value;
    if (this.model.reads !== "texts" || !this.model.streams) {
      return (await predict(this.model, given, search, signal)).outputs[0];
    }
    const text = element("p", { className: "written busy" });
    this.output.replaceChildren(text);
    for await (const [kind, data] of stream(this.model, given, search, signal)) {
      if (kind === "done") return data.outputs;
      text.textContent = data.text;
    }
    throw new Error("The service ended its answer in the middle.");
  }

  show(outputs) {
    this.output.replaceChildren(...shown(this.model, outputs, this.input));
    const bare = outputs.map(({ files, ...rest }) => rest);
    this.tools.replaceChildren(button("JSON", () => save(new Blob([JSON.stringify(bare, null, 1)], { type: "application/json" }), `${this.model.name}.json`)));
  }

  say(text) {
    this.status.textContent = text;
  }

  fail(error) {
    this.say("");
    this.output.replaceChildren(element("p", { className: "failed", textContent: error.message, attributes: { role: "alert" } }));
  }
}
