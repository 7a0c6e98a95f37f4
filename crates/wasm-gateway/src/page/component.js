// One component: how it is, what it may do, and what it says.

import { ask, json, pathOf } from "./host.js";
import { of } from "./history.js";
import { count, duration, element, plot, size } from "./show.js";

const LISTS = ["send", "request", "broadcast", "http", "imports"];
const SINGLES = ["storage", "log"];

const place = document.getElementById("one");
let shown = null;

export async function open(id) {
  shown = id;
  place.replaceChildren(
    element("div", { className: "title" },
      element("h2", { id: "one-title", tabIndex: -1 }, id),
      element("a", { href: "#" }, "All components")),
    element("p", { className: "problem", role: "alert", id: "one-problem" }),
    element("div", { id: "one-state" }),
    element("div", { className: "actions" }, button("Restart", "", () => restart(id)), unloading(id)),
    element("div", { className: "halves" },
      element("section", {}, element("h3", {}, "What it may do"), element("ul", { id: "permissions" })),
      element("section", {}, element("h3", {}, "Send it a message"), form(id))));
  await refresh();
  document.getElementById("one-title").focus();
}

export function close() {
  shown = null;
}

export async function refresh() {
  const id = shown;
  if (!id) {
    return;
  }
  try {
    const component = await json(pathOf(id));
    if (shown === id) {
      state(component);
      permissions(component);
    }
  } catch (error) {
    complain(error.message);
  }
}

function complain(text) {
  document.getElementById("one-problem").textContent = text;
}

function button(text, className, action) {
  const made = element("button", { type: "button", className }, text);
  made.addEventListener("click", async () => {
    made.disabled = true;
    complain("");
    try {
      await action();
    } catch (error) {
      complain(error.message);
    }
    made.disabled = false;
  });
  return made;
}

function state(component) {
  const history = of(component.id) || { rate: [], latency: [], fuel: [], memory: [] };
  const usage = component.usage || {};
  const facts = [
    ["State", element("span", { className: `phase ${component.phase}` }, component.phase)],
    ["Health", component.health],
    ["Version", component.version || "–"],
    ["Waiting", count(component.waiting)],
    ["Handled", count(component.handled)],
    ["Failures", count(component.failures)],
    ["Restarts", count(usage.restarts || 0)],
    ["Swaps", count(component.swaps)],
    ["Messages per second", plot("Messages per second", history.rate, count)],
    ["Latency, 99th percentile", plot("Latency", history.latency, duration)],
    ["Fuel per second", plot("Fuel per second", history.fuel, count)],
    ["Memory", plot("Memory", history.memory, size)],
    ["Most memory", size(usage.peak_memory_bytes || 0)],
    ["Code and types", size(usage.kept_bytes || 0)],
  ];
  const list = element("dl", { className: "facts" },
    ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const cause = component.cause
    ? [element("h3", {}, "Its latest failure"), element("pre", {}, component.cause)]
    : [];
  document.getElementById("one-state").replaceChildren(list, ...cause);
}

// What it was granted, one thing on a line, with what is taken back among it.
function permissions(component) {
  const { granted, permissions: inForce } = component;
  const lines = [];
  for (const key of LISTS) {
    for (const pattern of granted[key]) {
      const has = inForce[key].includes(pattern);
      lines.push(line(component, `${key} to ${pattern}`, has, (next) => {
        next[key] = has ? next[key].filter((it) => it !== pattern) : [...next[key], pattern];
      }));
    }
  }
  for (const key of SINGLES.filter((it) => granted[it] !== null)) {
    const has = inForce[key] !== null;
    const value = key === "storage" ? size(granted[key]) : granted[key];
    lines.push(line(component, `${key} of ${value}`, has, (next) => {
      next[key] = has ? null : granted[key];
    }));
  }
  if (granted.wasi) {
    lines.push(element("li", {}, element("code", {}, `${granted.wasi} grants of WASI, which stay`)));
  }
  if (!lines.length) {
    lines.push(element("li", { className: "quiet" }, "It was granted nothing."));
  }
  const list = document.getElementById("permissions");
  // Whoever is at a button stays there.
  const focused = [...list.children].indexOf(document.activeElement?.closest("#permissions li"));
  list.replaceChildren(...lines);
  list.children[focused]?.querySelector("button")?.focus();
}

function line(component, text, has, change) {
  const act = async () => {
    const { permissions: { wasi, ...next } } = await json(pathOf(component.id));
    change(next);
    await ask("PUT", `${pathOf(component.id)}/permissions`, { body: JSON.stringify(next) });
    await refresh();
  };
  const made = button(has ? "Take back" : "Give back", "", act);
  made.setAttribute("aria-label", `${made.textContent}: ${text}`);
  return element("li", { className: has ? "" : "taken" }, element("code", {}, text), made);
}

async function restart(id) {
  await ask("POST", `${pathOf(id)}/restart`);
  await refresh();
}

// Asks once more before it does it.
function unloading(id) {
  let isSure = false;
  const made = button("Unload", "danger", async () => {
    if (!isSure) {
      isSure = true;
      made.textContent = "Unload it for good?";
      return;
    }
    await ask("DELETE", pathOf(id));
    location.hash = "";
  });
  return made;
}

function form(id) {
  const text = element("textarea", { id: "message", spellcheck: false });
  const type = element("input", { id: "message-type", value: "text/plain", spellcheck: false });
  const reply = element("pre", { id: "reply", role: "status", hidden: true });
  const made = element("form", {},
    element("label", { htmlFor: "message" }, "Payload"), text,
    element("label", { htmlFor: "message-type" }, "Type"), type,
    element("div", { className: "actions" },
      element("button", { className: "strong" }, "Send and wait"),
      button("Send only", "", () => send("/messages"))),
    reply);

  async function send(path) {
    const began = performance.now();
    const headers = type.value ? { "Content-Type": type.value } : {};
    let told;
    try {
      const response = await ask("POST", `${pathOf(id)}${path}`, { body: text.value, headers });
      const took = (performance.now() - began).toFixed(1);
      const what = { 202: "accepted", 204: "no reply" }[response.status];
      told = what ? `${what}, after ${took} ms` : await response.text();
    } catch (error) {
      told = error.message;
    }
    reply.hidden = false;
    reply.textContent = told;
  }

  made.addEventListener("submit", (event) => {
    event.preventDefault();
    send("");
  });
  // As in other forms of many lines.
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      send("");
    }
  });
  return made;
}
