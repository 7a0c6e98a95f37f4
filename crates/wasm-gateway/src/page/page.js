// The overview: components, events and dead letters, as they are now.

import * as one from "./component.js";
import { ask, follow, json, Problem, token } from "./host.js";
import { bucketsOf, forget, remember } from "./history.js";
import { count, duration, element, plot, size, time } from "./show.js";

const POLL = 2_000;
const SHOWN_COMPONENTS = 500;
const SHOWN_EVENTS = 300;

const at = (id) => document.getElementById(id);
let components = [];
let following = new AbortController();
let isPaused = false;

async function load() {
  const all = [];
  let after = "";
  do {
    const page = await json(`/components?limit=${SHOWN_COMPONENTS}${after}`);
    all.push(...page.components);
    after = page.next ? `&after=${page.next}` : "";
  } while (after && all.length < SHOWN_COMPONENTS);
  at("components-note").textContent = after
    ? `The first ${all.length} are shown; there are more.`
    : all.length ? "" : "No component is loaded.";
  return all;
}

async function poll() {
  try {
    const [all, metrics, letters] = await Promise.all([
      load(),
      ask("GET", "/metrics").then((response) => response.text()),
      json("/dead-letters"),
    ]);
    const now = Date.now();
    const buckets = bucketsOf(metrics);
    components = all.map((component) => ({
      ...component,
      history: remember(component, buckets.get(component.id), now),
    }));
    forget(now);
    showComponents();
    showDeadLetters(letters.dead_letters);
    showTotals(letters.dead_letters.length);
    state("live", false);
    at("sign-in").hidden = true;
    show();
    await one.refresh();
  } catch (error) {
    if (error instanceof Problem && (error.status === 401 || error.status === 403)) {
      askForToken(error);
    } else {
      state("the host does not answer", true);
    }
  }
}

function state(text, isLost) {
  const place = at("state");
  if (place.textContent !== text) {
    place.textContent = text;
  }
  place.classList.toggle("lost", isLost);
}

function showTotals(dead) {
  const rate = components.reduce((sum, { history }) => sum + (history.rate.at(-1) || 0), 0);
  const bad = components.filter(({ phase }) => phase === "quarantined").length;
  const totals = [
    ["components", count(components.length)],
    ["quarantined", count(bad)],
    ["messages/s", count(rate)],
    ["dead letters", count(dead)],
  ];
  at("totals").replaceChildren(...totals.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function cell(name, className, ...content) {
  return element("td", { className, data: { name } }, ...content);
}

function row(component) {
  const { id, phase, waiting, failures, history, cause } = component;
  const link = element("a", { href: `#/${id}` }, id);
  const state = element("span", { className: `phase ${phase}`, title: cause || "" }, phase);
  return element("tr", {},
    cell("Component", "", link),
    cell("State", "", state),
    cell("Waiting", "number", count(waiting)),
    cell("Messages/s", "", plot("Messages per second", history.rate, count)),
    cell("Latency p99", "", plot("Latency", history.latency, duration)),
    cell("Fuel/s", "", plot("Fuel per second", history.fuel, count)),
    cell("Memory", "", plot("Memory", history.memory, size)),
    cell("Failures", "number", count(failures)));
}

function showComponents() {
  const wanted = at("filter").value.toLowerCase();
  const body = document.querySelector("#components tbody");
  // Whoever is at a link stays there.
  const focused = document.activeElement?.closest("#components a")?.getAttribute("href");
  body.replaceChildren(...components.filter(({ id }) => id.toLowerCase().includes(wanted)).map(row));
  if (focused) {
    [...body.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }
}

function showDeadLetters(letters) {
  const place = at("dead");
  const numbers = letters.map(({ number }) => number).join();
  if (place.dataset.numbers === numbers && place.children.length) {
    return;
  }
  place.dataset.numbers = numbers;
  const lines = letters.slice(-100).reverse().map((letter) => {
    const again = element("button", { type: "button" }, "Deliver again");
    again.setAttribute("aria-label", `Deliver dead letter ${letter.number} again`);
    again.addEventListener("click", () => redeliver(letter.number));
    // It would be refused.
    again.hidden = ["call", "callback"].includes(letter.kind) || letter.redeliveries > 0;
    const text = `${letter.kind} of ${size(letter.bytes)} from ${letter.from} to ${letter.to}: ${letter.text}`;
    return element("li", {}, time(letter.at), element("span", {}, text), again);
  });
  place.replaceChildren(...(lines.length ? lines : [element("li", { className: "none" }, "There are none.")]));
}

async function redeliver(number) {
  at("dead-problem").textContent = "";
  try {
    await ask("POST", `/dead-letters/${number}/redeliver`);
  } catch (error) {
    at("dead-problem").textContent = error.message;
  }
  await poll();
}

function tell(event) {
  if (isPaused) {
    return;
  }
  const place = at("events");
  const line = element("li", { className: event.kind },
    time(event.at || Date.now()), element("span", {}, event.text));
  place.prepend(line);
  while (place.children.length > SHOWN_EVENTS) {
    place.lastChild.remove();
  }
}

function followEvents() {
  following.abort();
  following = new AbortController();
  follow(at("with-messages").checked, tell, () => {}, following.signal);
}

function askForToken(error) {
  at("overview").hidden = true;
  at("one").hidden = true;
  const form = at("sign-in");
  if (form.hidden) {
    form.hidden = false;
    at("token").focus();
  }
  at("sign-in-problem").textContent = token.get() ? error.message : "";
  state("a token is needed", true);
}

// The overview, or the component that the address names.
function show() {
  const [, id] = /^#\/([\w.-]+\/[\w.-]+\/[\w.-]+)$/.exec(location.hash) || [];
  at("overview").hidden = Boolean(id);
  at("one").hidden = !id;
  return id;
}

function navigate() {
  const id = show();
  one.close();
  if (id) {
    one.open(id);
  }
}

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(at("token").value.trim());
  followEvents();
  poll();
});
at("filter").addEventListener("input", showComponents);
at("with-messages").addEventListener("change", followEvents);
at("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  at("pause").setAttribute("aria-pressed", String(isPaused));
  at("pause").textContent = isPaused ? "Go on" : "Pause";
});
addEventListener("hashchange", navigate);
// `/` looks for a component, Escape goes back to all of them.
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea");
  if (event.key === "/" && !isTyping && !at("overview").hidden) {
    event.preventDefault();
    at("filter").focus();
  } else if (event.key === "Escape" && !at("one").hidden) {
    location.hash = "";
  }
});

async function run() {
  followEvents();
  await poll();
  navigate();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL));
    await poll();
  }
}

run();
