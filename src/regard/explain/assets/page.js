// The page: one look at a time, chosen by the address's #sentence-N.

const sections = [...document.querySelectorAll("section.look")];
const links = [...document.querySelectorAll("nav a")];
const views = new Map(); // made when first shown

async function open() {
  const wanted = sections.find((section) => `#${section.id}` === location.hash) ?? sections[0];
  for (const section of sections) section.hidden = section !== wanted;
  links.forEach((link) => link.setAttribute("aria-current", link.hash === `#${wanted.id}`));
  if (views.has(wanted)) return;
  const number = Number(wanted.dataset.number);
  const look = new Look(about.looks[number], number);
  views.set(wanted, look);
  await Promise.all(look.blocks.map((block) => block.loadMaps()));
  const view = new LookView(wanted, look, number);
  await view.choose(view.opening);
}

// What cannot be shown alive stays as it stands without JavaScript, and says why.
async function start() {
  try {
    await open();
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    document.documentElement.dataset.ready = "failed";
    document.querySelector("main").prepend(element("p", { className: "failed", textContent: `The page's script stopped: ${error.message}. It needs a browser from 2023 or later.` }));
    throw error;
  }
}

for (const link of links) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the list stays in view: following the link would scroll it away
    history.pushState(null, "", link.hash);
    start();
  });
}
addEventListener("popstate", start);
addEventListener("hashchange", start);
start();
