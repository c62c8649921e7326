
// Brings the page's sections to life. Text of tokens is only ever set as text, never as markup.
"use strict";
(() => {
  const STRONGEST = 3; // source tokens listed for each output token, as in section.py
  const FAINTEST = 0.002; // cells below are not drawn, as in section.py
  const READ = 6; // tokens named in the readout
  const ALL = -1; // of layers or heads: their mean

  const data = JSON.parse(document.getElementById("data").textContent);
  const depth = Math.sqrt; // how deep a weight's colour is
  const darkness = matchMedia("(prefers-color-scheme: dark)");

  function element(name, properties = {}, ...children) {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  }

  function mean(maps) {
    return maps[0].map((row, i) => row.map((_, j) => maps.reduce((sum, map) => sum + map[i][j], 0) / maps.length));
  }

  // The k largest of a list of weights, as [index, weight], ties by index.
  function top(weights, k) {
    return [...weights.entries()].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, k);
  }

  function chip(label, weight) {
    const node = element("span", { className: "chip" });
    node.style.setProperty("--strength", depth(weight));
    node.append(element("bdi", { textContent: label }), " ", element("span", { className: "number", textContent: weight.toFixed(3) }));
    return node;
  }

  class View {
    constructor(section, alignment) {
      this.section = section;
      this.source = alignment.source;
      this.output = alignment.output;
      this.layers = alignment.layers;
      this.entropy = alignment.entropy;
      this.heads = alignment.weights[0].length;
      const scaled = alignment.weights.map((layer) => layer.map((map) => map.map((row) => row.map((w) => w / data.scale))));
      const means = scaled.map(mean);
      this.maps = { all: mean(means), layers: means, heads: scaled };
      this.limit = Math.log(this.source.length);
      this.layer = this.head = ALL;
      this.pinned = { side: "output", index: 0 }; // so that the page shows at once what pointing does
      this.pointed = null;
      this.find = (selector) => section.querySelector(selector);
      this.all = (selector) => [...section.querySelectorAll(selector)];
      this.pieces = { source: this.all('[data-side="source"] .piece'), output: this.all('[data-side="output"] .piece') };
      this.columns = this.all(".map thead th[data-index]");
      this.rows = this.all(".map tbody tr");
      this.items = this.all(".strongest li");
      this.buildHeads();
      this.listen();
      section.classList.add("live");
      for (const selector of [".controls", ".heads", ".readout"]) this.find(selector).hidden = false;
    }

    // ---- which map

    map(layer, head) {
      if (layer === ALL) return this.maps.all;
      return head === ALL ? this.maps.layers[layer] : this.maps.heads[layer][head];
    }

    spread(layer, head) {
      if (layer === ALL) return this.entropy.mean;
      return head === ALL ? this.entropy.layers[layer] : this.entropy.heads[layer][head];
    }

    name(layer, head) {
      if (layer === ALL) return "Mean of all layers and heads";
      return `${this.layers[layer]}, ${head === ALL ? "mean of its heads" : `head ${head}`}`;
    }

    choose(layer, head) {
      this.layer = layer < this.layers.length ? layer : ALL;
      this.head = this.layer !== ALL && head < this.heads ? head : ALL;
      this.find("select.layer").value = this.layer;
      this.find("select.head").value = this.head;
      this.find("select.head").disabled = this.layer === ALL;
      this.find(".which").textContent = this.name(this.layer, this.head);
      for (const button of this.all(".heads button")) {
        const chosen = Number(button.dataset.layer) === this.layer && Number(button.dataset.head) === this.head;
        button.setAttribute("aria-pressed", chosen);
        button.tabIndex = chosen ? 0 : -1;
      }
      this.drawMap();
      this.light();
    }

    // ---- drawing

    drawMap() {
      const map = this.map(this.layer, this.head);
      const spread = this.spread(this.layer, this.head);
      this.rows.forEach((row, t) => {
        const strip = row.querySelector(".strip svg");
        const rectangle = (index, opacity) => {
          const rect = document.createElementNS(strip.namespaceURI, "rect");
          for (const [key, value] of Object.entries({ x: index, "fill-opacity": opacity })) rect.setAttribute(key, value);
          return rect;
        };
        strip.replaceChildren(...[...map[t].entries()].filter(([, w]) => w >= FAINTEST).map(([s, w]) => rectangle(s, depth(w).toFixed(3))));
        row.querySelector(".nats span").textContent = spread[t].toFixed(2);
        row.querySelector(".bar rect").setAttribute("width", this.limit ? Math.min(spread[t] / this.limit, 1) : 0);
        this.items[t].querySelector(".spread").textContent = `${spread[t].toFixed(2)} nats`;
        const chips = top(map[t], STRONGEST).map(([s, w]) => chip(this.source[s], w));
        this.items[t].querySelector(".tops").replaceChildren(...chips.flatMap((each) => [each, " "]));
      });
    }

    // The picture of every layer and head: a table of buttons, which the arrow keys walk through.
    buildHeads() {
      const heads = [ALL, ...Array(this.heads).keys()];
      const table = element("table");
      const header = element("tr", {}, ...heads.map((h) => element("th", { scope: "col", textContent: h === ALL ? "mean" : `head ${h}` })));
      table.append(element("thead", {}, header));
      const body = element("tbody");
      for (const layer of [ALL, ...this.layers.keys()]) {
        const name = element("th", { scope: "rowgroup", colSpan: heads.length, textContent: layer === ALL ? "all" : this.layers[layer] });
        const buttons = (layer === ALL ? [ALL] : heads).map((head) => element("td", {}, this.button(layer, head)));
        body.append(element("tr", {}, name), element("tr", {}, ...buttons));
      }
      table.append(body);
      this.find(".heads").replaceChildren(element("h3", { textContent: "Every layer and head, with its mean entropy" }), table);
      this.paint();
    }

    button(layer, head) {
      const spread = this.spread(layer, head);
      const average = (spread.reduce((sum, each) => sum + each, 0) / spread.length).toFixed(2);
      const canvas = element("canvas", { width: this.source.length, height: this.output.length });
      const cell = Math.max(1, Math.floor(84 / Math.max(canvas.width, canvas.height)));
      canvas.style.width = `${Math.max(canvas.width * cell, 48)}px`;
      canvas.style.height = `${Math.max(canvas.height * cell, 24)}px`;
      const button = element("button", { type: "button" }, canvas, element("span", { textContent: average }));
      Object.assign(button.dataset, { layer, head });
      button.setAttribute("aria-label", `${this.name(layer, head)}: mean entropy ${average} nats`);
      return button;
    }

    paint() {
      const probe = this.find(".strip svg");
      const [red, green, blue] = getComputedStyle(probe).fill.match(/[\d.]+/g).map(Number);
      for (const button of this.all(".heads button")) {
        const canvas = button.firstChild;
        const context = canvas.getContext("2d");
        const image = context.createImageData(canvas.width, canvas.height);
        const weights = this.map(Number(button.dataset.layer), Number(button.dataset.head)).flat();
        weights.forEach((weight, cell) => image.data.set([red, green, blue, Math.round(255 * depth(Math.min(weight, 1)))], 4 * cell));
        context.putImageData(image, 0, 0);
      }
    }

    // ---- which token, and what lights up

    light() {
      const picked = this.pointed ?? this.pinned;
      const map = this.map(this.layer, this.head);
      const is = (side, index) => picked?.side === side && picked.index === index;
      const strength = (side, index) => {
        if (!picked || picked.side === side) return 0;
        return depth(side === "source" ? map[picked.index][index] : map[index][picked.index]);
      };
      for (const side of ["source", "output"]) {
        this.pieces[side].forEach((piece, index) => {
          piece.style.setProperty("--strength", strength(side, index).toFixed(3));
          piece.classList.toggle("picked", is(side, index) || (side === "source" && picked?.cell === index));
          const pinned = this.pinned?.side === side && this.pinned.index === index;
          piece.classList.toggle("pinned", pinned);
          piece.setAttribute("aria-selected", pinned);
        });
      }
      this.columns.forEach((column, index) => column.classList.toggle("picked", is("source", index) || picked?.cell === index));
      this.rows.forEach((row, index) => {
        row.classList.toggle("picked", is("output", index));
        this.items[index].classList.toggle("picked", is("output", index));
        row.querySelector(".guide")?.remove();
      });
      const guided = picked?.side === "source" ? picked.index : picked?.cell;
      if (guided !== undefined) this.guide(guided);
      this.read(picked, map);
    }

    guide(column) {
      for (const row of this.rows) {
        const strip = row.querySelector(".strip svg");
        const sides = document.createElementNS(strip.namespaceURI, "path");
        sides.setAttribute("class", "guide");
        sides.setAttribute("d", `M${column + 0.03} 0v1M${column + 0.93} 0v1`);
        strip.append(sides);
      }
    }

    read(picked, map) {
      const readout = this.find(".readout");
      if (!picked) return readout.replaceChildren("Point at a token to read what it attended to.");
      const { side, index, cell } = picked;
      const token = element("bdi", { className: "token", textContent: this[side][index] });
      const weights = side === "output" ? map[index] : map.map((row) => row[index]);
      const others = side === "output" ? this.source : this.output;
      const named = top(weights, READ).filter(([, weight]) => weight >= FAINTEST);
      if (cell !== undefined && !named.some(([other]) => other === cell)) named.push([cell, weights[cell]]);
      const chips = named.flatMap(([other, weight]) => {
        const node = chip(others[other], weight);
        node.classList.toggle("pointed", other === cell);
        return [" ", node];
      });
      const sum = weights.reduce((total, weight) => total + weight, 0);
      const facts = side === "output"
        ? ` · entropy ${this.spread(this.layer, this.head)[index].toFixed(2)} of at most ${this.limit.toFixed(2)} nats`
        : ` · ${sum.toFixed(2)} received in all`;
      readout.replaceChildren(token, side === "output" ? " attended to" : " was attended to by", ...chips, facts);
    }

    pick(picked) {
      this.pinned = picked;
      this.pointed = null;
      for (const side of ["source", "output"]) {
        const current = picked?.side === side ? picked.index : 0;
        this.pieces[side].forEach((piece, index) => { piece.tabIndex = index === current ? 0 : -1; });
      }
      this.light();
    }

    point(picked) {
      const same = (a, b) => a?.side === b?.side && a?.index === b?.index && a?.cell === b?.cell;
      if (same(picked, this.pointed)) return;
      this.pointed = picked;
      this.light();
    }

    // What the pointer is on: a piece, a column's or row's name, a cell of the map, a line of the list, or nothing.
    under(event) {
      const target = event.target.closest("[data-index]");
      if (!target) return event.target.closest(".text, .map, .strongest ol") ? this.pointed : null; // between two tokens
      const index = Number(target.dataset.index);
      const side = target.closest("[data-side]")?.dataset.side ?? (target.matches("thead th") ? "source" : "output");
      const strip = event.target.closest(".strip");
      if (!strip) return { side, index };
      const box = strip.getBoundingClientRect();
      const cell = Math.floor(((event.clientX - box.left) / box.width) * this.source.length);
      return { side, index, cell: Math.max(0, Math.min(cell, this.source.length - 1)) };
    }

    listen() {
      for (const side of ["source", "output"]) {
        const line = this.find(`[data-side="${side}"]`);
        line.setAttribute("role", "listbox");
        line.setAttribute("aria-orientation", "horizontal");
        line.setAttribute("aria-label", `${side} tokens`);
        for (const piece of this.pieces[side]) piece.setAttribute("role", "option");
        line.addEventListener("keydown", (event) => this.walk(event, side));
      }
      this.section.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") this.point(this.under(event)); });
      this.section.addEventListener("pointerleave", () => this.point(null));
      this.section.addEventListener("click", (event) => {
        const picked = this.under(event);
        if (picked) this.pick(picked);
        const button = event.target.closest(".heads button");
        if (button) this.choose(Number(button.dataset.layer), Number(button.dataset.head));
      });
      this.section.addEventListener("keydown", (event) => { if (event.key === "Escape") this.pick(null); });
      const changed = () => this.choose(Number(this.find("select.layer").value), Number(this.find("select.head").value));
      for (const select of this.all("select")) select.addEventListener("change", changed);
      this.find(".heads").addEventListener("keydown", (event) => this.walkHeads(event));
      darkness.addEventListener("change", () => this.paint());
    }

    walk(event, side) {
      const last = this.pieces[side].length - 1;
      const current = Number(event.target.dataset.index);
      const forward = getComputedStyle(event.currentTarget).direction === "rtl" ? -1 : 1;
      const goals = { ArrowRight: current + forward, ArrowLeft: current - forward, Home: 0, End: last, Enter: current, " ": current };
      if (!(event.key in goals)) return;
      event.preventDefault();
      const index = Math.max(0, Math.min(goals[event.key], last));
      this.pick({ side, index });
      this.pieces[side][index].focus();
    }

    walkHeads(event) {
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
      const button = event.target.closest("button");
      if (!button || (!down && !right)) return;
      event.preventDefault();
      const layer = Number(button.dataset.layer) + down;
      const head = layer === ALL ? ALL : Number(button.dataset.head) + right;
      const goal = this.find(`.heads button[data-layer="${layer}"][data-head="${head}"]`);
      goal?.focus();
      goal?.click();
    }
  }

  // ---- the page: one sentence at a time, chosen by the address's #sentence-N

  const sections = [...document.querySelectorAll("section.alignment")];
  const links = [...document.querySelectorAll("nav a")];
  const views = new Map(); // made when first shown
  let shown = null;

  function show() {
    const wanted = sections.find((section) => `#${section.id}` === location.hash) ?? sections[0];
    for (const section of sections) section.hidden = section !== wanted;
    links.forEach((link) => link.setAttribute("aria-current", link.hash === `#${wanted.id}`));
    if (!views.has(wanted)) {
      views.set(wanted, new View(wanted, data.alignments[Number(wanted.dataset.number) - 1]));
      views.get(wanted).pick({ side: "output", index: 0 });
    }
    const view = views.get(wanted);
    view.choose(shown?.layer ?? ALL, shown?.head ?? ALL); // the next sentence opens at the same head
    shown = view;
  }

  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the list stays in view: following the link would scroll it away
      history.pushState(null, "", link.hash);
      show();
    });
  }
  addEventListener("popstate", show);
  show();
  document.documentElement.dataset.ready = "true";
})();
