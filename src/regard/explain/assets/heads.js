// Every head small: rows are layers, columns are heads, grouped by who attends to whom.

class HeadsTable {
  constructor(view) {
    this.view = view;
    this.buttons = new Map(); // from heads
    this.rows = []; // of heads, as they stand: what the arrow keys walk over
    const most = Math.max(...view.look.blocks.map((block) => block.heads));
    this.size = Math.max(18, Math.min(Math.floor(364 / (most + 1)) - 9, 56)); // as large as fits beside the large map
    const groups = view.look.groups.map((group) => this.group(group));
    this.scroll = element("div", { className: "scroll" }, ...groups);
    this.root = element("div", { className: "panel heads" }, element("h3", { textContent: "Layers and heads" }), this.scroll);
    this.root.addEventListener("keydown", (event) => this.key(event));
    const heads = new Map([...this.buttons].map(([head, node]) => [node, head]));
    this.near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.near.unobserve(target);
        this.paintOne(heads.get(target), target);
      }
    }, { root: this.scroll, rootMargin: "100px" });
    this.paint();
  }

  group({ queries, keys, blocks, layers }) {
    const most = Math.max(...layers.map((layer) => layer.heads));
    const columns = most > 1 ? ["mean", ...Array(most).keys()] : [0];
    const header = columns.map((name) => element("th", { scope: "col", textContent: name === "mean" ? "mean" : String(name) }));
    const body = blocks.map((block) => {
      const heads = block.all.length > 1 ? [block.mean, ...block.all.slice(0, -1)] : [block.mean];
      this.rows.push(heads);
      const name = block.heads ? block.short : "all";
      const title = block.heads ? block.names[0] : block.mean.title;
      const th = element("th", { scope: "row", title }, element("bdi", { textContent: name }));
      return element("tr", {}, th, ...heads.map((head) => element("td", {}, this.button(head))));
    });
    const caption = element("caption", {}, element("bdi", { textContent: queries.name }), " → ", element("bdi", { textContent: keys.name }));
    return element("table", {}, caption, element("thead", {}, element("tr", {}, element("td"), ...header)), element("tbody", {}, ...body));
  }

  button(head) {
    const spread = head.spread.toFixed(2);
    const canvas = element("canvas");
    canvas.style.width = canvas.style.height = `${this.size}px`;
    const share = head.limit ? Math.min(head.spread / head.limit, 1) : 0;
    const gauge = element("i", { className: "gauge" });
    gauge.style.setProperty("--share", share.toFixed(3));
    const node = button("", "", () => this.view.choose(head), { "aria-label": `${head.title}: mean entropy ${spread} nats`, title: `${head.title} · mean entropy ${spread} nats` });
    node.append(canvas, gauge);
    if (this.size >= 26) node.append(element("span", { textContent: spread }));
    node.tabIndex = -1;
    this.buttons.set(head, node);
    return node;
  }

  choose(chosen) {
    for (const [head, node] of this.buttons) {
      node.setAttribute("aria-pressed", head === chosen);
      node.tabIndex = head === chosen ? 0 : -1;
    }
    this.reveal(this.buttons.get(chosen));
  }

  // Scrolls the table, and never the page.
  reveal(node) {
    const [outer, inner] = [this.scroll.getBoundingClientRect(), node.getBoundingClientRect()];
    const [above, before] = [inner.top - outer.top - 50, inner.left - outer.left - 50]; // with the names over and beside it
    if (above < 0 || inner.bottom > outer.bottom) this.scroll.scrollTop += above;
    if (before < 0 || inner.right > outer.right) this.scroll.scrollLeft += before;
  }

  // Each when it is first seen: there may be a thousand.
  paint() {
    for (const node of this.buttons.values()) {
      this.near.unobserve(node);
      this.near.observe(node);
    }
  }

  // Maps of very different sides are drawn as tall or as wide as can still be seen.
  paintOne(head, node) {
    const { querySide, keySide } = head.block;
    const ratio = Math.max(0.5, Math.min(querySide.length / keySide.length, 2));
    const [width, height] = (ratio > 1 ? [this.size / ratio, this.size] : [this.size, this.size * ratio]).map(Math.round);
    const context = resize(node.firstChild, width, height);
    const picture = head.picture(2 * this.size);
    context.imageSmoothingEnabled = picture.width > width;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, width, height);
  }

  key(event) {
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
    if ((!down && !right) || !event.target.closest("button")) return;
    event.preventDefault();
    const row = this.rows.findIndex((heads) => heads.includes(this.view.head));
    const column = this.rows[row].indexOf(this.view.head);
    const heads = this.rows[row + down];
    const goal = heads?.[down ? Math.min(column, heads.length - 1) : column + right];
    if (!goal) return;
    this.view.choose(goal);
    this.buttons.get(goal).focus();
  }
}
