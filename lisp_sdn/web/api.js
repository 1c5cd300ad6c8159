// REST and the event stream. The token stays in this tab and never in an address.

import { setClock } from "./dom.js";

const BASE = new URL("lisp/v1/", document.baseURI).href;
const KEY = "lisp_sdn.token";

export class ApiError extends Error {
  constructor(status, document) {
    super(document.detail ?? `status ${status}`);
    this.status = status;
    this.title = document.title;
    this.detail = document.detail;
    this.errors = document.errors ?? [];
    this.type = (document.type ?? "").split("/").pop();
  }
}

let askForToken = async () => null;
let asking = null;

// ask(wrong): resolves to a token; wrong: the one that was sent is not known.
export function onTokenNeeded(ask) {
  askForToken = ask;
}

export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

// One question to the user, however many requests wait for its answer.
function token(sent) {
  const held = sessionStorage.getItem(KEY);
  if (held !== null && held !== sent) return Promise.resolve();
  asking ??= askForToken(sent !== null)
    .then((given) => sessionStorage.setItem(KEY, given))
    .finally(() => {
      asking = null;
    });
  return asking;
}

export function url(path, query = {}) {
  const target = new URL(BASE + path.replace(/^\//, ""));
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") target.searchParams.set(name, value);
  }
  return target;
}

export function segment(text) {
  return encodeURIComponent(text);
}

async function send(path, { method = "GET", query, body, headers = {}, signal } = {}) {
  for (;;) {
    const sent = sessionStorage.getItem(KEY);
    const response = await fetch(url(path, query), {
      method,
      signal,
      credentials: "omit",
      headers: {
        ...headers,
        ...authorization(),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    setClock(response.headers.get("Date"));
    if (response.status !== 401) return response;
    await token(sent);
  }
}

async function checked(response) {
  if (response.ok) return response;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    problem = { detail: `status ${response.status}` };
  }
  throw new ApiError(response.status, problem);
}

export async function get(path, query, signal) {
  return (await checked(await send(path, { query, signal }))).json();
}

// The document with its ETag, null when there is none.
export async function getTagged(path) {
  const response = await send(path);
  if (response.status === 404) return null;
  await checked(response);
  return { document: await response.json(), tag: response.headers.get("ETag") };
}

export async function change(method, path, { query, body, headers } = {}) {
  const response = await checked(await send(path, { method, query, body, headers }));
  return response.status === 204 ? null : response.json();
}

// --- events ---

const SILENCE = 40_000; // Without a heartbeat for so long, milliseconds, the connection is gone.
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 10_000;

let hurry = () => {};

// The controller is there again: no need to wait longer.
export function comeBack() {
  hurry();
}

// Follows the events and comes back by itself. listener: {event(entry), up(again), down(reason)}.
export async function follow(listener) {
  let last = null;
  let pause = FIRST_PAUSE;
  let again = false;
  for (;;) {
    await visible();
    const abort = new AbortController();
    const unwatch = whenHidden(() => abort.abort());
    try {
      const headers = { Accept: "text/event-stream" };
      if (last !== null) headers["Last-Event-ID"] = last;
      const response = await checked(
        await send("events", { headers, signal: abort.signal }),
      );
      listener.up(again);
      pause = FIRST_PAUSE;
      for await (const message of messages(response.body, abort)) {
        if (message.id !== null) last = message.id;
        if (message.event === "overflow") listener.up(true);
        else if (message.data) listener.event(JSON.parse(message.data));
      }
      listener.down("the controller ended the connection");
    } catch (error) {
      if (document.hidden || away) continue;
      listener.down(error instanceof ApiError ? error.message : "the controller does not answer");
    } finally {
      unwatch();
      again = true;
    }
    await new Promise((done) => {
      hurry = done;
      setTimeout(done, pause);
    });
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

// A browser holds six connections to one host, for all of its tabs: a page that nobody looks at,
// in another tab or in the history, gives its own back. What it missed, it is told afterwards.

let away = false;
addEventListener("pagehide", () => {
  away = true;
});
addEventListener("pageshow", () => {
  away = false;
});

function whenHidden(act) {
  const look = () => document.hidden && act();
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", act);
  return () => {
    document.removeEventListener("visibilitychange", look);
    removeEventListener("pagehide", act);
  };
}

function visible() {
  if (!document.hidden && !away) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden || away) return;
      document.removeEventListener("visibilitychange", look);
      removeEventListener("pageshow", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    addEventListener("pageshow", look);
  });
}

// Server-sent events (HTML Standard section 9.2) out of a stream of octets.
async function* messages(body, abort) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let watch;
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(() => abort.abort(), SILENCE);
  };
  try {
    for (;;) {
      alive();
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield message(block);
    }
  } finally {
    clearTimeout(watch);
  }
}

function message(block) {
  const found = { id: null, event: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "id") found.id = value;
    else if (name === "event") found.event = value;
    else if (name === "data") found.data += value;
  }
  return found;
}
