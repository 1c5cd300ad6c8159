// Views, their addresses, the frame around them.

import { forgetToken, hasToken, onTokenNeeded } from "./api.js";
import { announce, byId, clock, h, replace } from "./dom.js";
import { isStale, live, onEvent, start, watch } from "./live.js";
import * as events from "./events.js";
import * as lists from "./lists.js";
import * as network from "./network.js";
import * as policy from "./policy.js";
import * as why from "./why.js";

const VIEWS = [
  ["network", "Network", network.open],
  ["why", "Why", why.open],
  ["policy", "Policy", policy.open],
  ["map-cache", "Map-cache", lists.mapCache],
  ["registrations", "Registrations", lists.registrations],
  ["refusals", "Refusals", lists.refusals],
  ["events", "Events", events.open],
];

const main = byId("main");
let close = null;
let shown = null;

// --- addresses: #/view/part?name=value ---

function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  return {
    name: VIEWS.some(([known]) => known === name) ? name : "network",
    part: rest.map(decodeURIComponent).join("/"),
    query: new URLSearchParams(query),
  };
}

function go() {
  const { name, part, query } = place();
  const [, title, open] = VIEWS.find(([known]) => known === name);
  if (shown?.name === name && shown.update?.({ part, query })) return;
  close?.();
  const view = h("div", { class: `view ${name}` });
  main.replaceChildren(view);
  const first = shown === null;
  const opened = open(view, { part, query }) ?? {};
  shown = { name, update: opened.update };
  close = opened.close ?? null;
  document.title = `${title} · lisp_sdn`;
  for (const link of byId("nav").children) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("nav").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  if (!first) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function frame() {
  replace(
    byId("nav"),
    VIEWS.map(([name, title], index) =>
      h(
        "a",
        { href: `#/${name}`, "data-view": name, "aria-keyshortcuts": String(index + 1) },
        title,
      ),
    ),
  );
  addEventListener("hashchange", go);
  go();
}

// --- is what is shown true? ---

function connection() {
  const badge = byId("live");
  const fresh = live.connected && !isStale();
  badge.className = `live ${fresh ? "up" : "down"}`;
  badge.lastElementChild.textContent = fresh ? "live" : live.at ? "not live" : "connecting";
  const strip = byId("stale");
  const stale = live.at !== null && !fresh;
  document.body.classList.toggle("is-stale", stale);
  if (stale && strip.hidden) {
    replace(
      strip,
      "What you see is of ",
      clock(new Date(live.at).toISOString()),
      `: ${live.reason || "the connection was lost"}. Trying again by itself.`,
    );
  }
  strip.hidden = !stale;
}

// --- changes, said aloud ---

const WORDS = {
  "rloc.unreachable": (entry) => `RLOC ${entry.subject} is unreachable`,
  "rloc.down": (entry) => `RLOC ${entry.subject} is down`,
  "rloc.up": (entry) => `RLOC ${entry.subject} is up`,
  "rloc.reachable": (entry) => `RLOC ${entry.subject} is reachable`,
  "rloc.drained": (entry) => `RLOC ${entry.subject} is drained`,
  "rloc.undrained": (entry) => `RLOC ${entry.subject} is used again`,
  "policy.changed": (entry) => `Policy changed: ${entry.subject}`,
  "xtr.problem": (entry) => `xTR ${entry.subject} has a problem`,
};

// --- theme ---

const THEMES = ["system", "light", "dark"];

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

function nextTheme() {
  const chosen = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("lisp_sdn.theme", chosen);
  } catch {
    // It holds for this page then.
  }
  showTheme();
  announce(`Theme: ${chosen}`);
}

function showTheme() {
  const names = { system: "Auto", light: "Light", dark: "Dark" };
  byId("theme").textContent = names[theme()];
  byId("theme").setAttribute("aria-label", `Theme: ${theme()}; press for the next`);
}

// --- token and keyboard ---

function askForToken(wrong) {
  const dialog = byId("token");
  const input = byId("token-input");
  if (wrong) byId("token-why").textContent = "This controller does not know that token.";
  input.value = "";
  return new Promise((resolve) => {
    const finish = () => {
      if (!input.value.trim()) {
        dialog.showModal();
        return;
      }
      dialog.removeEventListener("close", finish);
      resolve(input.value.trim());
    };
    dialog.addEventListener("close", finish);
    if (!dialog.open) dialog.showModal();
    input.focus();
  });
}

function showKeys() {
  byId("forget").hidden = !hasToken();
  byId("keys").showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "Escape" && typing?.type === "search") typing.blur();
  if (typing) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view) location.hash = `#/${view[0]}`;
  else if (event.key === "t") nextTheme();
  else if (event.key === "?") showKeys();
  else if (event.key === "/") {
    const field = main.querySelector("input[type=search]");
    if (!field) return;
    field.focus();
    field.select();
  } else return;
  event.preventDefault();
}

// --- begin ---

onTokenNeeded(askForToken);
byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", showKeys);
byId("forget").addEventListener("click", () => {
  forgetToken();
  location.reload();
});
document.addEventListener("keydown", onKey);
showTheme();
frame();
watch(connection);
setInterval(connection, 1000);
onEvent((entry) => {
  if (entry !== null && entry.kind in WORDS) announce(WORDS[entry.kind](entry));
});
start();
