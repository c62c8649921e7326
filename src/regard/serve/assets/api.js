// The service: requests, their errors in words, and streams of events.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let token = sessionStorage.getItem("token") ?? "";

export function useToken(given) {
  token = given;
  sessionStorage.setItem("token", given);
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The service does not answer. Is it still running?");
  }
  if (!response.ok) throw new Refused(response.status, await words(response));
  return response;
}

// What FastAPI says of a body that is not valid is a list of places and messages.
async function words(response) {
  const found = await response.json().catch(() => ({}));
  const detail = found.detail;
  if (Array.isArray(detail)) return detail.map(({ loc, msg }) => `${(loc ?? []).slice(1).join(" ")}: ${msg}`).join("; ");
  return detail ?? `The service answered ${response.status}.`;
}

export async function models() {
  return (await ask("/v1/models")).json();
}

function body(model, given, search) {
  if (model.reads === "texts") {
    const text = JSON.stringify({ input: given, ...(search ? { search } : {}) });
    return { method: "POST", headers: { "Content-Type": "application/json" }, body: text };
  }
  const form = new FormData();
  form.append("file", given, given.name);
  return { method: "POST", body: form };
}

export async function predict(model, given, search, signal) {
  const path = `/v1/models/${model.name}/predict`;
  if (model.reads === "texts") {
    const text = JSON.stringify({ inputs: [given], ...(search ? { search } : {}) });
    return (await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: text, signal })).json();
  }
  const form = new FormData();
  form.append("files", given, given.name);
  form.append("drawn", "true");
  if (search) form.append("search", JSON.stringify(search));
  return (await ask(path, { method: "POST", body: form, signal })).json();
}

export async function look(model, given, form, signal) {
  return (await ask(`/v1/models/${model.name}/look?form=${form}`, { ...body(model, given, null), signal })).blob();
}

// Server-sent events of a POST, which EventSource does not make.
export async function* stream(model, given, search, signal) {
  const response = await ask(`/v1/models/${model.name}/stream`, { ...body(model, given, search), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const one of events) {
      const [, kind, data] = one.match(/^event: (\w+)\ndata: (.*)$/s);
      const found = JSON.parse(data);
      if (kind === "error") throw new Refused(found.status, found.detail);
      yield [kind, found];
    }
  }
}
