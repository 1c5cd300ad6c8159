// Map-cache, registrations, refusals.

import { change, get, segment } from "./api.js";
import { ago, h, left, locators, number, stateBadge, trouble } from "./dom.js";
import { byEid, list } from "./table.js";
import { whyTo } from "./links.js";

const ALL = 20; // Map-caches of so many xTRs are read one after the other.

function remember(name, values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
  history.replaceState(null, "", `#/${name}${query ? `?${query}` : ""}`);
}

function choice(id, label, options, value, changed) {
  return h(
    "label",
    { class: "choice", for: id },
    label,
    h(
      "select",
      { id, onchange: (event) => changed(event.target.value) },
      options.map(([name, text]) => h("option", { value: name, selected: name === value }, text)),
    ),
  );
}

export function mapCache(view, { query }) {
  let xtr = query.get("xtr") ?? "";
  let xtrs = [];
  let shown = null;
  const controls = h("div", { class: "row" });
  const holder = h("div", {});
  view.append(holder);
  const keep = (find) => remember("map-cache", { xtr, find });
  const forget = async (item) => {
    try {
      await change("DELETE", `xtrs/${segment(item.xtr)}/map-cache/${segment(item.eid)}`);
      shown?.again();
    } catch (error) {
      holder.prepend(trouble(error));
    }
  };
  const options = {
    title: "Map-cache",
    lead: "What the switches forward by: the answers that each xTR holds.",
    placeholder: "[42] 10.2.0.7, RLOC, rule",
    find: query.get("find") ?? "",
    remember: keep,
    controls,
    kinds: ["map-cache.", "rloc.", "policy."],
    empty: "No xTR holds an entry: no packet has asked for one yet.",
    narrow: byEid,
    sources: () =>
      xtrs
        .filter((name) => !xtr || name === xtr)
        .map((name) => ({
          path: `xtrs/${segment(name)}/map-cache`,
          query: {},
          mark: (item) => ({ ...item, xtr: name }),
        })),
    words: (item) => [item.eid, item.xtr, item.rule, item.action, item.via, ...item.locators.map((l) => l.rloc)],
    columns: [
      { name: "xTR", cell: (item) => item.xtr, sort: (item) => item.xtr },
      { name: "EID-prefix", cell: (item) => h("code", {}, item.eid), sort: (item) => item.eid },
      {
        name: "RLOC pri/wgt",
        cell: (item) => (item.complete || item.locators.length ? locators(item.locators, item.action) : h("span", { class: "muted" }, "asked, no answer yet")),
      },
      { name: "State", cell: (item) => stateOf(item), sort: (item) => worst(item) },
      { name: "By", cell: (item) => item.rule ?? item.via, sort: (item) => item.rule ?? item.via },
      { name: "Since", cell: (item) => ago(item.created), sort: (item) => item.created },
      { name: "Expires", cell: (item) => left(item.expires), sort: (item) => item.expires },
      {
        name: "",
        cell: (item) =>
          h("span", { class: "row tight" }, whyTo(item.eid),
            h("button", { type: "button", class: "ghost", "data-key": `forget ${item.xtr} ${item.eid}`, title: "Forget this entry: the next packet asks again", onclick: () => forget(item) }, "Forget")),
      },
    ],
  };
  names("xtrs").then(
    (found) => {
      xtrs = found;
      const first = found.length > ALL ? [] : [["", "all xTRs"]];
      if (found.length > ALL && !xtr) xtr = found[0];
      controls.append(
        choice("of-xtr", "xTR", [...first, ...found.map((name) => [name, name])], xtr, (name) => {
          xtr = name;
          keep(holder.querySelector("input[type=search]").value);
          shown.again();
        }),
      );
      shown = list(holder, options);
    },
    (error) => holder.append(trouble(error)),
  );
  return { close: () => shown?.close() };
}

function worst(item) {
  const states = item.locators.map((locator) => locator.state);
  return states.find((state) => state !== "up") ?? states[0] ?? "";
}

function stateOf(item) {
  if (!item.complete && !item.locators.length) return h("span", { class: "state unknown" }, h("i", { "aria-hidden": "true" }), "waiting");
  if (item.negative) return h("span", { class: "muted" }, "negative");
  const up = item.locators.filter((locator) => locator.state === "up").length;
  if (!up || up === item.locators.length) return stateBadge(worst(item));
  return h("span", { class: "state unknown" }, h("i", { "aria-hidden": "true" }), `${up} of ${item.locators.length} up`);
}

async function names(path) {
  const found = [];
  let after = null;
  do {
    const page = await get(path, { limit: 1000, after });
    found.push(...page.items.map((item) => item.name));
    after = page.next;
  } while (after !== null);
  return found;
}

export function registrations(view, { query }) {
  let site = query.get("site") ?? "";
  const controls = h("div", { class: "row" });
  const shown = list(view, {
    title: "Registrations",
    lead: "What ETRs have registered at the Map-Server, and for how long it holds.",
    placeholder: "[42] 10.2.0.7, ETR, RLOC",
    find: query.get("find") ?? "",
    remember: (find) => remember("registrations", { site, find }),
    controls,
    kinds: ["registration.", "mapping."],
    empty: "Nothing is registered. Refusals tell why, if somebody tried.",
    narrow: byEid,
    sources: () => [{ path: "registrations", query: { site } }],
    words: (item) => [item.eid, item.site, item.etr, item.xtr, item.xtr_id, ...item.locators.map((l) => l.rloc)],
    columns: [
      { name: "Site", cell: (item) => item.site, sort: (item) => item.site },
      {
        name: "EID-prefix",
        cell: (item) => [h("code", {}, item.eid), item.source ? h("span", { class: "muted" }, ` from ${item.source}`) : null],
        sort: (item) => item.eid,
      },
      { name: "RLOC pri/wgt", cell: (item) => locators(item.locators, "no RLOC") },
      { name: "ETR", cell: (item) => item.xtr ?? h("code", {}, item.etr ?? "–"), sort: (item) => item.xtr ?? item.etr },
      { name: "Since", cell: (item) => ago(item.registered), sort: (item) => item.registered },
      { name: "Refreshed", cell: (item) => ago(item.refreshed), sort: (item) => item.refreshed },
      { name: "Expires", cell: (item) => left(item.expires), sort: (item) => item.expires },
    ],
  });
  names("sites").then((found) => {
    controls.append(
      choice("of-site", "Site", [["", "all sites"], ...found.map((name) => [name, name])], site, (name) => {
        site = name;
        remember("registrations", { site, find: view.querySelector("input[type=search]").value });
        shown.again();
      }),
    );
  }, () => {});
  return shown;
}

export function refusals(view, { query }) {
  return list(view, {
    title: "Refusals",
    lead: "What was dropped or refused, and why: the newest first. Nothing is dropped without a reason.",
    placeholder: "Reason, source, component",
    find: query.get("find") ?? "",
    remember: (find) => remember("refusals", { find }),
    kinds: ["refusal", "registration.refused"],
    empty: "Nothing was refused since the controller started.",
    sources: () => [{ path: "refusals", query: {} }],
    words: (item) => [item.where, item.reason, item.source, item.detail, item.hint],
    columns: [
      {
        name: "Reason",
        cell: (item) => [h("code", { class: "reason" }, item.reason), item.hint ? h("p", { class: "hint" }, item.hint) : null],
        sort: (item) => item.reason,
      },
      { name: "Detail", cell: (item) => h("span", { class: "words" }, item.detail), class: "wide" },
      { name: "Where", cell: (item) => item.where, sort: (item) => item.where },
      { name: "Source", cell: (item) => h("code", {}, item.source || "–"), sort: (item) => item.source },
      { name: "Times", cell: (item) => number(item.count), sort: (item) => item.count, class: "number" },
      { name: "First", cell: (item) => ago(item.first_seen), sort: (item) => item.first_seen },
      { name: "Last", cell: (item) => ago(item.last_seen), sort: (item) => item.last_seen },
    ],
  });
}

