// Elements by one call. Texts are always text: nothing that people or models write becomes markup.

export function element(name, properties = {}, ...children) {
  const { attributes = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(name), rest);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function button(text, action, className = "") {
  const node = element("button", { type: "button", textContent: text, className });
  node.addEventListener("click", action);
  return node;
}

// What is saved under a name, from a blob that the browser has.
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
