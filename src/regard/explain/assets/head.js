// One head, or a mean of heads: its map, its lines, and its single weights as far as they are known.

class Head {
  constructor(block, index) {
    Object.assign(this, { block, index });
    this.isMean = index === block.heads || !block.heads; // the last, or all of a block that is a mean
  }

  get title() {
    const { names, heads, group } = this.block;
    if (!heads) return `mean of ${count(group.layers.length, "layer")} and their heads`;
    return `${names[0]}, ${this.isMean ? `mean of ${count(heads, "head")}` : `head ${this.index}`}`;
  }

  get spread() {
    return this.block.spread[this.index];
  }

  get limit() {
    return Math.log(this.block.keySide.length);
  }

  // What its single weights come from: itself, or the heads that it is the mean of, each with its share.
  get parts() {
    const { block } = this;
    const heads = (layer) => Array.from({ length: layer.heads }, (_, head) => ({ layer, head, share: 1 / layer.heads }));
    if (!this.isMean) return [{ layer: block, head: this.index, share: 1 }];
    const layers = block.heads ? [block] : block.group.layers;
    return layers.flatMap(heads).map((part) => ({ ...part, share: part.share / layers.length }));
  }

  get complete() {
    const every = (layer) => layer.k >= layer.keySide.length && about.least === 0;
    return this.block.whole || this.parts.every(({ layer }) => every(layer));
  }

  get bits() {
    return this.block.whole ? this.block.mapBits : this.parts[0].layer.singleBits;
  }

  async load() {
    await Promise.all([this.block.loadMaps(), this.block.loadLines()]);
  }

  // The single weights too. With whole maps there is nothing more to load.
  async loadSingles() {
    if (this.singles || this.block.whole) return;
    await Promise.all(this.parts.map(({ layer, head }) => layer.loadSingles(head)));
    this.singles = this.parts.map(({ layer, head, share }) => ({ share, layer, all: layer.single[head] }));
    this.maximum = this.isMean ? this.strongest() : number(cap(this.singles[0].all.levels, this.bits), this.singles[0].all.maximum, this.bits);
  }

  // The greatest weight of some queries: that of all would mean to merge all.
  strongest() {
    const queries = this.block.querySide.length;
    const step = Math.max(1, Math.floor(queries / 200));
    let most = 0;
    for (let query = step - 1; query < queries; query += step) most = Math.max(most, this.row(query)[0]?.[1] ?? 0);
    return most || 1;
  }

  get ready() {
    return this.block.whole || this.singles !== undefined;
  }

  // ---- maps

  // How deep a cell's colour is, from 0 to 255.
  level(row, column) {
    const { rows, columns, cells } = this.block;
    return Math.min(255, Math.round((255 * cells[(this.index * rows + row) * columns + column]) / (this.cap || 1)));
  }

  // The level that has the deepest colour, and the weight that it stands for.
  get cap() {
    const { rows, columns, cells, mapBits } = this.block;
    this.capped ??= cap(cells.subarray(this.index * rows * columns, (this.index + 1) * rows * columns), mapBits);
    return this.capped;
  }

  get end() {
    const { mapBits, maxima } = this.block;
    return number(this.cap, maxima[this.index], mapBits);
  }

  cell(row, column) {
    const { rows, columns, cells, mapBits, maxima } = this.block;
    return number(cells[(this.index * rows + row) * columns + column], maxima[this.index], mapBits);
  }

  // The cell that a query and a key lie in, as the first and last of each.
  around(query, key) {
    const { rows, columns, querySide, keySide } = this.block;
    const range = (index, size, pieces) => {
      const cell = Math.floor((index * size) / pieces);
      return { cell, first: Math.ceil((cell * pieces) / size), last: Math.ceil(((cell + 1) * pieces) / size) - 1 };
    };
    return { row: range(query, rows, querySide.length), column: range(key, columns, keySide.length) };
  }

  // The map as a canvas, a pixel a cell; with a size, so much smaller that of neighbours the deepest is seen.
  picture(size = Infinity) {
    const [rows, columns] = [Math.min(this.block.rows, size), Math.min(this.block.columns, size)];
    const deepest = new Uint8Array(rows * columns);
    for (let row = 0; row < this.block.rows; row += 1) {
      const start = Math.floor((row * rows) / this.block.rows) * columns;
      for (let column = 0; column < this.block.columns; column += 1) {
        const at = start + Math.floor((column * columns) / this.block.columns);
        deepest[at] = Math.max(deepest[at], this.level(row, column));
      }
    }
    const image = new ImageData(columns, rows);
    new Uint32Array(image.data.buffer).set(Uint32Array.from(deepest, (level) => colours.table[level]));
    const canvas = element("canvas", { width: columns, height: rows });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  // ---- lines

  line(name, index, pieces) {
    const { bins, maxima } = this.block[name];
    const bin = Math.floor((index * bins) / pieces);
    return number(this.block.lines[name][this.index * bins + bin], maxima[this.index], this.block.lineBits);
  }

  entropy(query) {
    return this.line("entropy", query, this.block.querySide.length);
  }

  received(key) {
    return this.line("received", key, this.block.keySide.length);
  }

  get mostReceived() {
    return this.block.received.maxima[this.index];
  }

  // Keys by the weight they received, exactly, with their share of all weight.
  get ranking() {
    const { size, maxima } = this.block.ranked;
    return Array.from({ length: size }, (_, place) => {
      const at = this.index * size + place;
      const weight = number(this.block.lines.weights[at], maxima[this.index], 16);
      return { key: this.block.lines.keys[at], weight, share: weight / (this.block.totals[this.index] || 1) };
    });
  }

  // ---- single weights

  // What a query attended to, as [key, weight], the strongest first.
  row(query) {
    if (this.block.whole) return sorted(this.wholeLine(query * this.block.columns, 1, this.block.columns));
    return this.merged((each) => {
      const places = [];
      for (let at = each.starts[query]; at < each.starts[query + 1]; at += 1) places.push(at);
      return places;
    }, (each, at) => each.keys[at]);
  }

  // Who attended to a key, as [query, weight], the strongest first.
  column(key) {
    if (this.block.whole) return sorted(this.wholeLine(key, this.block.columns, this.block.rows));
    return this.merged((each) => each.column(key), (each, at) => each.owners[at]);
  }

  wholeLine(start, step, length) {
    const { rows, columns, cells, mapBits, maxima } = this.block;
    const found = [];
    for (let i = 0, at = this.index * rows * columns + start; i < length; i += 1, at += step) {
      if (cells[at]) found.push([i, number(cells[at], maxima[this.index], mapBits)]);
    }
    return found;
  }

  merged(places, other) {
    if (!this.singles) return [];
    const sums = new Map();
    for (const { all, share } of this.singles) {
      for (const at of places(all)) {
        const index = other(all, at);
        sums.set(index, (sums.get(index) ?? 0) + share * all.weight(at));
      }
    }
    return sorted([...sums]);
  }

  // What is known of one weight.
  weight(query, key) {
    const { bits } = this;
    if (this.block.whole) {
      const weight = this.cell(query, key);
      return { low: weight, high: weight, bits };
    }
    let [low, high] = [0, 0];
    for (const part of this.singles ?? []) {
      const at = part.all.keys.subarray(part.all.starts[query], part.all.starts[query + 1]).indexOf(key);
      const weight = at < 0 ? 0 : part.all.weight(part.all.starts[query] + at);
      low += part.share * weight;
      high += part.share * (at < 0 ? this.partBound(part, query) : weight);
    }
    return { low, high, bits };
  }

  // What every weight of a query that was not kept lies below; 0 where none was left out.
  bound(query) {
    return (this.singles ?? []).reduce((sum, part) => sum + part.share * this.partBound(part, query), 0);
  }

  partBound({ all, layer }, query) {
    const [start, end] = [all.starts[query], all.starts[query + 1]];
    if (end - start < layer.k || layer.k >= layer.keySide.length) return about.least;
    let least = 1;
    for (let at = start; at < end; at += 1) least = Math.min(least, all.weight(at));
    return least;
  }
}

// The highest level, or of many the one that 2 in 1,000 lie above: a few that are far off would leave the rest pale.
function cap(levels, bits) {
  const counts = new Uint32Array(256);
  for (const level of levels) counts[level >> (bits - 8)] += 1;
  const seen = levels.length - counts[0];
  let [high, above] = [255, 0];
  while (high > 0 && (seen > 2000 ? above + counts[high] <= seen / 500 : !counts[high])) { above += counts[high]; high -= 1; }
  return high === 255 ? 2 ** bits - 1 : (high + 1) * 2 ** (bits - 8) - 1;
}

function sorted(pairs) {
  return pairs.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}
