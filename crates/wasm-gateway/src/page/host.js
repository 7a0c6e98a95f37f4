// Asks the host that this page is about.

const TOKEN = "airssys-wasm-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
};

// What the host answers instead of what was asked for.
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the answer is ${status}`);
    this.status = status;
  }
}

function headers(more) {
  const all = new Headers(more);
  if (token.get()) {
    all.set("Authorization", `Bearer ${token.get()}`);
  }
  return all;
}

export async function ask(method, path, { body, headers: more } = {}) {
  const response = await fetch(path, { method, body, headers: headers(more), cache: "no-store" });
  if (!response.ok) {
    throw new Problem(response.status, await response.json().catch(() => ({})));
  }
  return response;
}

export async function json(path) {
  return (await ask("GET", path)).json();
}

export function pathOf(id) {
  return `/components/${id}`;
}

// Calls `told` with each event, and goes on after the last one when the connection is lost,
// until `signal` says that it is enough.
export async function follow(withMessages, told, connected, signal) {
  let last = null;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const more = last ? { "Last-Event-ID": last } : {};
      const path = `/events?messages=${withMessages}`;
      const response = await fetch(path, { headers: headers(more), cache: "no-store", signal });
      if (!response.ok) {
        throw new Problem(response.status, await response.json().catch(() => ({})));
      }
      connected(true);
      wait = 500;
      for await (const event of events(response.body)) {
        last = event.id || last;
        told(event.data);
      }
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && error.status === 401)) {
        return;
      }
    }
    connected(false);
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 10_000);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = {};
      for (const line of text.slice(0, end).split("\n")) {
        const [, name, content] = /^(\w+): (.*)$/.exec(line) || [];
        if (name) {
          event[name] = content;
        }
      }
      text = text.slice(end + 2);
      if (event.data) {
        yield { id: event.id, data: JSON.parse(event.data) };
      }
    }
  }
}
