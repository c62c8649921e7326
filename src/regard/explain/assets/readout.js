// One line that says what is pointed at or picked: what it attended to, or who attended to it.

const NAMED = 6; // pieces at most

class Readout {
  constructor(view) {
    this.view = view;
    this.root = element("p", { className: "readout", attributes: { role: "status" } });
  }

  show(picked, others, head) {
    if (!picked) {
      this.root.replaceChildren("Point at a piece to read what it attended to.");
      return;
    }
    const { side, index, role, cell } = picked;
    this.index = index;
    const other = role === "query" ? head.block.keySide : head.block.querySide;
    const verb = role === "query" ? " attended to" : " was attended to by";
    const named = others.slice(0, NAMED).filter(([, weight]) => weight >= 5e-4);
    const chips = named.flatMap(([place, weight]) => [" ", this.chip(other, place, weight, head, role)]);
    if (cell !== undefined && !named.some(([place]) => place === cell)) {
      chips.push(" ", this.chip(other, cell, null, head, role, head.weight(index, cell)));
    }
    const content = [this.name(side, index), chips.length ? verb : role === "query" ? " attended to no single piece that was kept" : " was attended to by none that was kept", ...chips];
    const note = (text) => content.push(element("span", { className: "note", textContent: ` · ${text}` }));
    if (role === "query") {
      if (!head.ready) note("single weights are being unpacked");
      else if (!head.complete) {
        const bound = head.bound(index);
        const sum = others.reduce((total, [, weight]) => total + weight, 0);
        const kept = others.length ? `${spell(sum, 8)} on the ${count(others.length, "key")} kept, any other` : "any weight";
        note(bound === 0 ? "these are all" : `${kept} below ${spell(bound, 8)}`);
        if (sum < 0.5 && bound > 0) note(this.around(head, index));
      }
      note(`entropy ${head.entropy(index).toFixed(2)} of at most ${head.limit.toFixed(2)} nats`);
    } else {
      note(`${amount(head.received(index))} received in all`);
    }
    this.root.replaceChildren(...content);
  }

  // Where single weights say little: the strongest cell of the pooled map.
  around(head, query) {
    const { row } = head.around(query, 0);
    const { columns, keySide } = head.block;
    let best = 0;
    for (let column = 1; column < columns; column += 1) if (head.cell(row.cell, column) > head.cell(row.cell, best)) best = column;
    const { column } = head.around(query, Math.ceil((best * keySide.length) / columns));
    const range = ({ first, last }) => `#${wide.format(first + 1)}–${wide.format(last + 1)}`;
    return `${range(row)} gave ${spell(head.cell(row.cell, best), 8)} to ${range(column)}, on average`;
  }

  name(side, index) {
    const node = element("span", { className: "token" }, element("bdi", { textContent: side.label(index) }));
    if (side.length > 60) node.append(element("span", { className: "place", textContent: wide.format(index + 1) }));
    return node;
  }

  chip(side, index, weight, head, role, bounds = null) {
    const node = button("chip", "", () => this.view.pick({ side, index, role: role === "query" ? "key" : "query" }));
    node.style.setProperty("--strength", Math.sqrt(weight ?? bounds.low).toFixed(3));
    const query = role === "query" ? this.index : index;
    const atLeast = head.isMean && !head.complete && head.bound(query) > 0;
    const text = bounds ? spellBounds(bounds) : `${atLeast ? "≥ " : ""}${spell(weight, head.bits)}`;
    node.append(element("bdi", { textContent: side.label(index) }));
    if (side.length > 60) node.append(element("span", { className: "place", textContent: wide.format(index + 1) }));
    node.append(" ", element("span", { className: "number", textContent: text }));
    return node;
  }
}
