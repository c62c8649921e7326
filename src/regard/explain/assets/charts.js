// The heads' entropies by layer, and the keys that received most.

const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

class EntropyChart {
  constructor(view) {
    this.view = view;
    this.host = element("div", { className: "chart" });
    this.root = element("div", { className: "panel entropies" }, element("h3", { textContent: "Entropy by layer" }), this.host);
  }

  show(chosen) {
    const { group } = chosen.block;
    if (group !== this.group) this.build(group, chosen);
    for (const [head, dot] of this.dots) dot.classList.toggle("chosen", head === chosen);
    this.dots.get(chosen)?.parentNode.append(this.dots.get(chosen)); // over the others
  }

  build(group, { limit }) {
    this.group = group;
    this.dots = new Map();
    const [width, height, left, right, top, bottom] = [360, 200, 34, 10, 18, 30];
    const top_ = Math.max(limit, ...group.layers.flatMap((layer) => layer.spread)) || 1;
    const x = (layer) => left + ((layer + 0.5) / group.layers.length) * (width - left - right);
    const y = (nats) => height - bottom - (nats / top_) * (height - top - bottom);
    const text = (content, at, attributes = {}) => {
      const node = shape("text", { ...at, ...attributes });
      node.textContent = content;
      return node;
    };
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", `Mean entropy of ${count(group.layers.length, "layer")}: `
      + group.layers.map((layer) => `${layer.names[0]} ${layer.mean.spread.toFixed(2)}`).join(", "));
    svg.append(shape("line", { x1: left, x2: width - right, y1: y(0), y2: y(0), class: "axis" }));
    const step = [0.1, 0.2, 0.5, 1, 2, 5].find((each) => top_ / each <= 5.5) ?? 10;
    for (let nats = step; nats < top_ * 0.94; nats += step) {
      svg.append(shape("line", { x1: left, x2: width - right, y1: y(nats), y2: y(nats), class: "rule" }));
      svg.append(text(String(Number(nats.toFixed(1))), { x: left - 6, y: y(nats) + 4 }, { class: "end" }));
    }
    svg.append(text("0", { x: left - 6, y: y(0) + 4 }, { class: "end" }));
    svg.append(shape("line", { x1: left, x2: width - right, y1: y(limit), y2: y(limit), class: "limit" }));
    svg.append(text(`at most ln ${wide.format(group.keys.length)} = ${limit.toFixed(2)} nats`, { x: width - right, y: y(limit) - 5 }, { class: "end" }));
    const apart = Math.ceil(group.layers.length / 12);
    group.layers.forEach((layer, index) => {
      const name = layer.short || "0";
      if (index % apart === 0) svg.append(text(name.length > 7 ? String(index) : name, { x: x(index), y: height - bottom + 16 }, { class: "middle" }));
    });
    svg.append(text("layer", { x: width - right, y: height - 2 }, { class: "end" }));
    const line = group.layers.map((layer, index) => `${x(index)},${y(layer.mean.spread)}`).join(" ");
    svg.append(shape("polyline", { points: line, class: "line" }));
    const room = Math.min(0.6 * ((width - left - right) / group.layers.length), 60);
    group.layers.forEach((layer, index) => {
      for (const head of layer.all) {
        const aside = head.isMean || layer.heads < 2 ? 0 : (head.index / (layer.heads - 1) - 0.5) * room;
        svg.append(this.dot(head, x(index) + aside, y(head.spread)));
      }
    });
    this.host.replaceChildren(svg, element("p", { className: "keys", textContent: "A dot is a head, the line the mean of each layer. Click a dot to see its map." }));
  }

  dot(head, cx, cy) {
    const title = shape("title", {});
    title.textContent = `${head.title}: ${head.spread.toFixed(2)} nats`;
    const node = head.isMean && head.block.heads > 1
      ? shape("rect", { x: cx - 3.5, y: cy - 3.5, width: 7, height: 7, class: "dot mean" }, title)
      : shape("circle", { cx, cy, r: head.block.heads > 12 ? 3 : 4.5, class: "dot" }, title);
    node.addEventListener("click", () => this.view.choose(head));
    this.dots.set(head, node);
    return node;
  }
}

class Ranking {
  constructor(view) {
    this.view = view;
    this.which = element("p", { className: "about" });
    this.list = element("ol", { translate: false });
    this.root = element("div", { className: "panel ranking" }, element("h3", { textContent: "Received most" }), this.which, this.list);
  }

  show(head) {
    const side = head.block.keySide;
    const ranking = head.ranking;
    const most = ranking[0]?.weight || 1;
    this.which.replaceChildren(`of `, element("bdi", { textContent: side.name }), ` · ${head.title}`);
    this.keys = new Map();
    this.list.replaceChildren(...ranking.map(({ key, weight, share }) => {
      const node = button("", "", () => this.view.pick({ side, index: key, role: "key" }));
      node.style.setProperty("--share", (weight / most).toFixed(3));
      node.append(
        element("bdi", { className: "token", textContent: side.label(key) }),
        element("span", { className: "place", textContent: side.length > 60 ? wide.format(key + 1) : "" }),
        element("span", { className: "number", textContent: amount(weight) }),
        element("span", { className: "number share", textContent: share && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %` }),
      );
      this.keys.set(key, node);
      return element("li", {}, node);
    }));
  }

  mark(key) {
    for (const [index, node] of this.keys ?? []) node.classList.toggle("picked", index === key);
  }
}
