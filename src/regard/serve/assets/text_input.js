// A text to be read by a model.

import { button, element } from "./dom.js";

export class TextInput {
  constructor(model) {
    const id = `text-${model.name}`;
    this.area = element("textarea", { id, rows: model.task === "summarization" ? 9 : 4, spellcheck: false, placeholder: model.example ?? "" });
    this.area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.area.form.requestSubmit();
      }
    });
    const label = element("label", { htmlFor: id, textContent: "Text" });
    const example = button("Use the example", () => {
      this.area.value = model.example;
      this.area.focus();
    }, "quiet");
    example.hidden = !model.example;
    this.root = element("div", {}, element("div", { className: "row spread" }, label, example), this.area,
      element("p", { className: "muted small", textContent: "Ctrl+Enter runs it." }));
  }

  get value() {
    return this.area.value.trim();
  }

  ask() {
    this.area.focus();
  }
}
