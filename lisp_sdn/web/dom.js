// Elements made of values. Values become text nodes or attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") {
      for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    } else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// Replaces what is in an element; what had the focus by its data-key has it again.
export function replace(parent, ...children) {
  const active = document.activeElement;
  const key = parent.contains(active) && active.dataset ? active.dataset.key : undefined;
  const open = new Set(
    [...parent.querySelectorAll("details[open][data-key]")].map((item) => item.dataset.key),
  );
  const made = document.createDocumentFragment();
  append(made, children);
  parent.replaceChildren(made);
  for (const item of parent.querySelectorAll("details[data-key]")) {
    if (open.has(item.dataset.key)) item.open = true;
  }
  if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

// Said by screen readers when it suits their user.
export function announce(text) {
  byId("announce").textContent = text;
}

export function byId(id) {
  return document.getElementById(id);
}

// --- words for values ---

const COUNT = new Intl.NumberFormat("en");

export function count(number, one, many = `${one}s`) {
  return `${COUNT.format(number)} ${number === 1 ? one : many}`;
}

export function number(value) {
  return COUNT.format(value);
}

export function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = share * 100;
  return `${value > 0 && value < 1 ? "<1" : Math.round(value)} %`;
}

const UNITS = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];

export function rate(octetsPerSecond) {
  if (octetsPerSecond === null || octetsPerSecond === undefined) return "–";
  let value = octetsPerSecond * 8;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

let skew = 0;

// The controller's clock: what its times are compared with.
export function now() {
  return Date.now() + skew;
}

export function setClock(dateHeader) {
  const told = Date.parse(dateHeader ?? "");
  // The header has whole seconds.
  if (!Number.isNaN(told) && Math.abs(told + 500 - now()) > 2000) skew = told + 500 - Date.now();
}

export function ago(text) {
  if (!text) return "–";
  const then = Date.parse(text);
  return h("time", { datetime: text, title: local(text) }, `${span((now() - then) / 1000)} ago`);
}

export function left(text) {
  if (!text) return "–";
  return h(
    "time",
    { datetime: text, title: local(text) },
    `in ${span((Date.parse(text) - now()) / 1000)}`,
  );
}

export function local(text) {
  return new Date(text).toLocaleString([], { hourCycle: "h23" });
}

export function clock(text) {
  return h("time", { datetime: text, title: local(text) }, new Date(text).toLocaleTimeString([], { hourCycle: "h23" }));
}

// --- small parts that several views use ---

const STATES = {
  up: ["up", "up"],
  drained: ["drained", "drained"],
  down: ["down", "down"],
  unreachable: ["down", "unreachable"],
  "no-route": ["down", "no route"],
  unknown: ["unknown", "unknown"],
};

export function stateClass(state) {
  return (STATES[state] ?? STATES.unknown)[0];
}

export function stateBadge(state) {
  const [kind, text] = STATES[state] ?? STATES.unknown;
  return h("span", { class: `state ${kind}` }, h("i", { "aria-hidden": "true" }), text);
}

export function locators(list, action) {
  if (!list.length) return h("span", { class: "muted" }, `negative: ${action}`);
  return h(
    "ul",
    { class: "plain" },
    list.map((item) =>
      h(
        "li",
        {},
        h("code", {}, item.rloc),
        h("span", { class: "muted" }, ` ${item.priority}/${item.weight}`),
        item.state && item.state !== "up" ? [" ", stateBadge(item.state)] : null,
      ),
    ),
  );
}

export function note(kind, ...children) {
  return h("p", { class: `note ${kind}` }, children);
}

export function trouble(error) {
  const errors = error.errors ?? [];
  return h(
    "div",
    { class: "note bad", role: "alert" },
    h("strong", {}, error.title ?? "That did not work"),
    h("p", {}, error.detail ?? error.message ?? String(error)),
    errors.length
      ? h(
          "ul",
          {},
          errors.map((item) =>
            h(
              "li",
              {},
              item.pointer ? [h("code", {}, item.pointer), " "] : null,
              item.parameter ? [h("code", {}, item.parameter), " "] : null,
              item.detail,
            ),
          ),
        )
      : null,
  );
}
