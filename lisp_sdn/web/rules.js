// The rules of a policy, readable; weights and shares can be changed where they stand.

import { h } from "./dom.js";

// A rule over the RLOCs of a site, as they are registered.
export function starter(uplinks) {
  return {
    name: "split",
    action: {
      locators: uplinks.map((uplink) => ({ rloc: uplink.rloc, priority: uplink.priority, weight: uplink.weight })),
    },
  };
}

// edited(): a number changed. rebuilt(): the list of rules changed.
export function rulesView(policy, edited, rebuilt) {
  const { rules } = policy;
  const move = (index, by) => {
    const [rule] = rules.splice(index, 1);
    rules.splice(index + by, 0, rule);
    rebuilt();
  };
  return h(
    "ol",
    { class: "rule-list" },
    rules.map((rule, index) =>
      h(
        "li",
        { class: "rule-card", "data-rule": rule.name },
        h(
          "div",
          { class: "head" },
          h("strong", {}, rule.name),
          h("span", { class: "row tight" },
            button("Earlier", "↑", rule, index === 0, () => move(index, -1)),
            button("Later", "↓", rule, index === rules.length - 1, () => move(index, 1)),
            button("Remove", "✕", rule, false, () => { rules.splice(index, 1); rebuilt(); })),
        ),
        rule.note ? h("p", { class: "muted" }, rule.note) : null,
        h("p", { class: "match" }, h("span", { class: "muted" }, "for "), matchWords(rule.match)),
        actionView(rule, edited),
      ),
    ),
  );
}

function button(verb, sign, rule, disabled, act) {
  return h("button", {
    type: "button", class: "ghost", disabled, "aria-label": `${verb} rule ${rule.name}`, title: verb,
    "data-key": `${verb} ${rule.name}`, onclick: act,
  }, sign);
}

function matchWords(match) {
  const parts = Object.entries(match ?? {});
  if (!parts.length) return "everybody";
  return parts.map(([name, value]) => [
    h("span", { class: "condition" }, h("span", { class: "muted" }, `${name.replaceAll("_", " ")} `), plain(value)), " "]);
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (value !== null && typeof value === "object") {
    return Object.entries(value).map(([name, item]) => `${name} ${plain(item)}`).join(", ");
  }
  return String(value);
}

function actionView(rule, edited) {
  return h("div", { class: "action" }, Object.entries(rule.action ?? {}).map(([name, value]) => {
    if (name === "locators" && Array.isArray(value)) return weights(rule, value, "weight", 255, edited);
    if (name === "balance" && Array.isArray(value?.target)) return weights(rule, value.target, "share", 1e6, edited);
    return h("p", {}, h("span", { class: "muted" }, `${name.replaceAll("_", " ")} `), h("code", {}, plain(value)));
  }));
}

function weights(rule, rows, key, most, edited) {
  const parts = rows.map(() => h("span", { class: "part" }));
  const bars = rows.map(() => h("span", { class: "bar-inner" }));
  const split = () => {
    const best = Math.min(...rows.map((row) => row.priority ?? 1));
    const counts = rows.map((row) => ((row.priority ?? 1) === best && best !== 255 ? Number(row[key] ?? 100) : 0));
    const total = counts.reduce((sum, value) => sum + value, 0);
    rows.forEach((row, index) => {
      const share = total ? counts[index] / total : 0;
      parts[index].textContent = (row.priority ?? 1) !== best ? `priority ${row.priority}` : `${Math.round(share * 100)} %`;
      bars[index].style.setProperty("--share", share);
    });
  };
  split();
  return h("ul", { class: "weights" }, rows.map((row, index) => {
    const id = `weight-${rule.name}-${index}`;
    const field = h("input", {
      id, type: "number", min: "0", max: String(most), step: key === "share" ? "any" : "1", value: row[key] ?? 100,
      oninput: () => {
        if (!field.validity.valid || field.value === "") return;
        row[key] = Number(field.value);
        split();
        edited();
      },
    });
    return h("li", {},
      h("label", { for: id }, h("code", {}, row.rloc), h("span", { class: "unseen" }, ` ${key}`)),
      field,
      h("span", { class: "bar-outer", "aria-hidden": "true" }, bars[index]),
      parts[index]);
  }));
}
