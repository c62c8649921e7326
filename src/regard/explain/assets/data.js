// The page's numbers, unpacked as packing.py packed them: a block of heads or a head at a time, when first asked for.

const about = JSON.parse(document.getElementById("about").textContent);

async function unpack(id) {
  const text = document.getElementById(id).textContent;
  let bytes;
  if (Uint8Array.fromBase64) {
    bytes = Uint8Array.fromBase64(text);
  } else {
    const binary = atob(text);
    bytes = new Uint8Array(binary.length);
    for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Planes(new Uint8Array(await new Response(stream).arrayBuffer()));
}

// Numbers of several bytes each: the lowest byte of all of them, then the next of all.
class Planes {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(size, width) {
    const first = this.bytes.subarray(this.at, this.at + size);
    const numbers = width === 1 ? first : width === 2 ? new Uint16Array(first) : new Uint32Array(first);
    for (let place = 1; place < width; place += 1) {
      const start = this.at + place * size;
      for (let i = 0; i < size; i += 1) numbers[i] |= this.bytes[start + i] << (8 * place);
    }
    this.at += size * width;
    return numbers;
  }
}

// What a level of the square-root scale stands for.
function number(level, maximum, bits) {
  return maximum * (level / (2 ** bits - 1)) ** 2;
}

// The single weights of one head that were kept, query by query in the order of keys.
class Singles {
  constructor(planes, [size, countWidth, stepWidth, maximum], bits, queries, keys) {
    Object.assign(this, { maximum, bits, queries, columns: keys });
    const counts = planes.take(queries, countWidth);
    const steps = planes.take(size, stepWidth);
    this.levels = planes.take(size, bits / 8);
    this.keys = new Uint32Array(size);
    this.starts = new Uint32Array(queries + 1);
    for (let query = 0, at = 0; query < queries; query += 1) {
      this.starts[query] = at;
      let key = Math.floor((query * keys) / queries);
      for (let i = 0; i < counts[query]; i += 1, at += 1) {
        const step = steps[at];
        key += i ? step : step % 2 ? -(step + 1) / 2 : step / 2;
        this.keys[at] = key;
      }
      this.starts[query + 1] = at;
    }
  }

  weight(at) {
    return number(this.levels[at], this.maximum, this.bits);
  }

  // The queries of each key, as places among the weights: counted once, when a key is first asked for.
  column(key) {
    if (!this.order) {
      this.ends = new Uint32Array(this.columns + 1);
      for (const each of this.keys) this.ends[each + 1] += 1;
      for (let i = 1; i < this.ends.length; i += 1) this.ends[i] += this.ends[i - 1];
      const next = this.ends.slice();
      this.order = new Uint32Array(this.keys.length);
      this.owners = new Uint32Array(this.keys.length);
      for (let query = 0; query < this.queries; query += 1) {
        for (let at = this.starts[query]; at < this.starts[query + 1]; at += 1) this.owners[at] = query;
      }
      this.keys.forEach((each, at) => { this.order[next[each]++] = at; });
    }
    return this.order.subarray(this.ends[key], this.ends[key + 1]);
  }
}

class Side {
  constructor({ name, pieces, kinds, grid }, index) {
    Object.assign(this, { name, pieces, kinds, grid, index });
  }

  get length() {
    return this.pieces.length;
  }

  starts(index) {
    return this.kinds[index] === "." || this.kinds[index] === "e";
  }

  // A piece standing alone, as on an axis.
  label(index) {
    return this.kinds[index] === "-" ? `·${this.pieces[index]}` : this.pieces[index];
  }
}

// A row of the table of heads: a layer's heads and their mean, or the mean of several layers.
class Block {
  constructor(about, id, sides) {
    Object.assign(this, about, { id });
    this.querySide = sides[about.queries];
    this.keySide = sides[about.keys];
    this.planes = about.maxima.length;
    this.all = Array.from({ length: this.planes }, (_, index) => new Head(this, index));
    this.once = {};
  }

  get mean() {
    return this.all[this.planes - 1];
  }

  unpack(kind, part = 0) {
    const id = `${kind}-${this.id}-${part}`;
    this.once[id] ??= unpack(id);
    return this.once[id];
  }

  async loadMaps() {
    if (this.cells) return;
    this.cells = (await this.unpack("maps")).take(this.planes * this.rows * this.columns, this.mapBits / 8);
  }

  async loadLines() {
    if (this.lines) return;
    const planes = await this.unpack("lines");
    planes.at = 0;
    const take = (size, width) => planes.take(this.planes * size, width);
    this.lines = {
      entropy: take(this.entropy.bins, this.lineBits / 8),
      received: take(this.received.bins, this.lineBits / 8),
      keys: take(this.ranked.size, 4),
      weights: take(this.ranked.size, 2),
    };
  }

  async loadSingles(head) {
    const planes = await this.unpack("singles", head);
    planes.at = 0;
    const [queries, keys] = [this.querySide.length, this.keySide.length];
    this.single ??= [];
    this.single[head] ??= new Singles(planes, this.singles[head], this.singleBits, queries, keys);
  }
}

// One input: its sides, and its blocks, grouped by who attends to whom.
class Look {
  constructor(about, number) {
    this.sides = about.sides.map((side, index) => new Side(side, index));
    this.blocks = about.blocks.map((block, index) => new Block(block, `${number}-${index}`, this.sides));
    this.groups = [];
    for (const block of this.blocks) {
      let group = this.groups.find((each) => each.queries === block.querySide && each.keys === block.keySide);
      if (!group) {
        group = { queries: block.querySide, keys: block.keySide, blocks: [], layers: [] };
        this.groups.push(group);
      }
      block.group = group;
      group.blocks.push(block);
      if (block.heads) group.layers.push(block);
    }
    for (const group of this.groups) shorten(group.layers);
  }
}

// Short names for layers: of modules without the parts that all of them share at either end.
function shorten(layers) {
  const modules = layers.filter(({ names }) => names[0].includes("."));
  const parts = modules.map(({ names }) => names[0].split(/[. ]/));
  const alike = (at) => parts.every((each) => each.at(at) === parts[0].at(at));
  const shortest = parts.length && Math.min(...parts.map((each) => each.length));
  let [start, end] = [0, 0];
  while (start < shortest && alike(start)) start += 1;
  while (end < shortest - start && alike(-1 - end)) end += 1;
  for (const layer of layers) layer.short = layers.length === 1 ? "" : layer.names[0];
  modules.forEach((layer, index) => {
    layer.short = parts[index].slice(start, parts[index].length - end).join(".") || layer.short;
  });
}
