// Drives a browser through the page of `up --listen`; see page.sh.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const [browser, address, tokens, profile, pictures] = process.argv.slice(2);
const token = readFileSync(tokens, "utf8").trim().split(" ").at(-1);

// For how long clients send what they can, before there is a picture of it.
const loadSeconds = Number(process.env.LOAD_SECONDS ?? 5);

// What takes longer hangs.
const HANGS = 60_000;

async function until(what, question) {
  const began = Date.now();
  for (;;) {
    const found = await question();
    if (found) {
      return found;
    }
    assert(Date.now() - began < HANGS, `not within a minute: ${what}`);
    await sleep(100);
  }
}

class Page {
  static async open() {
    const process = spawn(browser, [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
      "--remote-debugging-port=0", `--user-data-dir=${profile}`, "about:blank",
    ], { stdio: "ignore" });
    const port = await until("the browser listens", () => {
      try {
        return readFileSync(`${profile}/DevToolsActivePort`, "utf8").split("\n")[0];
      } catch {
        return null;
      }
    });
    const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
    const socket = new WebSocket(targets.find(({ type }) => type === "page").webSocketDebuggerUrl);
    await new Promise((resolve) => socket.addEventListener("open", resolve));
    const page = new Page(process, socket);
    await page.call("Page.enable");
    await page.call("Log.enable");
    await page.call("Runtime.enable");
    return page;
  }

  constructor(process, socket) {
    Object.assign(this, { process, socket, calls: new Map(), number: 0, complaints: [] });
    socket.addEventListener("message", ({ data }) => {
      const { id, result, error, method, params } = JSON.parse(data);
      if (id) {
        const [resolve, reject] = this.calls.get(id);
        return error ? reject(new Error(error.message)) : resolve(result);
      }
      if (method === "Runtime.exceptionThrown") {
        this.complaints.push(params.exceptionDetails.exception?.description);
      } else if (method === "Log.entryAdded" && params.entry.source === "security") {
        this.complaints.push(params.entry.text);
      }
    });
  }

  call(method, params = {}) {
    this.number += 1;
    this.socket.send(JSON.stringify({ id: this.number, method, params }));
    return new Promise((...both) => this.calls.set(this.number, both));
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", {
      expression, awaitPromise: true, returnByValue: true, userGesture: true,
    });
    assert(!exceptionDetails, exceptionDetails?.exception?.description);
    return result.value;
  }

  async key(key, text) {
    const code = { Enter: 13, Escape: 27, Tab: 9 }[key] || key.charCodeAt(0);
    const event = { key, text, windowsVirtualKeyCode: code };
    await this.call("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  async type(text) {
    await this.call("Input.insertText", { text });
  }

  // As wide as this, in the light or in the dark.
  async look(width, scheme) {
    const height = width < 600 ? 1400 : 1000;
    await this.call("Emulation.setDeviceMetricsOverride", {
      width, height, deviceScaleFactor: 1, mobile: width < 600,
    });
    await this.call("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }],
    });
  }

  // All that is seen, or the upper part of it.
  async picture(name, height) {
    const clip = height && { x: 0, y: 0, width: 1280, height, scale: 1 };
    const { data } = await this.call("Page.captureScreenshot", { format: "png", clip });
    writeFileSync(`${pictures}/${name}.png`, Buffer.from(data, "base64"));
  }

  shows(what, selector, part) {
    const question = `[...document.querySelectorAll(${JSON.stringify(selector)})]
      .some((it) => it.checkVisibility() && it.textContent.includes(${JSON.stringify(part)}))`;
    return until(what, () => this.evaluate(question));
  }
}

async function tell(who, text) {
  const headers = { Authorization: `Bearer ${token}` };
  const options = { method: "POST", body: text, headers };
  return (await fetch(`${address}/components/cafe/${who}`, options)).text();
}

async function signIn(page) {
  await page.call("Page.navigate", { url: address });
  await page.shows("a token is asked for", "#sign-in h2", "Token");
  // The field has the focus.
  await page.type("wrong-wrong-wrong");
  await page.key("Enter", "\r");
  await page.shows("a wrong token is none", "#sign-in-problem", "none of this gateway's");
  await page.evaluate("document.getElementById('token').select()");
  await page.type(token);
  await page.key("Enter", "\r");
  await page.shows("components are listed", "#components td", "cafe/kitchen/main");
}

async function overview(page) {
  // A message that would be a script, if it were taken for a part of the page.
  await tell("guest/max", "<img src=x onerror=\"document.title='taken'\">");
  await tell("waiter/ben", "order fondue");
  await page.shows("the failure is told", "#events .failed", "cafe/kitchen/main has failed");
  await page.shows("the dead letter is listed", "#dead li", "cafe/waiter/ben");
  for (let n = 0; n < 40; n += 1) {
    await tell("waiter/ada", "order soup");
    await tell("guest/max", "tip 1");
    await sleep(150);
  }
  await page.shows("plots have points", "#components .plot span", "≤");
  const points = await page.evaluate(
    "document.querySelector('#components polyline').getAttribute('points').split(' ').length");
  assert(points > 2, `${points} points`);
  await page.picture("overview");
}

// Clients that send without a pause, and what they are told in between.
async function underLoad(page) {
  const ended = Date.now() + loadSeconds * 1000;
  const client = async (who, text) => {
    let sent = 0;
    for (; Date.now() < ended; sent += 1) {
      await tell(who, text);
    }
    assert(sent > 0, `${who} was sent nothing`);
  };
  await Promise.all([
    client("waiter/ada", "order soup"), client("guest/max", "tip 1"), client("till/main", "total"),
    client("waiter/ben", "order soup"), client("till/main", "total"),
  ]);
  await page.shows("the messages are counted", "#components .plot span", "≤");
  await page.picture("load", 720);
}

async function keyboard(page) {
  await page.key("/", "/");
  await page.type("kitchen");
  await page.evaluate("document.getElementById('filter').dispatchEvent(new Event('input'))");
  assert.equal(await page.evaluate("document.querySelectorAll('#components tbody tr').length"), 1);
  // Past the region of the table, to the link in it.
  await page.key("Tab");
  await page.key("Tab");
  await page.key("Enter", "\r");
  await page.shows("the kitchen is shown", "#one h2", "cafe/kitchen/main");
  await page.key("Escape");
  await page.shows("so are all again", "#components-title", "Components");
  await page.evaluate(`{
    const filter = document.getElementById("filter");
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
  }`);
}

async function oneComponent(page) {
  await page.evaluate("location.hash = '#/cafe/guest/max'");
  await page.shows("what it may do is shown", "#permissions code", "send to cafe/till/main");
  await page.evaluate(`{
    document.getElementById("message").value = "tip 2";
    document.querySelector("#one form button.strong").click();
  }`);
  await page.shows("the reply is shown", "#reply", "2 for you");
  await page.evaluate("document.querySelector('#permissions button').click()");
  await page.shows("it is taken back", "#permissions .taken code", "send to cafe/till/main");
  await page.evaluate("document.querySelector('#one form button.strong').click()");
  await page.shows("and refused", "#reply", "permission denied");
  await page.picture("component");
  await page.evaluate("document.querySelector('#permissions .taken button').click()");
  await until("it is given back", () => page.evaluate("!document.querySelector('#permissions .taken')"));
  await page.evaluate("location.hash = ''");
}

async function everyLook(page) {
  for (const [name, width, scheme] of [
    ["dark", 1280, "dark"], ["narrow", 390, "light"], ["narrow-dark", 390, "dark"],
  ]) {
    await page.look(width, scheme);
    await sleep(500);
    const wide = await page.evaluate("document.documentElement.scrollWidth");
    assert(wide <= width, `${name}: ${wide} pixels are wider than ${width}`);
    await page.picture(name);
  }
}

const page = await Page.open();
try {
  await page.look(1280, "light");
  await signIn(page);
  await overview(page);
  await underLoad(page);
  await keyboard(page);
  await oneComponent(page);
  await everyLook(page);
  assert.equal(await page.evaluate("document.title"), "airssys-wasm");
  const strangers = "performance.getEntriesByType('resource').filter((it) => !it.name.startsWith(location.origin))";
  assert.equal(await page.evaluate(`${strangers}.length`), 0, "something came from elsewhere");
  assert.deepEqual(page.complaints, [], "the browser complains");
  console.log(`the page is as it should be; pictures are in ${pictures}`);
} finally {
  page.socket.close();
  page.process.kill();
}
