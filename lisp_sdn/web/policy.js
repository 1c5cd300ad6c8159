// Ingress policies: read, edit, see the difference, put in force, go back.

import { change, get, getTagged, segment } from "./api.js";
import { announce, h, note, percent, replace, trouble } from "./dom.js";
import { live, onEvent, refresh, watch } from "./live.js";
import { changesView, historyView } from "./policyparts.js";
import { rulesView, starter } from "./rules.js";

const WHO = "lisp_sdn.who";

export function open(view, { part }) {
  let site = part;
  let policies = new Set();
  const find = h("input", { type: "search", placeholder: "Site", "aria-label": "Search sites", oninput: () => choose() });
  const sites = h("ul", { class: "choices" });
  const body = h("div", { class: "body" });
  view.append(
    h("h1", {}, "Policy"),
    h("p", { class: "lead" }, "Which RLOCs of a site its senders use, and who of them: the first rule that matches decides."),
    h("div", { class: "columns" }, h("nav", { class: "aside", "aria-label": "Sites" }, find, sites), body),
  );
  let editor = null;
  let known = "";

  function choose() {
    const topology = live.topology;
    if (topology === null) return;
    policies = new Set(topology.sites.filter((item) => item.policy).map((item) => item.name));
    const text = find.value.trim().toLowerCase();
    const names = topology.sites.map((item) => item.name).filter((name) => name.toLowerCase().includes(text));
    const state = JSON.stringify([names, [...policies], site]);
    if (state === known) return;
    known = state;
    replace(sites, names.map((name) =>
      h("li", {},
        h("a", { href: `#/policy/${segment(name)}`, "aria-current": name === site ? "true" : null, "data-key": `policy ${name}` },
          name, policies.has(name) ? h("span", { class: "tag" }, "policy") : null))));
    if (!site && names.length) {
      site = [...policies].sort()[0] ?? names[0];
      history.replaceState(null, "", `#/policy/${segment(site)}`);
      known = "";
      start();
      choose();
    }
  }

  function start() {
    editor?.close();
    editor = site ? new Editor(body, site) : null;
  }

  const unwatch = watch(choose);
  start();
  return {
    update({ part: name }) {
      if (name === site) return true;
      if (editor?.isDirty && !confirm(`Leave the policy of ${site} without applying what you changed?`)) {
        history.replaceState(null, "", `#/policy/${segment(site)}`);
        return true;
      }
      site = name;
      start();
      choose();
      return true;
    },
    close() {
      unwatch();
      editor?.close();
    },
  };
}

class Editor {
  constructor(body, site) {
    this.site = site;
    this.tag = null;
    this.inForce = null;
    this.document = null;
    this.previewed = null;
    this.text = h("textarea", {
      id: "policy-json", spellcheck: "false", rows: "14", autocapitalize: "off",
      "aria-describedby": "policy-json-trouble", oninput: () => this.readText(),
    });
    this.textTrouble = h("p", { id: "policy-json-trouble", class: "field-trouble", role: "alert" });
    this.rules = h("div", { class: "rules" });
    this.notice = h("div", { "aria-live": "polite" });
    this.result = h("div", { class: "preview", "aria-live": "polite" });
    this.balance = h("div", {});
    this.past = h("section", { class: "history" });
    this.previewButton = h("button", { type: "button", id: "preview", onclick: () => this.preview() }, "Preview the difference");
    this.revertButton = h("button", { type: "button", class: "ghost", onclick: () => this.load() }, "Discard changes");
    this.who = h("input", { id: "who", autocomplete: "name", maxlength: "100", required: true, value: remembered() });
    this.why = h("input", { id: "why", maxlength: "1000", required: true, autocomplete: "off" });
    this.apply = h("button", { class: "primary", type: "submit", id: "apply" }, "Apply");
    this.form = h("form", { class: "apply", onsubmit: (event) => { event.preventDefault(); this.put(); } },
      h("div", { class: "field" }, h("label", { for: "who" }, "Who"), this.who),
      h("div", { class: "field grow" }, h("label", { for: "why" }, "Why, for the history"), this.why),
      this.apply);
    replace(body,
      h("h2", {}, site),
      this.notice,
      this.rules,
      h("details", { class: "json", "data-key": "json" },
        h("summary", {}, "As JSON"),
        h("label", { class: "unseen", for: "policy-json" }, `Policy of ${site} as JSON`),
        this.text, this.textTrouble),
      h("div", { class: "row" }, this.previewButton, this.revertButton),
      this.result,
      this.form,
      this.balance,
      this.past);
    this.unlisten = onEvent((entry) => this.happened(entry));
    this.history = historyView(this.past, (version) => this.rollback(version));
    this.unwatch = watch(() => {
      const first = this.rules.querySelector("#first-rule");
      if (first) first.disabled = !this.uplinks.length;
    });
    this.load();
  }

  close() {
    this.unlisten();
    this.unwatch();
    this.closed = true;
  }

  get isDirty() {
    return this.document !== null && JSON.stringify(this.document) !== JSON.stringify(this.inForce);
  }

  get uplinks() {
    return live.topology?.sites.find((item) => item.name === this.site)?.uplinks ?? [];
  }

  // again: because of an event; what was said before still holds.
  async load(again = false) {
    try {
      const found = await getTagged(`policies/${segment(this.site)}`);
      if (this.closed || (again && this.isDirty)) return;
      this.tag = found?.tag ?? null;
      this.inForce = found?.document ?? { site: this.site, rules: [] };
      this.document = structuredClone(this.inForce);
      this.previewed = null;
      if (!again) replace(this.notice);
      replace(this.result);
      this.writeText();
      this.show();
    } catch (error) {
      replace(this.notice, trouble(error));
    }
    this.history.load();
    this.loadBalance();
  }

  async loadBalance() {
    try {
      const { items } = await get("policies/balance");
      const mine = items.filter((item) => item.site === this.site);
      replace(this.balance, mine.length ? [h("h3", {}, "Weights that follow the load"), mine.map(balanceView)] : null);
    } catch {
      replace(this.balance);
    }
  }

  happened(entry) {
    if (entry !== null && entry.kind === "policy.balanced") this.loadBalance();
    if (entry !== null && entry.kind !== "policy.changed") return;
    this.history.load();
    if (!this.isDirty) this.load(true);
    else this.checkOthers();
  }

  async checkOthers() {
    const found = await getTagged(`policies/${segment(this.site)}`).catch(() => undefined);
    if (found === undefined || (found?.tag ?? null) === this.tag) return;
    replace(this.notice, note("wait", "Somebody else changed this policy meanwhile. ",
      h("button", { type: "button", onclick: () => this.load() }, "Load what is in force"),
      " Your changes are lost then."));
  }

  // --- one document, shown twice ---

  writeText() {
    this.text.value = pretty(this.document);
    this.textTrouble.textContent = "";
    this.text.removeAttribute("aria-invalid");
  }

  readText() {
    try {
      const given = JSON.parse(this.text.value);
      if (typeof given !== "object" || given === null || !Array.isArray(given.rules ?? [])) {
        throw new SyntaxError("a policy is an object with a list of rules");
      }
      this.document = { ...given, rules: given.rules ?? [] };
      this.textTrouble.textContent = "";
      this.text.removeAttribute("aria-invalid");
      this.show();
    } catch (error) {
      this.textTrouble.textContent = `Not yet readable: ${error.message}`;
      this.text.setAttribute("aria-invalid", "true");
      this.previewButton.disabled = true;
      this.apply.disabled = true;
    }
  }

  edited() {
    this.writeText();
    this.buttons();
  }

  show() {
    replace(this.rules,
      this.document.rules.length
        ? rulesView(this.document, () => this.edited(), () => { this.edited(); this.show(); })
        : [note("quiet", "No rule: everybody gets the RLOC-set as the site registered it."),
           h("button", { type: "button", id: "first-rule", disabled: !this.uplinks.length, onclick: () => {
             this.document.rules.push(starter(this.uplinks));
             this.edited();
             this.show();
           } }, "Add a rule that divides traffic over its RLOCs")]);
    this.buttons();
  }

  buttons() {
    const dirty = this.isDirty;
    this.previewButton.disabled = !dirty;
    this.revertButton.hidden = !dirty;
    const fresh = dirty && this.previewed === JSON.stringify(this.document);
    this.form.hidden = !fresh;
    this.apply.disabled = !fresh;
    this.result.classList.toggle("old", this.previewed !== null && !fresh);
  }

  // --- what it would do, and doing it ---

  async preview() {
    const candidate = JSON.stringify(this.document);
    replace(this.result, note("quiet", "Comparing …"));
    try {
      const diff = await change("POST", "policies/diff", { query: { limit: 50 }, body: { policies: [this.document] } });
      this.previewed = candidate;
      replace(this.result, changesView(diff));
      this.buttons();
      if (!this.form.hidden) (this.who.value ? this.why : this.who).focus();
    } catch (error) {
      this.previewed = null;
      replace(this.result, trouble(error));
      this.buttons();
    }
  }

  async put() {
    const who = this.who.value.trim();
    const why = this.why.value.trim();
    const path = `policies/${segment(this.site)}`;
    const headers = this.tag === null ? { "If-None-Match": "*" } : { "If-Match": this.tag };
    const remove = !this.document.rules.length && this.tag !== null;
    this.apply.disabled = true;
    try {
      await change(remove ? "DELETE" : "PUT", path, {
        query: { who, why }, headers, body: remove ? undefined : this.document,
      });
      remember(who);
      this.why.value = "";
      await this.load();
      replace(this.notice, note("good", "In force, everywhere at once."));
      announce("The policy is in force");
      refresh();
    } catch (error) {
      replace(this.notice, trouble(error),
        error.status === 412 ? h("button", { type: "button", onclick: () => this.load() }, "Load what is in force") : null);
      this.buttons();
      this.notice.scrollIntoView({ block: "nearest" });
    }
  }

  async rollback(version) {
    const given = await ask(`Go back to version ${version}`, "All policies become what they were in this version; itself a new version.");
    if (given === null) return;
    try {
      await change("POST", "policies/rollback", { body: { version, ...given } });
      await this.load();
      replace(this.notice, note("good", `Version ${version} is in force again.`));
      refresh();
    } catch (error) {
      replace(this.notice, trouble(error));
    }
  }
}

// Who and why, in a dialog; null when it was cancelled.
function ask(title, text) {
  const who = h("input", { id: "ask-who", required: true, maxlength: "100", value: remembered() });
  const why = h("input", { id: "ask-why", required: true, maxlength: "1000" });
  const cancel = h("button", { type: "button" }, "Cancel");
  const dialog = h("dialog", { "aria-labelledby": "ask-title" },
    h("form", { method: "dialog" },
      h("h2", { id: "ask-title" }, title), h("p", {}, text),
      h("label", { for: "ask-who" }, "Who"), who,
      h("label", { for: "ask-why" }, "Why"), why,
      h("div", { class: "row end" }, cancel, h("button", { class: "primary", value: "ok" }, title))));
  document.body.append(dialog);
  cancel.addEventListener("click", () => dialog.close(""));
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const ok = dialog.returnValue === "ok";
      if (ok) remember(who.value.trim());
      resolve(ok ? { who: who.value.trim(), why: why.value.trim() } : null);
      dialog.remove();
    });
  });
}

function remembered() {
  try {
    return localStorage.getItem(WHO) ?? "";
  } catch {
    return "";
  }
}

function remember(who) {
  try {
    localStorage.setItem(WHO, who);
  } catch {
    // Then it is asked for again.
  }
}

function balanceView(item) {
  return h("div", { class: "balance" },
    h("p", {}, h("strong", {}, item.rule), " ", h("span", { class: "tag" }, item.state)),
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["RLOC", "Target", "Measured", "Weight now"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, item.locators.map((row) =>
        h("tr", {}, h("td", {}, h("code", {}, row.rloc)), h("td", {}, percent(row.target)),
          h("td", {}, percent(row.share)), h("td", {}, row.weight)))))));
}

// Short lists and objects on one line, as a person would write them.
export function pretty(value, indent = "") {
  const flat = JSON.stringify(value);
  const spaced = flat.length <= 90 ? JSON.stringify(value, null, 1).replace(/\n\s*/g, " ") : null;
  if (typeof value !== "object" || value === null || (spaced !== null && indent)) return spaced ?? flat;
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return `[\n${value.map((item) => inner + pretty(item, inner)).join(",\n")}\n${indent}]`;
  }
  const rows = Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${pretty(item, inner)}`);
  return rows.length ? `{\n${rows.join(",\n")}\n${indent}}` : "{}";
}
