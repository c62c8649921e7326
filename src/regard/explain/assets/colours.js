// What every other file uses: elements, numbers in words, and the style sheet's colours for what is drawn on a canvas.

const wide = new Intl.NumberFormat("en");

// An element with properties and children. Text is only ever set as text, never as markup.
function element(name, properties = {}, ...children) {
  const { dataset, attributes = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(name), rest);
  Object.assign(node.dataset, dataset);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function button(className, textContent, click, attributes = {}) {
  const node = element("button", { type: "button", className, textContent, attributes });
  node.addEventListener("click", click);
  return node;
}

// A weight as far as it is known: three decimals, or two digits where only 8 bits were kept.
function spell(weight, bits = 16) {
  if (bits === 16) return weight.toFixed(3);
  return weight === 0 ? "0" : weight < 1e-4 ? "<0.0001" : weight >= 0.995 ? "1.0" : String(Number(weight.toPrecision(2)));
}

// What is known of a weight: { low, high, bits }.
function spellBounds({ low, high, bits }) {
  if (low === high) return spell(low, bits);
  return low === 0 ? `below ${spell(high, bits)}` : `at least ${spell(low, bits)}`;
}

// A sum of weights.
function amount(weight) {
  return weight >= 1000 ? wide.format(Math.round(weight)) : weight.toFixed(2);
}

function count(number, noun) {
  return `${wide.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

// Runs a drawing once a frame, however often it is asked for.
function frame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
}

// A canvas of so many CSS pixels, sharp on every screen.
function resize(canvas, width, height) {
  const ratio = Math.min(devicePixelRatio || 1, 3);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

// As WCAG 2.2 defines it.
function luminance(colour) {
  const [red, green, blue] = colour.map((part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

class Colours {
  constructor() {
    this.listeners = [];
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      matchMedia(query).addEventListener("change", () => {
        this.read();
        for (const listener of this.listeners) listener();
      });
    }
    this.read();
  }

  read() {
    const style = getComputedStyle(document.documentElement);
    const stops = [];
    for (const name of ["page", "surface", "ink", "muted", "line", "quiet", "pick", "weight"]) {
      this[name] = style.getPropertyValue(`--${name}`).trim();
    }
    for (let stop = 0; stop < 5; stop += 1) {
      const text = style.getPropertyValue(`--ramp-${stop}`).trim();
      stops.push([1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
    }
    this.table = new Uint32Array(256); // a level of the map as a pixel
    this.css = [];
    this.bright = []; // whether black can be read on a level better than white
    for (let level = 0; level < 256; level += 1) {
      const place = (level / 255) * 4;
      const stop = Math.min(Math.floor(place), 3);
      const [red, green, blue] = stops[stop].map((from, i) => Math.round(from + (stops[stop + 1][i] - from) * (place - stop)));
      this.table[level] = (255 << 24) | (blue << 16) | (green << 8) | red;
      this.css.push(`rgb(${red} ${green} ${blue})`);
      this.bright.push(luminance([red, green, blue]) > 0.179);
    }
    this.darkScheme = !this.bright[0];
  }

  // Black or white, whichever can be read on a level.
  on(level) {
    return this.bright[level] ? "#000" : "#fff";
  }
}

const colours = new Colours();
