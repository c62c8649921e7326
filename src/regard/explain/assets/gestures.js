// Pointer, wheel and keyboard on the large map.

class Gestures {
  constructor(map) {
    this.map = map;
    this.pointers = new Map();
    this.moved = 0;
    const { canvas } = map;
    const listen = (name, react) => canvas.addEventListener(name, react, name === "wheel" ? { passive: false } : undefined);
    listen("pointermove", (event) => this.move(event));
    listen("pointerdown", (event) => this.down(event));
    listen("pointerup", (event) => this.up(event));
    listen("pointercancel", (event) => { this.pointers.delete(event.pointerId); });
    listen("pointerleave", () => { if (!this.pointers.size) this.point(null); });
    listen("wheel", (event) => this.wheel(event));
    listen("keydown", (event) => this.key(event));
    listen("dblclick", (event) => map.zoom(3, event.offsetX, event.offsetY));
    listen("blur", () => this.point(null));
  }

  // What lies at a place of the canvas: a cell, a query's or a key's name.
  at(x, y) {
    const query = this.map.rows.at(y);
    const key = this.map.columns.at(x);
    return query < 0 && key < 0 ? null : { query, key };
  }

  point(cell, x, y) {
    const { map } = this;
    map.cursor = cell && cell.query >= 0 && cell.key >= 0 ? cell : null;
    map.view.pointCell(cell);
    this.tell(map.cursor, x, y);
    map.draw();
  }

  tell(cell, x, y) {
    const { map } = this;
    map.tip.hidden = !cell;
    if (!cell) return;
    const content = this.describe(cell);
    map.tip.replaceChildren(...content);
    const right = x > map.frame.clientWidth / 2;
    map.tip.style.left = right ? "auto" : `${x + 14}px`;
    map.tip.style.right = right ? `${map.frame.clientWidth - x + 14}px` : "auto";
    map.tip.style.top = `${y + 14}px`;
  }

  // A single weight, or where cells are too small for that, the pooled cell.
  describe({ query, key }) {
    const { head, rows, columns, detail } = this.map;
    const number = (text) => element("b", { className: "number", textContent: text });
    if (detail === "map" && !head.block.whole) {
      const { row, column } = head.around(query, key);
      const range = ({ first, last }) => (first === last ? wide.format(first + 1) : `${wide.format(first + 1)}–${wide.format(last + 1)}`);
      return [`queries ${range(row)} → keys ${range(column)}: `, number(spell(head.cell(row.cell, column.cell), 8)), " together, on average"];
    }
    const name = (axis, index) => element("bdi", { textContent: axis.side.label(index) });
    return [name(rows, query), " → ", name(columns, key), ": ", number(spellBounds(head.weight(query, key)))];
  }

  // ---- pointers

  down(event) {
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.moved = 0;
    if (this.pointers.size === 2) this.spread = this.distance();
  }

  move(event) {
    const { map } = this;
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.point(this.at(event.offsetX, event.offsetY), event.offsetX, event.offsetY);
      return;
    }
    const [x, y] = [event.offsetX - before.x, event.offsetY - before.y];
    this.moved += Math.hypot(x, y);
    Object.assign(before, { x: event.offsetX, y: event.offsetY });
    if (this.pointers.size === 2) {
      const spread = this.distance();
      const [a, b] = [...this.pointers.values()];
      map.zoom(spread / this.spread, (a.x + b.x) / 2, (a.y + b.y) / 2);
      this.spread = spread;
    } else if (map.zoomed && this.moved > 4) {
      map.canvas.setPointerCapture(event.pointerId);
      map.columns.move(x);
      map.rows.move(y);
      this.tell(null);
      map.draw();
    }
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (this.moved > 4) return;
    const cell = this.at(event.offsetX, event.offsetY);
    if (cell) this.map.view.pickCell(cell);
    if (event.pointerType === "touch") this.point(cell, event.offsetX, event.offsetY);
  }

  distance() {
    const [a, b] = [...this.pointers.values()];
    return Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1);
  }

  // The wheel zooms while there is something to zoom; then it moves the page on.
  wheel(event) {
    const { map } = this;
    const inwards = event.deltaY < 0;
    if (inwards ? map.zoomers[1].disabled : !map.zoomed) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    map.zoom(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0022)), event.offsetX, event.offsetY);
    this.tell(null);
  }

  // ---- keyboard: the arrow keys walk over cells, and the map follows

  key(event) {
    const { map } = this;
    const step = (axis) => Math.max(1, Math.ceil(6 / axis.cell));
    const moves = { ArrowDown: [step(map.rows), 0], ArrowUp: [-step(map.rows), 0], ArrowRight: [0, step(map.columns)], ArrowLeft: [0, -step(map.columns)] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      const { query, key } = this.start();
      this.go({ query: map.rows.bounded(query + down), key: map.columns.bounded(key + right) });
    } else if (event.key === "Enter" || event.key === " ") {
      map.view.pickCell(this.start());
    } else if (["+", "=", "-", "_"].includes(event.key)) {
      map.zoomTowards(this.start(), event.key === "+" || event.key === "=" ? 2 : 0.5);
    } else if (event.key === "0") {
      map.reset();
    } else {
      return;
    }
    event.preventDefault();
  }

  go(cell) {
    const { map } = this;
    map.rows.reveal(cell.query);
    map.columns.reveal(cell.key);
    this.point(cell, map.columns.place(cell.key + 1), map.rows.place(cell.query + 1));
  }

  // Where walking and zooming start: at what is pointed at, else at what is picked and what it attended to most.
  start() {
    const { cursor, marks, head, rows, columns } = this.map;
    if (cursor) return cursor;
    const middle = (axis) => axis.bounded(Math.floor(axis.first + axis.span / 2));
    const query = marks.query ?? (marks.key === undefined ? middle(rows) : head.column(marks.key)[0]?.[0] ?? middle(rows));
    const key = marks.key ?? head.row(query)[0]?.[0] ?? middle(columns);
    return { query, key };
  }
}
