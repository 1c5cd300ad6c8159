// The network as a picture: sites on both sides of the underlay, one line for every RLOC.

import { change, segment } from "./api.js";
import {
  announce, count, h, note, number, percent, rate, replace, stateBadge, stateClass, trouble,
} from "./dom.js";
import { live, refresh, siteProblems, watch } from "./live.js";
import { draw } from "./picture.js";

const MANY = 24; // Above so many sites, each is one line until it is opened.
const SHOWN = 80; // Sites that are shown at once.

export function open(view, { query }) {
  const state = {
    find: query.get("find") ?? "",
    troubled: query.has("problems"),
    site: query.get("site"),
    from: query.get("from"),
    all: false,
  };
  const search = h("input", {
    type: "search",
    id: "find-site",
    placeholder: "Site, EID or RLOC",
    "aria-label": "Search sites, EIDs and RLOCs",
    value: state.find,
    oninput: () => {
      state.find = search.value;
      show();
    },
  });
  const troubled = h("input", {
    type: "checkbox",
    checked: state.troubled,
    onchange: () => {
      state.troubled = troubled.checked;
      show();
    },
  });
  const figures = h("dl", { class: "figures" });
  const alerts = h("div", {});
  const picture = h("div", { class: "picture", id: "picture" });
  const more = h("div", { class: "row" });
  const detail = h("section", { class: "detail", "aria-label": "Chosen site" });
  const picker = h("div", { class: "picker", role: "status", hidden: true });
  view.append(
    h("h1", { class: "unseen" }, "Network"),
    figures,
    alerts,
    h(
      "div",
      { class: "bar" },
      search,
      h("label", { class: "check" }, troubled, "with problems"),
      legend(),
    ),
    h("div", { class: "stage" }, picture, detail),
    more,
    picker,
  );

  const remember = () => {
    const kept = new URLSearchParams();
    if (state.find) kept.set("find", state.find);
    if (state.troubled) kept.set("problems", "");
    if (state.site) kept.set("site", state.site);
    if (state.from) kept.set("from", state.from);
    const text = kept.toString();
    history.replaceState(null, "", `#/network${text ? `?${text}` : ""}`);
  };

  const actions = {
    choose(name) {
      state.site = state.site === name ? null : name;
      show();
      if (state.site && matchMedia("(max-width: 60rem)").matches) {
        detail.scrollIntoView({ block: "nearest" });
      }
    },
    pick(eid) {
      if (state.from === null) {
        state.from = eid;
        announce(`From ${eid}. Now choose the destination.`);
        show();
      } else if (state.from === eid) {
        state.from = null;
        show();
      } else location.hash = whyLink(state.from, eid);
    },
  };

  function show() {
    remember();
    const topology = live.topology;
    if (topology === null) {
      replace(picture, note("quiet", live.reason || "Asking the controller …"));
      return;
    }
    const problems = siteProblems(topology);
    replace(figures, keyFigures(topology, live.status, problems));
    replace(alerts, problemList(live.status));
    if (state.site && !topology.sites.some((site) => site.name === state.site)) state.site = null;
    const fitting = topology.sites.filter((site) => fits(site, topology, state, problems));
    const visible = state.all ? fitting : fitting.slice(0, SHOWN);
    const compact = visible.length > MANY;
    replace(picture, cards(visible, topology, problems, compact, state, actions));
    if (!visible.length) {
      const empty = topology.sites.length ? "No site fits." : "No site is configured.";
      picture.append(note("quiet", empty));
    }
    draw(picture, visible, topology, state.site);
    replace(
      more,
      fitting.length > visible.length
        ? h(
            "button",
            {
              type: "button",
              onclick: () => {
                state.all = true;
                show();
              },
            },
            `Show all ${number(fitting.length)} sites`,
          )
        : null,
    );
    const chosen = topology.sites.find((site) => site.name === state.site);
    detail.hidden = !chosen;
    replace(detail, chosen ? siteDetail(chosen, topology, problems, actions) : null);
    picker.hidden = state.from === null;
    replace(picker, state.from === null ? null : pickerText(state.from, actions));
  }

  const resized = new ResizeObserver(() => {
    if (live.topology) redraw();
  });
  const redraw = () => {
    const names = new Set([...picture.querySelectorAll("[data-site]")].map((c) => c.dataset.site));
    draw(picture, live.topology.sites.filter((s) => names.has(s.name)), live.topology, state.site);
  };
  resized.observe(picture);
  const onKey = (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    state.from = null;
    state.site = null;
    show();
  };
  document.addEventListener("keydown", onKey);
  const unwatch = watch(show);
  return {
    close() {
      unwatch();
      resized.disconnect();
      document.removeEventListener("keydown", onKey);
    },
  };
}

export function whyLink(from, to) {
  return `#/why?${new URLSearchParams({ from, to })}`;
}

function fits(site, topology, state, problems) {
  if (state.troubled && !problems.get(site.name).length) return false;
  const wanted = state.find.trim().toLowerCase();
  if (!wanted) return true;
  const xtrs = topology.xtrs.filter((xtr) => xtr.site === site.name).map((xtr) => xtr.name);
  const words = [
    site.name,
    ...xtrs,
    ...site.eid_prefixes.map((entry) => entry.eid),
    ...site.uplinks.map((uplink) => uplink.rloc),
  ];
  return words.some((word) => word.toLowerCase().includes(wanted));
}

function legend() {
  return h(
    "div",
    { class: "legend" },
    ["up", "drained", "down", "unknown"].map((name) => stateBadge(name)),
    h("span", { class: "key" }, h("i", { class: "meter-key told" }), "policy"),
    h("span", { class: "key" }, h("i", { class: "meter-key measured" }), "measured"),
  );
}

function keyFigures(topology, status, problems) {
  const uplinks = topology.sites.flatMap((site) => site.uplinks);
  const usable = uplinks.filter((uplink) => stateClass(uplink.state) !== "down");
  const connected = topology.xtrs.filter((xtr) => xtr.connected).length;
  const total = uplinks.reduce((sum, uplink) => sum + (uplink.octets_per_second ?? 0), 0);
  const troubled = [...problems.values()].filter((list) => list.length).length;
  const figure = (name, value, bad = false) =>
    h("div", { class: bad ? "bad" : null }, h("dt", {}, name), h("dd", {}, value));
  return [
    figure("Sites", `${number(topology.sites.length - troubled)} of ${number(topology.sites.length)} well`, troubled > 0),
    figure("xTRs connected", `${connected} of ${topology.xtrs.length}`, connected < topology.xtrs.length),
    figure("RLOCs not down", `${usable.length} of ${uplinks.length}`, usable.length < uplinks.length),
    figure("Inbound now", rate(total)),
    figure("Registrations", number(status.registrations)),
    figure("Map-cache entries", number(status.map_cache_entries)),
  ];
}

function problemList(status) {
  if (!status.problems.length) return null;
  return h(
    "details",
    { class: "note bad", "data-key": "problems" },
    h("summary", {}, count(status.problems.length, "thing to mend", "things to mend")),
    h("ul", {}, status.problems.map((problem) => h("li", {}, problem))),
  );
}

// --- sites ---

function cards(sites, topology, problems, compact, state, actions) {
  const half = Math.ceil(sites.length / 2);
  const card = (site) =>
    compact && site.name !== state.site
      ? compactCard(site, problems, actions)
      : siteCard(site, topology, problems, state, actions);
  return [
    h("ul", { class: "side a" }, sites.slice(0, half).map(card)),
    h("div", { class: "core", "aria-hidden": "true" }, h("span", {}, "underlay")),
    h("ul", { class: "side b" }, sites.slice(half).map(card)),
  ];
}

function siteCard(site, topology, problems, state, actions) {
  const chosen = state.site === site.name;
  const list = problems.get(site.name);
  return h(
    "li",
    { class: `site${chosen ? " chosen" : ""}${list.length ? " troubled" : ""}`, "data-site": site.name },
    h(
      "div",
      { class: "head" },
      h(
        "button",
        {
          class: "name",
          type: "button",
          "aria-pressed": chosen,
          "data-key": `site ${site.name}`,
          onclick: () => actions.choose(site.name),
        },
        site.name,
      ),
      site.policy
        ? h("a", { class: "tag", href: `#/policy/${segment(site.name)}`, title: "It has rules of its own" }, "policy")
        : null,
      list.length ? h("span", { class: "tag bad", title: list.join("\n") }, count(list.length, "problem")) : null,
    ),
    h(
      "ul",
      { class: "eids" },
      site.eid_prefixes.map((entry) => h("li", {}, eidButton(entry, site, state, actions))),
      site.more_eid_prefixes
        ? h("li", { class: "muted" }, `and ${count(site.more_eid_prefixes, "other")}`)
        : null,
    ),
    site.uplinks.length
      ? h("ul", { class: "uplinks" }, site.uplinks.map((uplink) => uplinkRow(uplink)))
      : h("p", { class: "muted" }, "no RLOC known"),
  );
}

function eidButton(entry, site, state, actions) {
  const eid = entry.endpoint ?? entry.eid;
  const isFrom = state.from === eid;
  const verb = state.from === null ? "from" : isFrom ? "not from" : "to";
  return h(
    "button",
    {
      class: `eid${isFrom ? " from" : ""}`,
      type: "button",
      disabled: entry.endpoint === null,
      "data-key": `eid ${site.name} ${entry.eid}`,
      "aria-label": `Why: ${verb} ${entry.eid}, site ${site.name}`,
      title: state.from === null ? "Why does a packet go where it goes? From here …" : "… to here",
      onclick: () => actions.pick(eid),
    },
    entry.eid,
  );
}

function uplinkRow(uplink) {
  const policy = uplink.told ?? uplink.offered;
  return h(
    "li",
    { class: `uplink ${stateClass(uplink.state)}`, "data-rloc": uplink.rloc },
    h(
      "div",
      { class: "rloc" },
      h("code", {}, uplink.rloc),
      stateBadge(uplink.state),
      h("span", { class: "rate" }, uplink.xtr === null ? "another router" : rate(uplink.octets_per_second)),
    ),
    h(
      "div",
      { class: "split" },
      meter("told", "policy", policy),
      meter("measured", "measured", uplink.measured),
    ),
  );
}

function meter(kind, name, share) {
  return h(
    "div",
    { class: `meter ${kind}` },
    h("span", { class: "bar-outer", "aria-hidden": "true" },
      h("span", { class: "bar-inner", style: { "--share": share ?? 0 } })),
    h("span", { class: "value" }, h("span", { class: "unseen" }, `${name} `), percent(share)),
  );
}

function compactCard(site, problems, actions) {
  const list = problems.get(site.name);
  const total = site.uplinks.reduce((sum, uplink) => sum + (uplink.octets_per_second ?? 0), 0);
  return h(
    "li",
    { class: `site compact${list.length ? " troubled" : ""}`, "data-site": site.name },
    h(
      "button",
      {
        class: "name",
        type: "button",
        "aria-pressed": "false",
        "data-key": `site ${site.name}`,
        onclick: () => actions.choose(site.name),
      },
      site.name,
    ),
    h(
      "span",
      { class: "dots" },
      site.uplinks.map((uplink) =>
        h("span", { class: `state ${stateClass(uplink.state)}`, title: `${uplink.rloc}: ${uplink.state}` },
          h("i", { "aria-hidden": "true" }), h("span", { class: "unseen" }, uplink.state)),
      ),
    ),
    h("span", { class: "rate" }, rate(total)),
  );
}

// --- one site ---

function siteDetail(site, topology, problems, actions) {
  const xtrs = topology.xtrs.filter((xtr) => xtr.site === site.name);
  const names = new Set(xtrs.map((xtr) => xtr.name));
  const inbound = topology.links.filter((link) => link.site === site.name && !names.has(link.xtr));
  const outbound = topology.links.filter((link) => names.has(link.xtr) && link.site !== site.name);
  const list = problems.get(site.name);
  const failed = h("div", {});
  return [
    h(
      "div",
      { class: "head" },
      h("h2", {}, site.name),
      h("button", { class: "ghost", type: "button", "data-key": "close", onclick: () => actions.choose(site.name) }, "Close"),
    ),
    list.map((problem) => note("bad", problem)),
    h(
      "p",
      { class: "links" },
      h("a", { href: `#/policy/${segment(site.name)}` }, site.policy ? "Its policy" : "Give it a policy"),
      h("a", { href: `#/registrations?site=${segment(site.name)}` }, count(site.registrations, "registration")),
      xtrs.map((xtr) =>
        h("a", { href: `#/map-cache?xtr=${segment(xtr.name)}` },
          `Map-cache of ${xtr.name} (${number(xtr.map_cache_entries)})`),
      ),
    ),
    h("h3", {}, "Uplinks"),
    uplinkTable(site, failed),
    failed,
    h("h3", {}, "Who sends to it"),
    linkTable(inbound, topology, (link) => ownerOf(link.xtr, topology), site, "in"),
    h("h3", {}, "Where it sends"),
    linkTable(outbound, topology, (link) => link.site, site, "out"),
    topology.more ? note("quiet", "Map-caches are large; only a part of each was looked at.") : null,
  ];
}

function uplinkTable(site, failed) {
  if (!site.uplinks.length) return note("quiet", "None.");
  const act = async (method, rloc) => {
    try {
      await change(method, `rlocs/${segment(rloc)}/drain`);
      refresh();
    } catch (error) {
      replace(failed, trouble(error));
    }
  };
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["RLOC", "State", "Pri/wgt", ""].map((name) => h("th", { scope: "col" }, name)))),
      h(
        "tbody",
        {},
        site.uplinks.map((uplink) =>
          h(
            "tr",
            {},
            h("td", {}, h("code", {}, uplink.rloc)),
            h("td", {}, stateBadge(uplink.state)),
            h("td", {}, `${uplink.priority}/${uplink.weight}`),
            h("td", {}, uplink.xtr === null ? null : drainButton(uplink, act)),
          ),
        ),
      ),
    ),
  );
}

function drainButton(uplink, act) {
  const drained = uplink.state === "drained";
  return h(
    "button",
    {
      type: "button",
      "data-key": `drain ${uplink.rloc}`,
      title: drained ? "Let traffic come back" : "Let traffic leave it, before maintenance",
      onclick: () => act(drained ? "DELETE" : "PUT", uplink.rloc),
    },
    drained ? "Undrain" : "Drain",
  );
}

function ownerOf(xtr, topology) {
  return topology.xtrs.find((item) => item.name === xtr)?.site ?? xtr;
}

function linkTable(links, topology, otherOf, site, direction) {
  if (!links.length) return note("quiet", "Nobody, as far as map-caches tell.");
  return h(
    "ul",
    { class: "talks" },
    links.map((link) => {
      const other = otherOf(link);
      const why = pairLink(other, site, topology, direction);
      return h(
        "li",
        {},
        h("span", { class: "who" }, other ?? "no site of ours"),
        h(
          "span",
          { class: "by" },
          link.paths.map((path) =>
            h(
              "span",
              { class: "path" },
              h("code", {}, path.rloc),
              ` ${percent(path.share)}`,
              path.rtt_seconds === null ? null : h("span", { class: "muted" }, ` ${(path.rtt_seconds * 1000).toFixed(1)} ms`),
              path.state === "up" ? null : [" ", stateBadge(path.state)],
            ),
          ),
          link.negative ? h("span", { class: "muted" }, `${count(link.negative, "negative entry", "negative entries")}`) : null,
          link.pending ? h("span", { class: "muted" }, `${count(link.pending, "resolution")} under way`) : null,
        ),
        why ? h("a", { href: why, "data-key": `why ${direction} ${other}` }, "Why?") : null,
      );
    }),
  );
}

// A pair of EIDs of both sites in one instance-ID and family, to ask why.
function pairLink(other, site, topology, direction) {
  const there = topology.sites.find((item) => item.name === other);
  if (!there) return null;
  const kind = (eid) => `${/^\[\d+\]/.exec(eid)?.[0] ?? ""}${eid.includes(":")}`;
  for (const mine of site.eid_prefixes) {
    const theirs = there.eid_prefixes.find(
      (entry) => entry.endpoint && mine.endpoint && kind(entry.eid) === kind(mine.eid),
    );
    if (theirs) {
      return direction === "in"
        ? whyLink(theirs.endpoint, mine.endpoint)
        : whyLink(mine.endpoint, theirs.endpoint);
    }
  }
  return null;
}

function pickerText(from, actions) {
  return [
    h("span", {}, "Why does a packet go there? From ", h("code", {}, from), " to …"),
    h("button", { type: "button", class: "ghost", "data-key": "unpick", onclick: () => actions.pick(from) }, "Cancel"),
  ];
}

