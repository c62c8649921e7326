// What the model attended to: the page that `regard look` writes, in a frame, and its downloads.

import { look } from "./api.js";
import { button, element, save } from "./dom.js";

export class Attention {
  constructor(model) {
    this.model = model;
    this.tools = element("div", { className: "tools" });
    this.status = element("p", { className: "muted", attributes: { role: "status" } });
    this.place = element("div");
    this.root = element("section", { className: "attention", attributes: { "aria-label": "attention" } },
      element("div", { className: "row spread" }, element("h2", { textContent: "What it attended to" }), this.tools), this.status, this.place);
    this.root.hidden = true;
  }

  clear() {
    this.root.hidden = true;
    this.place.replaceChildren();
    this.tools.replaceChildren();
  }

  async show(given, signal) {
    this.root.hidden = false;
    this.status.hidden = false;
    this.status.textContent = "looking …";
    let page;
    try {
      page = await look(this.model, given, "html", signal);
    } catch (error) {
      if (error.name === "AbortError") {
        this.clear();
        throw error;
      }
      this.status.textContent = error.message;
      return;
    }
    const frame = element("iframe", { title: "What the model attended to", srcdoc: await page.text() });
    frame.addEventListener("load", () => {
      const inside = frame.contentDocument.documentElement;
      const fit = () => { frame.style.height = `${Math.ceil(inside.querySelector("body").getBoundingClientRect().height) + 8}px`; };
      new ResizeObserver(fit).observe(inside.querySelector("body"));
      fit();
    });
    this.place.replaceChildren(frame);
    this.status.hidden = true;
    const name = `${this.model.name}-attention`;
    this.tools.replaceChildren(
      button("Page", () => save(page, `${name}.html`)),
      ...["png", "json"].map((form) => button(form.toUpperCase(), async (event) => {
        event.target.disabled = true;
        try {
          save(await look(this.model, given, form), `${name}.${form}`);
        } catch (error) {
          this.status.hidden = false;
          this.status.textContent = error.message;
        } finally {
          event.target.disabled = false;
        }
      })),
    );
  }
}
