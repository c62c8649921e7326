// A side as text: its pieces light up by weight. Long texts are made of paragraphs that become pieces only near the view.

const PARAGRAPH = 200; // pieces
const SHORT = 250; // pieces of a text that is one paragraph

class TextSide {
  constructor(view, side) {
    Object.assign(this, { view, side });
    this.spans = new Array(side.length);
    this.strengths = new Map(); // from pieces to how brightly they are lit
    this.marked = { picked: -1, cell: -1, pinned: -1 };
    this.box = element("div", {
      className: "text", tabIndex: 0, dir: "auto", lang: "", translate: false,
      attributes: { role: "listbox", "aria-label": `pieces of ${side.name}`, "aria-orientation": "horizontal" },
    });
    this.long = side.length > SHORT;
    this.box.classList.toggle("long", this.long);
    this.chunks = [];
    for (let first = 0; first < side.length; ) {
      let last = this.long ? Math.min(first + PARAGRAPH, side.length) : side.length;
      while (last < side.length && last < first + 2 * PARAGRAPH && !side.starts(last)) last += 1; // not within a word
      this.chunks.push(this.chunk(first, last));
      first = last;
    }
    this.box.append(...this.chunks.map(({ node }) => node));
    const name = element("h4", {}, element("bdi", { textContent: side.name }), element("span", { className: "size", textContent: count(side.length, "piece") }));
    this.role = element("span", { className: "role" });
    name.append(this.role);
    this.overview = element("canvas", { className: "overview", attributes: { "aria-hidden": "true" } });
    const body = element("div", { className: "body" }, this.box);
    if (this.long) body.append(this.overview);
    this.root = element("div", { className: "side" }, name, body);
    this.paintOverview = frame(() => this.drawOverview());
    this.listen();
  }

  // ---- making pieces

  chunk(first, last) {
    const node = element("div", { className: "chunk", dir: "auto" });
    const chunk = { node, first, last, filled: false };
    if (this.long) {
      node.dataset.first = wide.format(first + 1);
      let text = "";
      for (let index = first; index < last; index += 1) text += (this.side.starts(index) ? " " : "") + this.side.pieces[index];
      node.textContent = text; // found by the browser's search, and as tall as the pieces will be
    } else {
      this.fill(chunk);
    }
    return chunk;
  }

  fill(chunk) {
    if (chunk.filled) return;
    chunk.filled = true;
    const content = document.createDocumentFragment();
    let word = null;
    for (let index = chunk.first; index < chunk.last; index += 1) {
      const { pieces, kinds } = this.side;
      if (!word || this.side.starts(index)) {
        if (word) content.append(" ");
        word = element("span", { className: "word" });
        content.append(word);
      }
      const span = element("span", { className: kinds[index] === "e" ? "piece end" : "piece", textContent: pieces[index], id: this.id(index), attributes: { role: "option" } });
      span.dataset.index = index;
      word.append(span);
      this.spans[index] = span;
      if (pieces[index].endsWith("␊")) { word.append(element("br")); }
      if (this.strengths.has(index)) this.light(index, this.strengths.get(index));
    }
    chunk.node.replaceChildren(content);
    for (const [name, index] of Object.entries(this.marked)) this.spans[index]?.classList.add(name);
  }

  id(index) {
    return `piece-${this.view.number}-${this.side.index}-${index}`;
  }

  chunkOf(index) {
    return this.chunks.find(({ last }) => index < last);
  }

  // ---- lighting

  light(index, strength) {
    this.spans[index]?.style.setProperty("--strength", strength.toFixed(3));
  }

  show({ strengths, picked, pinned, cell, role, ground }) {
    for (const index of this.strengths.keys()) if (!strengths.has(index)) this.light(index, 0);
    for (const [index, strength] of strengths) if (this.strengths.get(index) !== strength) this.light(index, strength);
    this.strengths = strengths;
    this.ground = ground;
    for (const [name, index] of Object.entries({ picked, pinned, cell })) {
      if (this.marked[name] === index) continue;
      this.spans[this.marked[name]]?.classList.remove(name);
      if (name === "pinned") this.spans[this.marked[name]]?.setAttribute("aria-selected", "false");
      this.marked[name] = index;
      this.spans[index]?.classList.add(name);
      if (name === "pinned") this.spans[index]?.setAttribute("aria-selected", "true");
    }
    this.role.textContent = role;
    this.root.classList.toggle("absent", !role);
    if (this.long) this.paintOverview();
  }

  // Scrolls the text, and never the page, until a piece is in view.
  reveal(index) {
    this.fill(this.chunkOf(index));
    this.box.setAttribute("aria-activedescendant", this.id(index));
    if (!this.long) return;
    const scroll = () => {
      const [box, piece] = [this.box.getBoundingClientRect(), this.spans[index].getBoundingClientRect()];
      if (piece.top >= box.top + 8 && piece.bottom <= box.bottom - 8) return;
      this.box.scrollTop += piece.top - box.top - box.height / 3;
    };
    scroll();
    requestAnimationFrame(scroll); // what was estimated before it came near has its height now
  }

  // The whole text from top to bottom: what is lit, what is picked, and what is in view.
  drawOverview() {
    const [width, height] = [this.overview.clientWidth || 14, this.box.clientHeight];
    if (!height) return;
    const context = resize(this.overview, width, height);
    context.fillStyle = colours.page;
    context.fillRect(0, 0, width, height);
    const place = (index) => (index / this.side.length) * height;
    if (this.ground) {
      this.ground.forEach((strength, cell) => {
        context.globalAlpha = 0.35 * strength;
        context.fillStyle = colours.weight;
        context.fillRect(0, (cell / this.ground.length) * height, width, Math.max(height / this.ground.length, 1));
      });
    }
    context.fillStyle = colours.weight;
    for (const [index, strength] of this.strengths) {
      context.globalAlpha = Math.max(strength, 0.15);
      context.fillRect(2, place(index) - 1, width - 4, 2);
    }
    context.globalAlpha = 1;
    context.fillStyle = colours.pick;
    if (this.marked.picked >= 0) context.fillRect(0, place(this.marked.picked) - 1.5, width, 3);
    const seen = this.chunks.filter(({ node }) => node.offsetTop + node.offsetHeight > this.box.scrollTop && node.offsetTop < this.box.scrollTop + height);
    if (!seen.length) return;
    context.strokeStyle = colours.muted;
    context.strokeRect(0.5, place(seen[0].first) + 0.5, width - 1, Math.max(place(seen.at(-1).last) - place(seen[0].first) - 1, 4));
  }

  // ---- pointer and keyboard

  listen() {
    const { box, view, side } = this;
    const under = (event) => {
      const piece = event.target.closest?.(".piece");
      return piece && Number(piece.dataset.index);
    };
    box.addEventListener("pointermove", (event) => {
      const index = under(event);
      if (event.pointerType !== "touch" && index !== null) view.point({ side, index });
    });
    box.addEventListener("pointerleave", () => view.point(null));
    box.addEventListener("click", (event) => {
      const index = under(event);
      if (index !== null) view.pick({ side, index });
    });
    box.addEventListener("keydown", (event) => this.key(event));
    this.overview.addEventListener("pointerdown", (event) => {
      const index = Math.min(side.length - 1, Math.floor((event.offsetY / this.overview.clientHeight) * side.length));
      this.reveal(index);
    });
    if (!this.long) return;
    box.addEventListener("scroll", this.paintOverview, { passive: true });
    const nodes = new Map(this.chunks.map((chunk) => [chunk.node, chunk]));
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.fill(nodes.get(entry.target));
      this.paintOverview();
    }, { root: box, rootMargin: "300px" });
    for (const { node } of this.chunks) near.observe(node);
  }

  key(event) {
    const current = this.view.pinned?.side === this.side ? this.view.pinned.index : -1;
    const last = this.side.length - 1;
    const forward = getComputedStyle(this.box).direction === "rtl" ? -1 : 1;
    const goals = { ArrowRight: current + forward, ArrowLeft: current - forward, Home: 0, End: last, PageDown: current + PARAGRAPH, PageUp: current - PARAGRAPH };
    if (event.key === "ArrowDown" || event.key === "ArrowUp") goals[event.key] = this.line(Math.max(current, 0), event.key === "ArrowDown" ? 1 : -1);
    if (!(event.key in goals) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.view.pick({ side: this.side, index: Math.max(0, Math.min(goals[event.key], last)) });
  }

  // The piece in the next line, or the one before, that lies nearest across.
  line(index, step) {
    const here = this.spans[index]?.getBoundingClientRect();
    let [best, distance, top] = [index, Infinity, null];
    for (let other = index + step; here && this.spans[other]; other += step) {
      const there = this.spans[other].getBoundingClientRect();
      if (Math.abs(there.top - here.top) < here.height / 2) continue;
      top ??= there.top;
      if (Math.abs(there.top - top) > here.height / 2) break;
      const away = Math.abs(there.left + there.right - here.left - here.right);
      if (away < distance) [best, distance] = [other, away];
    }
    return best === index ? index + step : best;
  }
}
