// One head large: its pooled map, and zoomed in its single weights.

const CELL = 60; // pixels of a piece where there are few
const LABEL = 11; // pixels of a piece from which on it has its label
const SINGLE = 3; // pixels of a piece from which on single weights are cells; dots from a pooled cell of DOTS pixels on
const DOTS = 14;
const STRIP = 44; // pixels of the lines of entropies and weights received

class MapView {
  constructor(view) {
    this.view = view;
    this.name = element("h3", { className: "which" });
    this.about = element("p", { className: "about" });
    this.canvas = element("canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "map");
    this.tip = element("div", { className: "tip", hidden: true });
    this.legend = element("div", { className: "legend" });
    this.zoomers = [
      button("tool", "−", () => this.zoomTowards(this.gestures.start(), 0.5), { "aria-label": "Zoom out", title: "Zoom out (−)" }),
      button("tool", "+", () => this.zoomTowards(this.gestures.start(), 2), { "aria-label": "Zoom in", title: "Zoom in (+)" }),
      button("tool wide", "Whole map", () => this.reset(), { title: "The whole map (0)" }),
    ];
    const tools = element("div", { className: "tools" }, ...this.zoomers);
    this.frame = element("div", { className: "frame" }, this.canvas, this.tip);
    const heading = element("div", { className: "bar" }, element("div", {}, this.name, this.about), tools);
    this.root = element("figure", { className: "panel map" }, heading, this.frame, this.legend);
    this.draw = frame(() => this.paint());
    this.cursor = null; // the cell that is pointed at: { query, key }
    this.marks = {}; // what is picked: { query } or { key }
    this.gestures = new Gestures(this);
    this.margins = new Margins(this);
    new ResizeObserver(() => { if (this.width !== this.frame.clientWidth) this.measure(); }).observe(this.frame);
  }

  show(head) {
    const { querySide, keySide } = head.block;
    if (this.rows?.side !== querySide || this.columns?.side !== keySide) {
      this.rows = new Axis(querySide);
      this.columns = new Axis(keySide);
      this.cursor = null;
    }
    this.head = head;
    this.ground = head.picture();
    this.name.textContent = head.title.replace(/^mean/, "Mean");
    this.about.replaceChildren(
      element("bdi", { textContent: querySide.name }), " attends to ", element("bdi", { textContent: keySide.name }),
      ` · mean entropy ${head.spread.toFixed(2)} of at most ${head.limit.toFixed(2)} nats`,
    );
    this.canvas.setAttribute("aria-label", `Map of ${head.title}: queries of ${querySide.name} down, keys of ${keySide.name} `
      + "across. Arrow keys walk, plus and minus zoom, 0 shows the whole map, Enter picks.");
    this.measure();
  }

  mark(marks) {
    this.marks = marks;
    this.draw();
  }

  // ---- sizes

  measure() {
    if (!this.head || !this.frame.clientWidth) return;
    const { rows, columns } = this;
    this.width = this.frame.clientWidth;
    const context = this.canvas.getContext("2d");
    const room = this.width < 520 ? 70 : 112;
    const widest = (side) => {
      context.font = font(13);
      let most = 0;
      for (let index = 0; index < Math.min(side.length, 300); index += 1) {
        most = Math.max(most, context.measureText(side.label(index)).width);
      }
      return Math.ceil(Math.min(Math.max(most, 40) + 18, side.length > 60 ? Math.min(room, 76) : room));
    };
    rows.start = widest(columns.side);
    columns.start = widest(rows.side);
    const wide = this.width - columns.start - STRIP - 12;
    const high = Math.max(240, Math.min(innerHeight * 0.8, 860) - rows.start - STRIP);
    const cell = Math.min(wide / columns.count, high / rows.count, CELL);
    columns.length = Math.min(wide, Math.max(cell * columns.count, Math.min(columns.count * CELL, 260)));
    rows.length = Math.min(high, Math.max(cell * rows.count, Math.min(rows.count * CELL, 260)));
    for (const axis of [rows, columns]) axis.clamp();
    this.draw();
  }

  get zoomed() {
    return this.rows.zoomed || this.columns.zoomed;
  }

  zoom(factor, x, y) {
    this.columns.zoom(factor, x);
    this.rows.zoom(factor, y);
    this.draw();
  }

  // Towards what is pointed at or picked, from buttons and the keyboard: the map's middle is nobody's aim.
  zoomTowards({ query, key }, factor) {
    this.rows.reveal(query);
    this.columns.reveal(key);
    this.zoom(factor, this.columns.place(key + 0.5), this.rows.place(query + 0.5));
  }

  reset() {
    this.columns.reset();
    this.rows.reset();
    this.draw();
  }

  // ---- drawing

  get detail() { // how single weights are drawn: not at all, as dots over the map, or as cells
    const { rows, columns, head } = this;
    if (head.block.whole) return "map";
    if (!head.ready) return "map";
    if (Math.min(rows.cell, columns.cell) >= SINGLE) return "cells";
    const pooled = Math.min((rows.cell * rows.count) / head.block.rows, (columns.cell * columns.count) / head.block.columns);
    return pooled >= DOTS ? "dots" : "map";
  }

  paint() {
    const { rows, columns, head, canvas } = this;
    const context = resize(canvas, Math.min(this.width, columns.start + columns.length + STRIP + 12), rows.start + rows.length + STRIP);
    this.context = context;
    canvas.dataset.detail = this.detail;
    context.save();
    context.beginPath();
    context.rect(columns.start, rows.start, columns.length, rows.length);
    context.clip();
    context.fillStyle = colours.css[0];
    context.fillRect(columns.start, rows.start, columns.length, rows.length);
    this.paintGround();
    if (this.detail === "cells" || this.detail === "dots") this.paintSingles();
    if (Math.min(rows.cell, columns.cell) >= 12) this.paintGrid();
    const exact = head.complete || !head.isMean; // and no lower bounds
    if (rows.cell >= 18 && columns.cell >= 34 && exact) this.paintNumbers();
    context.restore();
    this.paintMarks();
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.strokeRect(columns.start - 0.5, rows.start - 0.5, columns.length + 1, rows.length + 1);
    this.margins.paintLabels();
    this.margins.paintEntropy();
    this.margins.paintReceived();
    if (this.zoomed) this.margins.paintOverview();
    this.margins.paintLegend();
    const [minus, plus, whole] = this.zoomers;
    minus.disabled = whole.disabled = !this.zoomed;
    plus.disabled = [rows, columns].every((axis) => axis.span <= Math.min(axis.count, axis.length / LARGEST) + 1e-9);
    canvas.classList.toggle("zoomed", this.zoomed);
  }

  paintGround() {
    const { rows, columns, context, ground, head } = this;
    const [y, x] = [ground.height / rows.count, ground.width / columns.count];
    context.globalAlpha = { map: 1, dots: 0.35, cells: 0.12 }[this.detail];
    if (this.detail === "cells") return this.paintCells();
    context.imageSmoothingEnabled = ground.width * 1.5 > columns.length * (columns.count / columns.span) && !head.block.whole;
    context.drawImage(ground, columns.first * x, rows.first * y, columns.span * x, rows.span * y,
      columns.start, rows.start, columns.length, rows.length);
    context.globalAlpha = 1;
  }

  // The pooled cells in view, each as wide and as tall as the pieces in it: there may be one more in one than in the next.
  paintCells() {
    const { rows, columns, context, head } = this;
    const end = ([, last]) => last - 1;
    const [from, to] = [head.around(rows.visible[0], columns.visible[0]), head.around(end(rows.visible), end(columns.visible))];
    for (let row = from.row.cell, query = from.row.first; row <= to.row.cell; row += 1) {
      const below = Math.ceil(((row + 1) * rows.count) / head.block.rows);
      for (let column = from.column.cell, key = from.column.first; column <= to.column.cell; column += 1) {
        const behind = Math.ceil(((column + 1) * columns.count) / head.block.columns);
        context.fillStyle = colours.css[head.level(row, column)];
        context.fillRect(columns.place(key), rows.place(query), (behind - key) * columns.cell, (below - query) * rows.cell);
        key = behind;
      }
      query = below;
    }
    context.globalAlpha = 1;
  }

  paintSingles() {
    const { rows, columns, context, head } = this;
    const cells = this.detail === "cells";
    const [wide, high] = [Math.max(columns.cell, 2), Math.max(rows.cell, 2)];
    const [from, to] = columns.visible;
    const draw = (query, key, weight) => {
      const level = Math.min(255, Math.round(255 * Math.sqrt(weight / head.maximum)));
      if (!cells) context.globalAlpha = level / 255;
      context.fillStyle = colours.css[cells ? level : 255];
      context.fillRect(columns.place(key), rows.place(query), wide, high);
    };
    for (let query = rows.visible[0]; query < rows.visible[1]; query += 1) {
      if (head.isMean) { // of several heads' weights, summed: a row at a time
        for (const [key, weight] of head.row(query)) if (key >= from && key < to) draw(query, key, weight);
        continue;
      }
      const { all } = head.singles[0];
      for (let at = all.starts[query]; at < all.starts[query + 1]; at += 1) {
        if (all.keys[at] >= from && all.keys[at] < to) draw(query, all.keys[at], all.weight(at));
      }
    }
    context.globalAlpha = 1;
  }

  paintGrid() {
    const { rows, columns, context } = this;
    context.fillStyle = colours.surface;
    for (let key = columns.visible[0] + 1; key < columns.visible[1]; key += 1) {
      context.fillRect(Math.round(columns.place(key)) - 0.5, rows.start, 1, rows.length);
    }
    for (let query = rows.visible[0] + 1; query < rows.visible[1]; query += 1) {
      context.fillRect(columns.start, Math.round(rows.place(query)) - 0.5, columns.length, 1);
    }
  }

  paintNumbers() {
    const { rows, columns, context, head } = this;
    context.font = font(columns.cell >= 48 ? 12.5 : 11);
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let query = rows.visible[0]; query < rows.visible[1]; query += 1) {
      for (const [key, weight] of head.row(query)) {
        if (weight < 0.005 || key < columns.visible[0] || key >= columns.visible[1]) continue;
        context.fillStyle = colours.on(this.levelOf(weight));
        context.fillText(weight >= 0.995 ? "1" : weight.toFixed(2).slice(1), columns.place(key + 0.5), rows.place(query + 0.5) + 0.5);
      }
    }
  }

  levelOf(weight) {
    return Math.min(255, Math.round(255 * Math.sqrt(weight / (this.end || 1))));
  }

  get end() { // of the colours' scale
    const { head } = this;
    return head.block.whole || this.detail === "map" ? head.end : head.maximum;
  }

  paintMarks() {
    const { rows, columns, context, marks, cursor } = this;
    const band = (axis, index) => [Math.max(axis.place(index), axis.start), Math.min(axis.place(index + 1), axis.start + axis.length)];
    context.strokeStyle = colours.pick;
    context.lineWidth = 2;
    const box = (x0, x1, y0, y1) => { if (x1 > x0 && y1 > y0) context.strokeRect(x0 - 1, y0 - 1, Math.max(x1 - x0, 1) + 2, Math.max(y1 - y0, 1) + 2); };
    const across = [columns.start, columns.start + columns.length];
    const down = [rows.start, rows.start + rows.length];
    if (marks.query !== undefined) box(...across, ...band(rows, marks.query));
    if (marks.key !== undefined) box(...band(columns, marks.key), ...down);
    if (cursor && Math.min(rows.cell, columns.cell) >= SINGLE) box(...band(columns, cursor.key), ...band(rows, cursor.query));
  }
}
