// A side whose pieces are places of a picture, or frames of a sound: the weights lie over it.

class PictureSide {
  constructor(view, side, image, sound) {
    Object.assign(this, { view, side, image, sound });
    this.grid = side.grid;
    this.size = this.grid.rows * this.grid.columns;
    this.image.removeAttribute("data-side");
    this.cover = element("canvas", { className: "cover" });
    this.frame = element("div", {
      className: this.grid.rows === 1 ? "picture strip" : "picture", tabIndex: 0,
      attributes: { role: "application", "aria-roledescription": "picture", "aria-label": `${side.name}: ${this.grid.rows} by ${this.grid.columns} places. Arrow keys walk.` },
    }, image, this.cover);
    const name = element("h4", {}, element("bdi", { textContent: side.name }), element("span", { className: "size", textContent: this.shape }));
    this.role = element("span", { className: "role" });
    name.append(this.role);
    this.others = element("p", { className: "others" }); // pieces that are no places: a class token
    this.buttons = new Map();
    for (let index = 0; index < side.length; index += 1) if (!this.inside(index)) this.others.append(this.other(index));
    this.root = element("div", { className: this.grid.rows === 1 ? "side sound" : "side image" }, name, this.frame, this.others);
    if (sound) this.play();
    this.shown = { strengths: new Map(), picked: -1, cell: -1 };
    this.draw = frame(() => this.paint());
    new ResizeObserver(this.draw).observe(this.frame);
    this.listen();
  }

  get shape() {
    return this.grid.rows === 1 ? count(this.grid.columns, "frame") : `${this.grid.rows} × ${this.grid.columns} patches`;
  }

  // While the sound is played, what is heard is what is pointed at; a click on a frame goes there.
  play() {
    const { sound, view, side } = this;
    const { columns, first, seconds } = this.grid;
    sound.removeAttribute("data-side");
    this.frame.after(sound);
    const follow = () => {
      if (sound.paused) return view.point(null);
      view.point({ side, index: first + Math.min(columns - 1, Math.floor((sound.currentTime / seconds) * columns)) });
      requestAnimationFrame(follow);
    };
    sound.addEventListener("play", follow);
    this.frame.addEventListener("click", (event) => {
      const box = this.frame.getBoundingClientRect();
      sound.currentTime = Math.max(0, ((event.clientX - box.left) / box.width) * seconds);
    });
  }

  inside(index) {
    return index >= this.grid.first && index < this.grid.first + this.size;
  }

  other(index) {
    const node = button("piece", this.side.label(index), () => this.view.pick({ side: this.side, index }));
    node.addEventListener("pointerenter", () => this.view.point({ side: this.side, index }));
    node.addEventListener("pointerleave", () => this.view.point(null));
    node.dataset.index = index;
    this.buttons.set(index, node);
    return node;
  }

  show(shown) {
    this.shown = shown;
    this.role.textContent = shown.role;
    this.root.classList.toggle("absent", !shown.role);
    this.frame.classList.toggle("lit", shown.strengths.size > 0);
    for (const [index, node] of this.buttons) {
      node.style.setProperty("--strength", (shown.strengths.get(index) ?? 0).toFixed(3));
      node.classList.toggle("picked", index === shown.picked);
      node.setAttribute("aria-pressed", index === shown.pinned);
    }
    this.draw();
  }

  reveal() {}

  paint() {
    const [width, height] = [this.frame.clientWidth, this.frame.clientHeight];
    if (!width || !height) return;
    const context = resize(this.cover, width, height);
    const { rows, columns, first } = this.grid;
    const strip = rows === 1 ? 18 : 0; // of a sound: the weights again, below its spectrogram
    const [wide, high] = [width / columns, (height - strip) / rows];
    const { strengths, picked, cell } = this.shown;
    const place = (index) => [((index - first) % columns) * wide, Math.floor((index - first) / columns) * high];
    if (strip) {
      context.fillStyle = colours.css[0];
      context.fillRect(0, height - strip, width, strip);
    }
    for (const [index, strength] of strengths) {
      if (!this.inside(index)) continue;
      const [x, y] = place(index);
      context.fillStyle = colours.weight;
      context.globalAlpha = 0.85 * strength;
      context.fillRect(x, y, wide, high);
      context.globalAlpha = 1;
      context.fillStyle = colours.css[Math.round(255 * strength)];
      if (strip) context.fillRect(x, height - strip, Math.max(wide, 1), strip);
    }
    context.strokeStyle = colours.pick;
    for (const [index, line] of [[cell, 2], [picked, 3]]) {
      if (!this.inside(index)) continue;
      const [x, y] = place(index);
      context.lineWidth = line + 2;
      context.strokeStyle = colours.surface; // seen on any picture
      context.strokeRect(x + 1, y + 1, Math.max(wide - 2, 2), high + strip - 2);
      context.lineWidth = line;
      context.strokeStyle = colours.pick;
      context.strokeRect(x + 1, y + 1, Math.max(wide - 2, 2), high + strip - 2);
    }
  }

  listen() {
    const { frame: node, view, side } = this;
    const under = (event) => {
      const box = node.getBoundingClientRect();
      const { rows, columns, first } = this.grid;
      const row = Math.min(rows - 1, Math.floor(((event.clientY - box.top) / box.height) * rows));
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      return first + Math.max(0, row) * columns + Math.max(0, Math.min(column, columns - 1));
    };
    node.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") view.point({ side, index: under(event) }); });
    node.addEventListener("pointerleave", () => view.point(null));
    node.addEventListener("click", (event) => view.pick({ side, index: under(event) }));
    node.addEventListener("keydown", (event) => {
      const { columns, first } = this.grid;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const current = view.pinned?.side === side && this.inside(view.pinned.index) ? view.pinned.index : first - step;
      const index = current + step;
      view.pick({ side, index: this.inside(index) ? index : Math.max(current, first) });
    });
  }
}
