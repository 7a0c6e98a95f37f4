// Components for airssys-wasm in JavaScript.
//
// A component is a class; `component` makes of it what the contract asks for:
//
//   export const componentLifecycle = component(class { handle(message) { ... } });
//
// Payloads are strings or Uint8Arrays. What a function of the host refuses is thrown as a
// HostError. Whatever `handle` throws is told to whoever sent the message, and the component
// goes on.

import * as messaging from 'airssys:core/host-messaging@1.0.0';
import * as services from 'airssys:core/host-services@1.0.0';
import * as store from 'airssys:core/storage@1.0.0';

const MESSAGING_ERROR = 'application/vnd.airssys.messaging-error';

/** What the host refused, with the case of the contract in `code`. */
export class HostError extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'HostError';
    this.code = code;
  }
}

/** A string that can be written in UTF-8, as the host takes no others. */
function wellFormed(text) {
  const string = String(text);
  if (!string.isWellFormed()) throw new Error('half of a surrogate pair is no Unicode');
  return string;
}

/** The bytes of a string, number or boolean in UTF-8; bytes stay as they are. */
export function bytes(payload) {
  if (payload instanceof Uint8Array) return payload;
  if (!['string', 'number', 'boolean'].includes(typeof payload)) {
    const found = payload?.constructor?.name ?? String(payload);
    throw new TypeError(`a payload is a string or a Uint8Array, and this is ${found}`);
  }
  const coded = unescape(encodeURIComponent(wellFormed(payload)));
  return Uint8Array.from(coded, (byte) => byte.charCodeAt(0));
}

/** The string that bytes are in UTF-8; throws where they are none. */
export function text(payload) {
  let coded = '';
  // As many at a time as a call has room for.
  for (let start = 0; start < payload.length; start += 1024) {
    coded += String.fromCharCode(...payload.slice(start, start + 1024));
  }
  try {
    return decodeURIComponent(escape(coded));
  } catch {
    throw new Error('the payload is not UTF-8');
  }
}

/** For people: what cannot be written in UTF-8 is replaced. */
function forPeople(line) {
  return String(line).toWellFormed();
}

/** Milliseconds for the host. */
function millis(time) {
  if (!(time >= 0)) throw new RangeError(`a time is a number of milliseconds, and this is ${time}`);
  return Math.min(Math.trunc(time), Number.MAX_SAFE_INTEGER);
}

function idText(id) {
  return `${id.namespace}/${id.name}/${id.instance}`;
}

function idOf(target) {
  const [namespace, name, instance, ...more] = wellFormed(target).split('/');
  if (instance === undefined || more.length > 0) {
    throw new Error(`${target} is no id: it is namespace/name/instance`);
  }
  return { namespace, name, instance };
}

/** What the cases of the contract mean. */
const REFUSALS = {
  'delivery-failed': (why) => `delivery failed: ${why}`,
  'correlation-timeout': (id) => `request ${id} was not answered in time`,
  'invalid-message': (why) => `invalid message: ${why}`,
  'queue-full': () => 'queue full',
  'target-not-found': (id) => `no component ${idText(id)}`,
  'not-found': (key) => `${key} is not in the store`,
  'already-exists': (key) => `${key} is already in the store`,
  'quota-exceeded': () => 'quota exceeded',
  'invalid-key': (why) => `invalid key: ${why}`,
  'io-error': (why) => `storage failed: ${why}`,
};

/** Has a function of the host called; what it refuses is thrown as a HostError. */
function ask(call) {
  try {
    return call();
  } catch (thrown) {
    const error = thrown?.payload;
    const told = REFUSALS[error?.tag];
    if (told === undefined) throw thrown;
    throw new HostError(error.tag, told(error.val));
  }
}

/** Something that arrived, with its bytes in `payload`. */
class Arrived {
  constructor(message) {
    /** Who sent it, which the host vouches for: namespace/name/instance. */
    this.from = idText(message.sender);
    this.payload = new Uint8Array(message.payload);
    this.contentType = message.metadata.contentType ?? undefined;
  }

  get text() {
    return text(this.payload);
  }

  get json() {
    return parsed(this.text);
  }
}

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Error(`this is no JSON: ${error.message}`);
  }
}

/** What the manifest has for the component. */
class Config {
  constructor(config) {
    const data = config.configData;
    /** The bytes of [config], or undefined. */
    this.data = data === null || data === undefined ? undefined : new Uint8Array(data);
    /** The variables of [env]. */
    this.variables = Object.fromEntries(config.envVars);
  }

  get text() {
    return this.data && text(this.data);
  }

  get json() {
    return this.data && parsed(this.text);
  }
}

/** A message that is not answered. */
export function send(to, payload) {
  const id = idOf(to);
  ask(() => messaging.send(id, bytes(payload)));
}

/** The same message to several components. */
export function broadcast(to, payload) {
  const ids = to.map(idOf);
  ask(() => messaging.broadcast(ids, bytes(payload)));
}

const open = new Map();

/**
 * A message that is answered: `answered` is called once, later, with an answer that has
 * `from`, `payload`, `text` and `json`, or with one whose `error` says why there is none.
 * Returns the request's id.
 */
export function request(to, payload, timeoutMs, answered) {
  const target = idOf(to);
  const id = ask(() => messaging.request(target, bytes(payload), millis(timeoutMs)));
  open.set(id, answered);
  return id;
}

/** The request is not answered any more. */
export function cancel(id) {
  ask(() => messaging.cancelRequest(wellFormed(id)));
  open.delete(id);
}

/** What this component keeps; values are payloads. */
export const storage = {
  /** The bytes of a key, or undefined. */
  get(key) {
    const value = ask(() => store.get(wellFormed(key)));
    return value === null || value === undefined ? undefined : new Uint8Array(value);
  },

  /** The value of a key as a string, or undefined. */
  getText(key) {
    const value = this.get(key);
    return value && text(value);
  },

  set(key, value) {
    ask(() => store.set(wellFormed(key), bytes(value)));
  },

  delete(key) {
    ask(() => store.delete(wellFormed(key)));
  },

  has(key) {
    return ask(() => store.exists(wellFormed(key)));
  },

  /** The keys that begin with a prefix. */
  keys(prefix = '') {
    return ask(() => store.listKeys(wellFormed(prefix)));
  },

  /** How much it holds: `usedBytes`, `quotaBytes` and `keyCount`. */
  usage() {
    return ask(() => store.usage());
  },
};

/** Log lines; `log.info(...)` and so on. */
export const log = Object.fromEntries(
  ['trace', 'debug', 'info', 'warn', 'error'].map((level) => [
    level,
    (line) => services.log(level, forPeople(line), null),
  ]),
);

/** Milliseconds since the Unix epoch. */
export function now() {
  return Number(services.currentTimeMillis());
}

export function sleep(milliseconds) {
  services.sleepMillis(millis(milliseconds));
}

/** Who this component is: namespace/name/instance. */
export function ownId() {
  return idText(messaging.selfId());
}

/** The ids of the components that this one knows of. */
export function components() {
  return services.listComponents().map(idText);
}

function reason(thrown) {
  return forPeople(thrown instanceof Error ? thrown.message : thrown);
}

/** Why a request has no answer, of the case and its text. */
function failure(told) {
  if (told.startsWith('correlation-timeout')) return 'the request was not answered in time';
  return `the request failed: ${told.replace(/^delivery-failed: /, '')}`;
}

/** Has something done by the component; what it throws becomes the error of a call. */
function result(tag, act) {
  try {
    return act();
  } catch (thrown) {
    throw { tag, val: reason(thrown) };
  }
}

/**
 * The exports of a component that is a class: its constructor takes the configuration,
 * `handle(message)` returns a reply or nothing; `health()` and `shutdown()` may be there, too.
 * `about` may have `name`, `version`, `description`, `author`, `license` and `operations`.
 */
export function component(Class, about = {}) {
  let running;
  return {
    initialize(config) {
      result('initialization-failed', () => {
        const made = new Class(new Config(config));
        if (typeof made.handle !== 'function') throw new TypeError(`${Class.name} has no handle()`);
        running = made;
      });
    },

    handleMessage(message) {
      return result('runtime-error', () => {
        const reply = running.handle(new Arrived(message));
        return reply === undefined || reply === null ? null : bytes(reply);
      });
    },

    handleCallback(message) {
      const id = message.metadata.correlationId;
      const answered = open.get(id);
      open.delete(id);
      if (answered === undefined) return;
      result('runtime-error', () => {
        const answer = new Arrived(message);
        if (answer.contentType === MESSAGING_ERROR) answer.error = new Error(failure(answer.text));
        answered.call(running, answer);
      });
    },

    metadata: () => ({
      name: about.name ?? '',
      version: about.version ?? '',
      description: about.description ?? '',
      author: about.author ?? '',
      license: about.license ?? '',
      supportedOperations: about.operations ?? [],
      stateful: true,
    }),

    health: () => running?.health?.() ?? 'healthy',

    shutdown() {
      result('shutdown-failed', () => running?.shutdown?.());
    },
  };
}
