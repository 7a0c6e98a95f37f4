// What the last two minutes were like: a value for each time that the host was asked.

const KEPT = 60;

const kept = new Map();

function add(list, value) {
  list.push(value);
  if (list.length > KEPT) {
    list.shift();
  }
}

// Takes in what the host says of a component now, and what it has measured.
export function remember(component, buckets, now) {
  const { id } = component;
  const entry = kept.get(id) || { rate: [], latency: [], fuel: [], memory: [] };
  const before = entry.before;
  const fuel = component.usage ? component.usage.total_fuel : 0;
  const memory = component.usage ? component.usage.memory_bytes : 0;
  if (before) {
    const seconds = Math.max((now - before.at) / 1000, 0.001);
    add(entry.rate, Math.max(component.handled - before.handled, 0) / seconds);
    add(entry.fuel, Math.max(fuel - before.fuel, 0) / seconds);
    add(entry.latency, quantile(before.buckets, buckets));
  }
  add(entry.memory, memory);
  entry.before = { at: now, handled: component.handled, fuel, buckets };
  entry.seen = now;
  kept.set(id, entry);
  return entry;
}

// What is gone needs no history.
export function forget(now) {
  for (const [id, entry] of kept) {
    if (entry.seen < now) {
      kept.delete(id);
    }
  }
}

export function of(id) {
  return kept.get(id);
}

// The upper bound of the bucket below which 99 of 100 calls ended since then, in seconds.
function quantile(before, now) {
  if (!before || !now) {
    return 0;
  }
  const counts = now.map(([bound, count], n) => [bound, count - (before[n] ? before[n][1] : 0)]);
  const total = counts.length ? counts[counts.length - 1][1] : 0;
  if (total <= 0) {
    return 0;
  }
  const found = counts.find(([, count]) => count >= total * 0.99);
  const finite = counts.filter(([bound]) => Number.isFinite(bound));
  return Number.isFinite(found[0]) ? found[0] : finite[finite.length - 1][0];
}

// How long calls took, by component, of the text that Prometheus reads.
export function bucketsOf(metrics) {
  const buckets = new Map();
  const line = /^wasm_call_seconds_bucket\{component="([^"]+)",le="([^"]+)"\} (\d+)$/gm;
  for (const [, id, bound, count] of metrics.matchAll(line)) {
    if (!buckets.has(id)) {
      buckets.set(id, []);
    }
    buckets.get(id).push([bound === "+Inf" ? Infinity : Number(bound), Number(count)]);
  }
  return buckets;
}
