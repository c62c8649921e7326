// The two axes of a map: which pieces are in view, and where they lie.

const LARGEST = 64; // pixels of a piece, zoomed in as far as it goes

class Axis {
  constructor(side) {
    this.side = side;
    this.count = side.length;
    this.first = 0; // in pieces, and so is the span
    this.span = this.count;
    this.length = 1; // in pixels
    this.start = 0; // where the axis begins on the canvas
  }

  get cell() {
    return this.length / this.span;
  }

  get zoomed() {
    return this.span < this.count - 1e-9;
  }

  place(index) {
    return this.start + (index - this.first) * this.cell;
  }

  // The piece at a pixel, or -1.
  at(pixel) {
    const inside = pixel >= this.start && pixel < this.start + this.length;
    return inside ? this.bounded(Math.floor(this.first + (pixel - this.start) / this.cell)) : -1;
  }

  bounded(index) {
    return Math.max(0, Math.min(index, this.count - 1));
  }

  zoom(factor, pixel) {
    const anchor = this.first + (pixel - this.start) / this.cell;
    const least = Math.min(this.count, this.length / LARGEST);
    const span = Math.max(least, Math.min(this.span / factor, this.count));
    this.first = anchor - ((anchor - this.first) * span) / this.span;
    this.span = span;
    this.clamp();
  }

  move(pixels) {
    this.first -= pixels / this.cell;
    this.clamp();
  }

  reset() {
    this.first = 0;
    this.span = this.count;
  }

  clamp() {
    this.first = Math.max(0, Math.min(this.first, this.count - this.span));
  }

  // Moves until a piece is in view, with some room around it.
  reveal(index) {
    const room = Math.min(this.span / 4, 4);
    if (index < this.first + room) this.first = index - room;
    if (index + 1 > this.first + this.span - room) this.first = index + 1 + room - this.span;
    this.clamp();
  }

  get visible() { // the first piece in view, and the one behind the last
    return [Math.max(0, Math.floor(this.first)), Math.min(this.count, Math.ceil(this.first + this.span))];
  }

  // Round numbers of pieces in view, counted from 1, that lie some way apart.
  get ticks() {
    const apart = (this.span * 72) / this.length;
    const power = 10 ** Math.floor(Math.log10(Math.max(apart, 1)));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= apart) ?? 10 * power;
    const [from, to] = this.visible;
    const found = from === 0 ? [0] : [];
    for (let each = Math.ceil((from + 1) / step) * step; each <= to; each += step) if (each > 1) found.push(each - 1);
    return found.filter((each, place) => place === 0 || this.place(each) - this.place(found[0]) > 24);
  }
}

// Text cut to a width, with an ellipsis.
function fit(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, Math.min(text.length, 60)];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low).replace(/[\ud800-\udbff]$/, "")}…`;
}

function font(size, weight = 400) {
  return `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
}
