// Elements and numbers as people read them. Text is only ever text.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") {
      Object.assign(made.dataset, value);
    } else if (key in made) {
      made[key] = value;
    } else {
      made.setAttribute(key, value);
    }
  }
  made.append(...children);
  return made;
}

// A line through the values, and the latest one beside it.
export function plot(name, values, format) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 84 22");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const most = Math.max(...values, 0);
  svg.setAttribute("aria-label", `${name} of the last two minutes, at most ${format(most)}`);
  const ground = document.createElementNS(SVG, "line");
  for (const [key, value] of Object.entries({ x1: 0, x2: 84, y1: 21, y2: 21 })) {
    ground.setAttribute(key, value);
  }
  const line = document.createElementNS(SVG, "polyline");
  const step = 84 / 59;
  const begin = 84 - (values.length - 1) * step;
  const points = values.map((value, n) => {
    const height = most > 0 ? (value / most) * 18 : 0;
    return `${(begin + n * step).toFixed(1)},${(20 - height).toFixed(1)}`;
  });
  line.setAttribute("points", points.join(" "));
  svg.append(ground, line);
  const latest = values.length ? values[values.length - 1] : 0;
  return element("div", { className: "plot" }, svg, element("span", {}, format(latest)));
}

export function count(value) {
  if (value < 10 && value % 1 !== 0) {
    return value.toFixed(1);
  }
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

export function size(bytes) {
  if (bytes < 1024) {
    return `${bytes} B`;
  }
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let unit = -1;
  do {
    bytes /= 1024;
    unit += 1;
  } while (bytes >= 1024 && unit < units.length - 1);
  return `${bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds === 0) {
    return "–";
  }
  if (seconds < 0.001) {
    return `≤ ${Math.round(seconds * 1e6)} µs`;
  }
  return seconds < 1 ? `≤ ${Math.round(seconds * 1e3)} ms` : `≤ ${seconds} s`;
}

export function time(at) {
  const when = new Date(at);
  const text = when.toLocaleTimeString("en-GB");
  return element("time", { dateTime: when.toISOString(), title: when.toISOString() }, text);
}
