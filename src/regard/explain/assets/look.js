// One look, alive: which head is chosen, what is picked and pointed at, and who has to know.

class LookView {
  constructor(section, look, number) {
    Object.assign(this, { section, look, number });
    this.direction = "query"; // within one text, whether what is picked attends or is attended to
    this.pinned = null;
    this.pointed = null;
    const images = new Map([...section.querySelectorAll("img[data-side]")].map((image) => [image.dataset.side, image]));
    const sounds = new Map([...section.querySelectorAll("audio[data-side]")].map((sound) => [sound.dataset.side, sound]));
    this.sides = look.sides.map((side) => (side.grid ? new PictureSide(this, side, images.get(side.name), sounds.get(side.name)) : new TextSide(this, side)));
    this.directions = element("div", { className: "directions", attributes: { role: "group", "aria-label": "direction" } },
      ...[["query", "attended to"], ["key", "attended by"]].map(([role, name]) => {
        const node = button("tool wide", name, () => this.turn(role));
        node.dataset.role = role;
        return node;
      }));
    this.map = new MapView(this);
    this.heads = new HeadsTable(this);
    this.chart = new EntropyChart(this);
    this.ranking = new Ranking(this);
    this.readout = new Readout(this);
    const bar = element("div", { className: "bar" }, element("h3", { textContent: this.headline }), this.directions);
    const sides = element("div", { className: "sides" }, ...this.sides.map(({ root }) => root));
    this.texts = element("div", { className: "panel texts" }, bar, sides,
      element("p", { className: "keys", textContent: "Point at a piece, click or tap to hold it, walk with the arrow keys; Esc lets go." }));
    const main = element("div", { className: "main" }, this.texts, this.map.root);
    const aside = element("div", { className: "aside" }, this.heads.root, this.chart.root, this.ranking.root);
    section.append(element("div", { className: "live" }, main, aside), this.readout.root);
    section.querySelector(".still").remove();
    section.addEventListener("keydown", (event) => { if (event.key === "Escape") this.pick(null); });
    colours.listeners.push(() => this.repaint());
  }

  get headline() {
    const kinds = this.look.sides.map(({ grid }) => (!grid ? "text" : grid.rows === 1 ? "sound" : "picture"));
    const names = [...new Set(kinds)].join(" and ");
    return names[0].toUpperCase() + names.slice(1);
  }

  repaint() {
    this.heads.paint();
    this.map.ground = this.head.picture();
    this.map.draw();
    this.light();
  }

  // ---- which head

  // The last group in which one side attends to another, as a decoder to its source, else the first: the mean of its layers.
  get opening() {
    const group = this.look.groups.findLast(({ queries, keys }) => queries !== keys) ?? this.look.groups[0];
    return group.blocks[0].mean;
  }

  async choose(head) {
    this.head = head;
    this.heads.choose(head);
    await head.load();
    if (this.head !== head) return; // another was chosen meanwhile
    this.map.show(head);
    this.chart.show(head);
    this.ranking.show(head);
    const { querySide, keySide } = head.block;
    this.directions.hidden = querySide !== keySide;
    if (this.pinned && this.pinned.side !== querySide && this.pinned.side !== keySide) this.pinned = null;
    this.pinned ??= { side: querySide, index: this.example(querySide) };
    this.pointed = null;
    this.light();
    if (head.ready) return;
    head.loadSingles().then(() => { if (this.head === head) this.light(); });
  }

  // So that the page shows at once what pointing does: a piece from which there is something to look back at.
  example(side) {
    return side.grid ? Math.floor(side.length / 2) : Math.min(Math.floor(side.length / 2), 12);
  }

  turn(role) {
    this.direction = role;
    if (this.pinned) delete this.pinned.role;
    this.light();
  }

  // ---- what is picked

  pick(picked) {
    this.pinned = picked;
    this.pointed = null;
    this.light();
    if (picked) this.sides[picked.side.index].reveal(picked.index);
  }

  point(picked) {
    const same = ["side", "index", "cell", "role"].every((key) => picked?.[key] === this.pointed?.[key]);
    if (same) return;
    this.pointed = picked;
    this.light();
  }

  // From a cell of the map, or from a name beside it, where the other is -1.
  ofCell({ query, key }) {
    const { querySide, keySide } = this.head.block;
    if (query < 0) return { side: keySide, index: key, role: "key" };
    return { side: querySide, index: query, role: "query", cell: key < 0 ? undefined : key };
  }

  pointCell(cell) {
    this.point(cell && this.ofCell(cell));
  }

  pickCell(cell) {
    this.pick(this.ofCell(cell));
  }

  // Whether what is picked is a query or a key of this head; nothing where its side is neither.
  roleOf({ side, role }) {
    const { querySide, keySide } = this.head.block;
    if (side !== querySide && side !== keySide) return null;
    if (querySide === keySide) return role ?? this.direction;
    return side === querySide ? "query" : "key";
  }

  // ---- who has to know

  light() {
    const { head } = this;
    const { querySide, keySide } = head.block;
    let picked = this.pointed && this.roleOf(this.pointed) ? this.pointed : this.pinned;
    picked = picked && this.roleOf(picked) ? { ...picked, role: this.roleOf(picked) } : null;
    const others = picked ? (picked.role === "query" ? head.row(picked.index) : head.column(picked.index)) : [];
    const otherSide = picked?.role === "query" ? keySide : querySide;
    // Relative to the strongest, so that what is spread over a long text can be seen, but never louder than at 0.1.
    const most = Math.max(others[0]?.[1] ?? 0, 0.1);
    const strengths = new Map(others.map(([index, weight]) => [index, Math.sqrt(weight / most)]));
    for (const each of this.sides) {
      const { side } = each;
      each.show({
        strengths: picked && side === otherSide ? strengths : new Map(),
        picked: side === picked?.side ? picked.index : -1,
        pinned: side === this.pinned?.side ? this.pinned.index : -1,
        cell: side === otherSide && picked?.cell !== undefined ? picked.cell : -1,
        role: side === querySide && side === keySide ? "attends to itself" : side === querySide ? "attends" : side === keySide ? "is attended to" : "",
        ground: picked && side === otherSide && !head.block.whole ? this.profile(picked) : null,
      });
    }
    for (const node of this.directions.children) node.setAttribute("aria-pressed", node.dataset.role === (picked?.role ?? this.direction));
    this.map.mark(picked ? { [picked.role]: picked.index } : {});
    this.ranking.mark(picked?.role === "key" ? picked.index : -1);
    this.readout.show(picked, others, head);
  }

  // The row or column of the pooled map that what is picked lies in, relative to its strongest cell.
  profile({ index, role }) {
    const { head } = this;
    const { row, column } = head.around(role === "query" ? index : 0, role === "query" ? 0 : index);
    const size = role === "query" ? head.block.columns : head.block.rows;
    const levels = Array.from({ length: size }, (_, at) => (role === "query" ? head.level(row.cell, at) : head.level(at, column.cell)));
    const most = Math.max(...levels, 1);
    return levels.map((level) => level / most);
  }
}
