// What stands around the large map: labels, the queries' entropies, the weights that its keys received, the whole map in
// the corner, and the legend.

class Margins {
  constructor(map) {
    this.map = map;
  }

  paintLabels() {
    const { rows, columns, context, marks, cursor } = this.map;
    const strong = (axis, index) => (axis === rows ? marks.query === index || cursor?.query === index : marks.key === index || cursor?.key === index);
    context.textBaseline = "middle";
    for (const axis of [rows, columns]) {
      const across = axis === columns;
      const room = (across ? rows.start : columns.start) - 14;
      const named = axis.cell >= LABEL;
      const size = Math.min(13, axis.cell * 0.95);
      const list = named ? Array.from({ length: axis.visible[1] - axis.visible[0] }, (_, i) => axis.visible[0] + i) : axis.ticks;
      for (const index of list) {
        const middle = named ? axis.place(index + 0.5) : axis.place(index);
        if (middle < axis.start - 1 || middle > axis.start + axis.length + 1) continue;
        const picked = named && strong(axis, index);
        context.save();
        context.font = font(named ? size : 11, picked ? 700 : 400);
        context.fillStyle = picked ? colours.pick : named ? colours.ink : colours.muted;
        if (across) context.translate(middle, rows.start - 8);
        else context.translate(columns.start - 8, middle);
        if (across && named) context.rotate(-Math.PI / 2);
        context.textAlign = across ? (named ? "left" : "center") : "right";
        if (across && !named && index === 0) context.textAlign = "left";
        context.fillText(named ? fit(context, axis.side.label(index), room) : wide.format(index + 1), 0, across && !named ? -4 : 0);
        context.restore();
        if (!named) {
          context.fillStyle = colours.muted;
          if (across) context.fillRect(middle, rows.start - 6, 1, 5);
          else context.fillRect(columns.start - 6, middle, 5, 1);
        }
      }
    }
  }

  // Bars along an axis: one a piece, or one a pixel where pieces are smaller.
  bars(axis, value, most, draw) {
    const each = Math.max(axis.cell, 1);
    for (let place = axis.cell >= 1 ? axis.place(axis.visible[0]) : axis.start; place < axis.start + axis.length - 0.01; place += each) {
      const index = axis.bounded(Math.floor(axis.first + (place + each / 2 - axis.start) / axis.cell));
      const start = Math.max(place, axis.start);
      const size = Math.min(place + each, axis.start + axis.length) - start;
      if (size > 0) draw(index, start, Math.max(size - (each >= 4 ? 1 : 0), 0.5), most ? Math.min(value(index) / most, 1) : 0);
    }
  }

  paintEntropy() {
    const { rows, columns, context, head, marks } = this.map;
    const left = columns.start + columns.length + 8;
    context.fillStyle = colours.line;
    context.globalAlpha = 0.55;
    context.fillRect(left, rows.start, STRIP - 8, rows.length);
    context.globalAlpha = 1;
    this.bars(rows, (query) => head.entropy(query), head.limit, (query, start, size, share) => {
      context.fillStyle = query === marks.query ? colours.pick : colours.quiet;
      context.fillRect(left, start, share * (STRIP - 8), size);
    });
    context.textAlign = "center";
    context.font = font(11);
    context.fillStyle = colours.muted;
    context.fillText("entropy", left + (STRIP - 8) / 2, rows.start + rows.length + 12);
  }

  paintReceived() {
    const { rows, columns, context, head, marks } = this.map;
    const top = rows.start + rows.length + 8;
    context.fillStyle = colours.line;
    context.globalAlpha = 0.55;
    context.fillRect(columns.start, top, columns.length, STRIP - 18);
    context.globalAlpha = 1;
    this.bars(columns, (key) => Math.sqrt(head.received(key)), Math.sqrt(head.mostReceived), (key, start, size, share) => {
      context.fillStyle = key === marks.key ? colours.pick : colours.quiet;
      context.fillRect(start, top, size, share * (STRIP - 18));
    });
    context.textAlign = "right";
    context.font = font(11);
    context.fillStyle = colours.muted;
    context.fillText("received", columns.start - 8, top + (STRIP - 18) / 2);
  }

  // Zoomed in: the whole map small in the corner, with what is in view.
  paintOverview() {
    const { rows, columns, context, ground } = this.map;
    const size = Math.min(rows.start, columns.start) - 16;
    const [x, y] = [columns.start - size - 10, rows.start - size - 10];
    context.imageSmoothingEnabled = true;
    context.drawImage(ground, x, y, size, size);
    context.strokeStyle = colours.muted;
    context.lineWidth = 1;
    context.strokeRect(x - 0.5, y - 0.5, size + 1, size + 1);
    context.strokeStyle = colours.pick;
    context.lineWidth = 1.5;
    const [wide, high] = [Math.max((columns.span / columns.count) * size, 3), Math.max((rows.span / rows.count) * size, 3)];
    context.strokeRect(x + (columns.first / columns.count) * size, y + (rows.first / rows.count) * size, wide, high);
  }

  paintLegend() {
    const { head, end, detail } = this.map;
    const key = `${head.title} ${end} ${detail} ${colours.darkScheme}`;
    if (key === this.legendKey) return;
    this.legendKey = key;
    const bar = element("canvas", { className: "ramp" });
    const context = resize(bar, 180, 12);
    for (let x = 0; x < 180; x += 1) {
      context.fillStyle = colours.css[Math.round((x / 179) * 255)];
      context.fillRect(x, 0, 1, 12);
    }
    const more = detail === "map" && head.block.maxima[head.index] > end * 1.01 ? "≥ " : "";
    const ticks = [0, 1 / 16, 1 / 4, 9 / 16, 1].map((share) => element("span", { textContent: `${share === 1 ? more : ""}${Number((share * end).toPrecision(2))}` }));
    const what = detail === "map" && !head.block.whole ? "weight of a cell's keys together" : "weight";
    this.map.legend.replaceChildren(
      element("span", { textContent: what }),
      element("span", { className: "scale" }, bar, element("span", { className: "ticks" }, ...ticks)),
      element("span", { className: "keys", textContent: "square-root scale · wheel, pinch, drag or + − 0 to zoom" }),
    );
  }
}
