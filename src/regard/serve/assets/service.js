// The page: the models, and the one that is chosen.

import { models, useToken } from "./api.js";
import { button, element } from "./dom.js";
import { ModelView } from "./model.js";

const list = document.querySelector("#models");
const place = document.querySelector("#model");
const problem = document.querySelector("#problem");
const views = new Map();

function show(found) {
  const wanted = found.find(({ name }) => `#${name}` === location.hash) ?? found[0];
  document.title = `${wanted.name} · Regard`;
  for (const node of list.querySelectorAll("a")) {
    node.setAttribute("aria-current", node.hash === `#${wanted.name}` ? "page" : "false");
  }
  if (!views.has(wanted.name)) views.set(wanted.name, new ModelView(wanted));
  place.replaceChildren(views.get(wanted.name).root);
}

async function start() {
  problem.hidden = true;
  try {
    const found = await models();
    list.replaceChildren(...found.map(({ name, task }) =>
      element("li", {}, element("a", { href: `#${name}` }, element("b", { textContent: name }), ` ${task}`))));
    addEventListener("hashchange", () => show(found));
    show(found);
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    if (error.status === 401) {
      askForToken();
      return;
    }
    problem.hidden = false;
    problem.replaceChildren(`${error.message} `, button("Try again", start));
  }
}

function askForToken() {
  const input = element("input", { id: "secret", type: "password", autocomplete: "current-password", required: true });
  const user = element("input", { type: "text", autocomplete: "username", value: "regard", hidden: true });
  const form = element("form", { id: "token" }, element("label", { htmlFor: "secret", textContent: "This service asks for a token." }),
    user, input, element("button", { className: "main", textContent: "Use it" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    useToken(input.value.trim());
    start();
  });
  place.replaceChildren(form);
  input.focus();
}

start();
