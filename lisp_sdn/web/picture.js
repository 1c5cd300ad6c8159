// Lines over the cards: every RLOC to the underlay, and who sends to whom by which RLOC.

import { s, stateClass } from "./dom.js";

const MANY = 12; // So many links to the chosen site are thin lines.
const FEW = 6; // Up to so many sites, every link is drawn; above, those of the chosen site.

export function draw(picture, sites, topology, chosen) {
  picture.querySelector("svg.lines")?.remove();
  const core = picture.querySelector(".core");
  if (!core || !sites.length) return;
  const frame = picture.getBoundingClientRect();
  const spot = (element) => {
    const box = element.getBoundingClientRect();
    return {
      left: box.left - frame.left,
      right: box.right - frame.left,
      top: box.top - frame.top,
      middle: box.top - frame.top + box.height / 2,
    };
  };
  const middle = spot(core);
  const cards = new Map(
    [...picture.querySelectorAll("[data-site]")].map((card) => [card.dataset.site, card]),
  );
  const ends = new Map(); // RLOC -> where its line leaves the card.
  const doors = new Map(); // Site -> where its traffic leaves.
  const uplinks = s("g", { class: "uplink-lines" });
  for (const site of sites) {
    const card = cards.get(site.name);
    const box = spot(card);
    const onLeft = box.left + box.right < middle.left + middle.right && box.right <= middle.left + 1;
    const edge = onLeft ? box.right : box.left;
    const near = onLeft ? middle.left : middle.right;
    const door = { x: edge, y: spot(card.querySelector(".name")).middle, near, onLeft };
    doors.set(site.name, door);
    for (const uplink of worstLast(site.uplinks)) {
      const row = card.querySelector(`[data-rloc="${CSS.escape(uplink.rloc)}"]`);
      const y = row ? spot(row.querySelector(".rloc")).middle : box.middle;
      ends.set(uplink.rloc, { x: edge, y, near, onLeft });
      uplinks.append(uplinkLine(uplink, edge, near, y, site.name));
    }
  }
  const svg = s(
    "svg",
    { class: "lines", width: frame.width, height: frame.height, "aria-hidden": "true" },
    s("defs", {}, arrow("arrow", ""), arrow("arrow-involved", " involved")),
    uplinks,
    s("g", { class: "link-lines" }, [...linkLines(topology, cards, doors, ends, chosen)]),
  );
  picture.append(svg);
}

// What is wrong is drawn over what is well.
function worstLast(uplinks) {
  const rank = { up: 0, unknown: 1, drained: 2, down: 3 };
  return [...uplinks].sort((a, b) => rank[stateClass(a.state)] - rank[stateClass(b.state)]);
}

function arrow(id, more) {
  const size = { viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 11, markerHeight: 11 };
  return s(
    "marker",
    { id, ...size, markerUnits: "userSpaceOnUse", orient: "auto" },
    s("path", { class: `arrow${more}`, d: "M0 0.5L8 4L0 7.5Z" }),
  );
}

function uplinkLine(uplink, edge, near, y, site) {
  const kind = stateClass(uplink.state);
  const busy = (uplink.octets_per_second ?? 0) > 0;
  const width = 2 + Math.min(7, Math.log10(1 + (uplink.octets_per_second ?? 0) / 100));
  const share = uplink.told ?? uplink.offered;
  const line = s("path", {
    class: `line ${kind}${busy ? " busy" : ""}${share === 0 ? " unused" : ""}`,
    d: `M${edge} ${y}H${near}`,
    "stroke-width": kind === "up" ? width : 2,
    "data-line": uplink.rloc,
    "data-of": site,
  });
  if (!busy || kind === "down") return line;
  return s("g", {}, line, s("path", { class: "flow", d: `M${near} ${y}H${edge}`, "stroke-width": Math.max(1, width / 3) }));
}

function* linkLines(topology, cards, doors, ends, chosen) {
  const owner = new Map(topology.xtrs.map((xtr) => [xtr.name, xtr.site]));
  const wide = [...doors.values()].some((door) => door.onLeft);
  const few = wide && cards.size <= FEW;
  const many = topology.links.filter((link) => link.site === chosen).length > MANY;
  for (const link of topology.links) {
    const from = owner.get(link.xtr);
    const involved = chosen !== null && (from === chosen || link.site === chosen);
    if (from === link.site || !doors.has(from) || !(involved || (few && chosen === null))) continue;
    for (const path of link.paths) {
      const end = ends.get(path.rloc);
      if (!end || path.share === 0) continue;
      yield s("path", {
        class: `link ${stateClass(path.state)}${involved ? " involved" : ""}`,
        d: curve(doors.get(from), end),
        "stroke-width": many ? 1 : 1 + 3 * path.share,
        "marker-end": involved ? "url(#arrow-involved)" : "url(#arrow)",
        "data-from": from,
        "data-to": path.rloc,
      });
    }
  }
}

// From a site's door through the underlay to an RLOC; on a phone both are on the same side.
function curve(from, to) {
  if (from.onLeft !== to.onLeft) {
    const centre = (from.near + to.near) / 2;
    return `M${from.x} ${from.y}C${centre} ${from.y} ${centre} ${to.y} ${to.x} ${to.y}`;
  }
  const bulge = (from.near + to.near) / 2 + (from.onLeft ? 40 : -40);
  return `M${from.x} ${from.y}C${bulge} ${from.y} ${bulge} ${to.y} ${to.x} ${to.y}`;
}
