// What is known of the network now: asked for at every event that matters, and slowly without one.

import { comeBack, follow, get } from "./api.js";

const POLL = 5000; // Milliseconds; of a hundred sites twice as long, and so on.
const AWAY = 1500; // While the controller does not answer, milliseconds.
const SOON = 250; // Events come in bursts: asked once for all of a burst, milliseconds.
const STALE = 3; // Times the pause without an answer, what is shown is old.
const REST = 8; // Times as long as an answer took, nothing is asked: a large network keeps its pace.

export const live = {
  topology: null,
  status: null,
  at: null, // When both were last read, milliseconds.
  connected: false,
  reason: "",
};

const watchers = new Set();
const listeners = new Set();
let timer = null;
let running = null;
let notBefore = 0;

// Calls `show` now and whenever something is new. Returns what ends it.
export function watch(show) {
  watchers.add(show);
  show();
  return () => watchers.delete(show);
}

// Calls `listener` with every event; with null when events may have been missed.
export function onEvent(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell() {
  for (const show of watchers) show();
}

export function isStale() {
  return live.at !== null && Date.now() - live.at > STALE * pause();
}

async function read() {
  const began = performance.now();
  try {
    const [topology, status] = await Promise.all([get("topology"), get("status")]);
    Object.assign(live, { topology, status, at: Date.now(), reason: "" });
    if (!live.connected) comeBack();
  } catch (error) {
    live.reason = error.status ? error.message : "the controller does not answer";
  }
  const took = performance.now() - began;
  notBefore = performance.now() + Math.min(REST * took, pause());
  tell();
}

function pause() {
  return POLL * (1 + (live.topology?.sites.length ?? 0) / 100);
}

// Asks again within `SOON`.
export function refresh() {
  schedule(SOON);
}

function schedule(wait) {
  const due = Math.max(performance.now() + wait, notBefore);
  if (timer !== null && timer.due <= due) return;
  if (timer !== null) clearTimeout(timer.id);
  timer = { due, id: setTimeout(run, due - performance.now()) };
}

async function run() {
  timer = null;
  if (document.hidden) return;
  running ??= read().finally(() => {
    running = null;
  });
  await running;
  schedule(live.connected ? pause() : AWAY);
}

export function start() {
  schedule(0);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) schedule(0);
  });
  follow({
    event(entry) {
      for (const listener of listeners) listener(entry);
      refresh();
    },
    up(again) {
      Object.assign(live, { connected: true, reason: "" });
      if (again) for (const listener of listeners) listener(null);
      refresh();
      tell();
    },
    down(reason) {
      Object.assign(live, { connected: false, reason });
      tell();
    },
  });
}

// --- questions to the topology that several views have ---

// Site -> what is wrong with it, in words; empty when all is well.
export function siteProblems(topology) {
  const found = new Map(topology.sites.map((site) => [site.name, []]));
  for (const xtr of topology.xtrs) {
    const list = found.get(xtr.site);
    if (!list) continue;
    if (!xtr.connected) list.push(`switch of xTR ${xtr.name} is not connected`);
    for (const problem of xtr.problems) list.push(`xTR ${xtr.name}: ${problem}`);
  }
  for (const site of topology.sites) {
    const list = found.get(site.name);
    if (site.shutdown) list.push("shut down");
    else if (!site.registrations) list.push("nothing registered");
    for (const uplink of site.uplinks) {
      if (["down", "unreachable", "no-route"].includes(uplink.state)) {
        list.push(`RLOC ${uplink.rloc} is ${uplink.state}`);
      }
    }
  }
  return found;
}
