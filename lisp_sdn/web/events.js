// What happens, as it happens: the newest first.

import { get } from "./api.js";
import { clock, h, note, number, replace, trouble } from "./dom.js";
import { onEvent } from "./live.js";

const KEPT = 500;
const SHOWN = 200;

export function open(view, { query }) {
  let entries = [];
  let paused = false;
  let unseen = 0;
  let drawing = false;
  const failed = h("div", {});
  const search = h("input", {
    type: "search",
    "aria-label": "Search events",
    placeholder: "Kind, subject, anything in it",
    value: query.get("find") ?? "",
    oninput: () => {
      const find = search.value.trim();
      history.replaceState(null, "", `#/events${find ? `?${new URLSearchParams({ find })}` : ""}`);
      show();
    },
  });
  const pause = h("button", {
    type: "button",
    "aria-pressed": "false",
    onclick: () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      if (!paused) unseen = 0;
      show(true);
    },
  }, "Pause");
  const body = h("tbody");
  const foot = h("div", { class: "row foot" });
  const table = h("table", { class: "list" },
    h("caption", { class: "unseen" }, "Events"),
    h("thead", {}, h("tr", {}, ["Time", "Kind", "Subject", "Data"].map((name) => h("th", { scope: "col" }, name)))),
    body);
  view.append(
    h("h1", {}, "Events"),
    h("p", { class: "lead" }, "Registrations, mappings, map-cache entries, RLOCs, policies and refusals, as they happen."),
    h("div", { class: "bar" }, search, pause),
    failed,
    h("div", { class: "scroll" }, table),
    foot,
  );

  function show(force = false) {
    if (paused && !force) return;
    const text = search.value.trim().toLowerCase();
    const fitting = entries.filter(
      (entry) => !text || `${entry.kind} ${entry.subject} ${JSON.stringify(entry.data)}`.toLowerCase().includes(text),
    );
    replace(body, fitting.slice(0, SHOWN).map(row));
    table.hidden = !fitting.length;
    replace(foot, fitting.length
      ? h("span", {}, `${number(Math.min(fitting.length, SHOWN))} of the last ${number(entries.length)} events`)
      : note("quiet", text ? "No event fits." : "Nothing has happened yet."),
      paused && unseen ? h("strong", {}, `${number(unseen)} more while paused`) : null);
  }

  function soon() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      show();
    });
  }

  async function read() {
    try {
      const { last_event: last } = await get("status");
      const page = await get("events", { after: Math.max(last - KEPT, 0), limit: KEPT });
      entries = page.items.reverse();
      replace(failed);
      show(true);
    } catch (error) {
      replace(failed, trouble(error));
    }
  }

  const unlisten = onEvent((entry) => {
    if (entry === null) {
      read();
      return;
    }
    if (entries.length && entry.id <= entries[0].id) return;
    entries = [entry, ...entries].slice(0, KEPT);
    if (paused) unseen += 1;
    soon();
  });
  read();
  return { close: unlisten };
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

function row(entry) {
  const data = Object.entries(entry.data);
  return h("tr", {},
    h("td", { "data-label": "Time" }, clock(entry.time)),
    h("td", { "data-label": "Kind" }, h("code", {}, entry.kind)),
    h("td", { "data-label": "Subject" }, h("span", { class: "words" }, entry.subject)),
    h("td", { "data-label": "Data", class: "wide" },
      data.map(([name, value]) => h("span", { class: "datum" }, h("span", { class: "muted" }, `${name} `), plain(value)))));
}
