// The difference that a policy would make, and the history of what was in force.

import { get } from "./api.js";
import { ago, count, h, note, percent, replace, trouble } from "./dom.js";

const KINDS = { added: "added", removed: "removed", changed: "changed", moved: "moved" };

export function changesView(diff) {
  const changes = diff.changes.length;
  const flows = diff.flows.length;
  const more = diff.more ? " or more" : "";
  return [
    h("h3", {}, "What would change"),
    diff.rules.length
      ? h("ul", { class: "plain rule-changes" }, diff.rules.map((rule) =>
          h("li", {}, h("span", { class: `tag ${rule.kind}` }, KINDS[rule.kind]), ` rule ${rule.rule} of ${rule.site}`)))
      : note("quiet", "No rule."),
    changes
      ? [h("h4", {}, `Who gets another answer: ${count(changes, "class", "classes")}${more}`),
         h("ul", { class: "changes" }, diff.changes.map((item) => changeRow(item.who, item.eid, item)))]
      : note("quiet", "Nobody gets another answer now."),
    flows
      ? [h("h4", {}, `What our switches change: ${count(flows, "map-cache flow")}${more}`),
         h("ul", { class: "changes" }, diff.flows.map((item) => changeRow(`xTR ${item.xtr}`, item.eid, item)))]
      : note("quiet", "No flow on a switch of ours changes now."),
  ];
}

function changeRow(who, eid, item) {
  return h("li", {},
    h("div", {}, h("strong", {}, who), " to ", h("code", {}, eid)),
    h("div", { class: "from-to" }, h("span", { class: "old" }, h("span", { class: "unseen" }, "now "), split(item.old)),
      h("span", { "aria-hidden": "true" }, "→"),
      h("span", { class: "new" }, h("span", { class: "unseen" }, "then "), split(item.new))),
    item.new.warnings.map((text) => note("wait", text)));
}

// An answer in one line: RLOCs of the lowest priority with their shares, then the others.
export function split(answer) {
  const list = answer.mapping.locators;
  if (!list.length) return `no RLOC (${answer.mapping.action})`;
  const usable = list.filter((item) => item.reachable && item.priority !== 255);
  if (!usable.length) return "no usable RLOC";
  const best = Math.min(...usable.map((item) => item.priority));
  const chosen = usable.filter((item) => item.priority === best);
  const total = chosen.reduce((sum, item) => sum + item.weight, 0);
  const backups = usable.filter((item) => item.priority !== best).sort((a, b) => a.priority - b.priority);
  return [
    chosen.map((item) => h("span", { class: "part" }, h("code", {}, item.rloc), ` ${percent(total ? item.weight / total : 1 / chosen.length)}`)),
    backups.length ? h("span", { class: "muted" }, `then ${backups.map((item) => item.rloc).join(", ")}`) : null,
  ];
}

// The versions, the newest first. rollback(version): called when one is to be put in force.
export function historyView(section, rollback) {
  let items = [];
  let next = null;
  let newest = null;

  async function read(after, limit) {
    try {
      const page = await get("policies/history", { limit, after });
      items = after === null ? page.items : [...items, ...page.items];
      next = page.next;
      newest = items[0]?.version ?? null;
      show();
    } catch (error) {
      replace(section, trouble(error));
    }
  }

  function show() {
    replace(section,
      h("h3", {}, "History"),
      items.length
        ? h("ol", { class: "versions", reversed: true }, items.map(row))
        : note("quiet", "Nothing was changed yet."),
      next === null ? null : h("button", { type: "button", "data-key": "older", onclick: () => read(next, 20) }, "Older versions"));
  }

  function row(item) {
    return h("li", { value: item.version },
      h("div", { class: "head" },
        h("strong", {}, `Version ${item.version}`), h("span", { class: "tag" }, item.what), ago(item.at), h("span", {}, item.who),
        item.version === newest
          ? h("span", { class: "tag good" }, "in force")
          : h("button", { type: "button", class: "ghost", "data-key": `back ${item.version}`, onclick: () => rollback(item.version) }, "Go back to this")),
      item.why ? h("p", {}, item.why) : null,
      item.changes.length
        ? h("p", { class: "muted" }, item.changes.map((rule) => `${rule.kind} ${rule.rule} of ${rule.site}`).join("; "))
        : null);
  }

  return { load: () => read(null, Math.max(items.length, 10)) };
}
