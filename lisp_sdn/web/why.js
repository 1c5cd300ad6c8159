// Why does a packet go where it goes: the trace of REST and lispctl, and the policy behind it.

import { get } from "./api.js";
import { h, note, replace, trouble } from "./dom.js";
import { onEvent } from "./live.js";

const AGAIN = 1500; // After an event it is asked again, milliseconds.
const PROTOCOLS = ["icmp", "tcp", "udp"];
const VERDICTS = {
  delivered: ["good", "Delivered"],
  resolves: ["wait", "Waits for a Map-Reply"],
  "handed-over": ["good", "Handed over to another router"],
  stopped: ["bad", "Stopped"],
};
const STEPS = {
  source: "Source",
  switch: "Switch",
  policy: "Policy",
  mapping: "Mapping",
  "map-cache": "Map-cache",
  "flow-tables": "Flow tables",
  rloc: "RLOC",
  etr: "ETR",
  delivery: "Delivery",
};
const MARKS = { ok: "passed", note: "passed, with a note", stop: "stopped here" };

export function open(view, { query }) {
  const places = h("datalist", { id: "places" });
  const field = (name, label, placeholder) =>
    h("div", { class: "field" },
      h("label", { for: `why-${name}` }, label),
      h("input", { id: `why-${name}`, name, list: "places", placeholder, required: true, spellcheck: "false", autocomplete: "off", autocapitalize: "off" }));
  const protocol = h("select", { id: "why-protocol", name: "protocol", onchange: () => ports() },
    PROTOCOLS.map((name) => h("option", { value: name }, name.toUpperCase())));
  const port = (name, label) =>
    h("div", { class: "field port" }, h("label", { for: `why-${name}` }, label),
      h("input", { id: `why-${name}`, name, type: "number", min: "0", max: "65535" }));
  const form = h(
    "form",
    { class: "ask", onsubmit: (event) => { event.preventDefault(); ask(); } },
    field("from", "From EID", "[42] 10.1.0.1"),
    h("button", { type: "button", class: "ghost swap", "aria-label": "Swap source and destination", onclick: () => swap() }, "⇄"),
    field("to", "To EID", "[42] 10.2.0.1"),
    h("div", { class: "field" }, h("label", { for: "why-protocol" }, "Protocol"), protocol),
    port("source_port", "Source port"),
    port("destination_port", "Destination port"),
    h("button", { class: "primary", type: "submit" }, "Explain"),
    places,
  );
  const result = h("div", { class: "result", "aria-live": "polite" });
  view.append(
    h("h1", {}, "Why does a packet go there?"),
    h("p", { class: "lead" }, "Every stage from one EID to another, as the switches would treat the packet now; nothing is sent."),
    form,
    result,
  );

  let asked = null;
  let timer = null;
  let lastBody = "";

  function ports() {
    const shown = protocol.value !== "icmp";
    for (const item of form.querySelectorAll(".port")) item.hidden = !shown;
  }

  function swap() {
    const { from, to } = form.elements;
    [from.value, to.value] = [to.value, from.value];
  }

  function fillIn(values) {
    for (const element of form.elements) {
      if (element.name && values.has(element.name)) element.value = values.get(element.name);
    }
    ports();
  }

  function ask() {
    const values = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (value && !(name.endsWith("_port") && protocol.value === "icmp")) values.set(name, value.trim());
    }
    if (values.get("protocol") === "icmp") values.delete("protocol");
    const address = `#/why?${values}`;
    if (location.hash === address) run(values);
    else location.hash = address;
  }

  async function run(values, silently = false) {
    asked = values;
    if (!values.get("from") || !values.get("to")) {
      replace(result, note("quiet", "Choose two EIDs here, or click one EID and then another in the picture of the network."));
      return;
    }
    if (!silently) replace(result, note("quiet", "Following the packet …"));
    const packet = {
      source: values.get("from"),
      destination: values.get("to"),
      protocol: values.get("protocol"),
      source_port: values.get("source_port"),
      destination_port: values.get("destination_port"),
    };
    try {
      const trace = await get("trace", packet);
      const explanation = await explain(trace);
      if (asked !== values) return;
      const body = JSON.stringify([trace, { ...explanation, at: null }]);
      if (silently && body === lastBody) return;
      lastBody = body;
      replace(result, show(trace, explanation));
    } catch (error) {
      lastBody = "";
      if (asked === values) replace(result, trouble(error));
    }
  }

  const unlisten = onEvent(() => {
    clearTimeout(timer);
    timer = setTimeout(() => asked?.get("to") && !document.hidden && run(asked, true), AGAIN);
  });
  ports();
  fillIn(query);
  run(query);
  get("trace/endpoints", { limit: 1000 }).then(
    ({ items }) => replace(places, items.map((item) => h("option", { value: item.eid.replace(/\/(32|128)$/, "") }, item.site ?? ""))),
    () => {},
  );
  return {
    update({ query: values }) {
      fillIn(values);
      run(values);
      return true;
    },
    close() {
      asked = null;
      clearTimeout(timer);
      unlisten();
    },
  };
}

// The rule chain; null where no policy has a say.
async function explain(trace) {
  if (trace.xtr === null) return null;
  try {
    return await get("policies/explain", { eid: trace.destination, source: trace.source, xtr: trace.xtr });
  } catch {
    return null;
  }
}

function show(trace, explanation) {
  const [kind, verdict] = VERDICTS[trace.verdict];
  const stop = trace.steps.find((step) => step.mark === "stop");
  return [
    h(
      "section",
      { class: `verdict ${kind}`, "aria-label": "Verdict" },
      h("h2", {}, verdict, stop ? ` at: ${STEPS[stop.step]}` : null),
      h("p", {}, stop ? stop.text : way(trace)),
      stop?.suggestion ? h("p", { class: "suggestion" }, h("strong", {}, "What to do: "), stop.suggestion) : null,
    ),
    h("h2", { class: "unseen" }, "Steps"),
    h("ol", { class: "steps" }, trace.steps.map(stepRow)),
    explanation ? ruleChain(explanation) : null,
    h("p", { class: "muted" }, "The same at a terminal: ", h("code", {}, `lispctl trace '${bare(trace.source)}' '${bare(trace.destination)}'`)),
  ];
}

function bare(eid) {
  return eid.replace(/\/(32|128)$/, "");
}

function way(trace) {
  const places = [
    h("code", {}, bare(trace.source)),
    trace.xtr ? `xTR ${trace.xtr}` : null,
    trace.rloc ? h("code", {}, trace.rloc) : null,
    trace.etr && trace.etr !== trace.xtr ? `xTR ${trace.etr}` : null,
    h("code", {}, bare(trace.destination)),
  ].filter((item) => item !== null);
  return places.flatMap((item, index) => (index ? [" → ", item] : [item]));
}

function stepRow(step) {
  return h(
    "li",
    { class: `step ${step.mark}` },
    h(
      "div",
      { class: "title" },
      h("strong", {}, STEPS[step.step] ?? step.step),
      h("span", { class: "unseen" }, `, ${MARKS[step.mark]}: `),
      step.reason ? h("code", { class: "reason" }, step.reason) : null,
    ),
    h("p", {}, step.text),
    step.mark !== "stop" && step.suggestion ? h("p", { class: "suggestion" }, step.suggestion) : null,
    step.details.length
      ? h("details", { open: step.mark === "stop", "data-key": `step ${step.step}` },
          h("summary", {}, "Details"), h("pre", {}, step.details.join("\n")))
      : null,
  );
}

const RULE_VERDICTS = {
  decided: "decided",
  "no-match": "does not match",
  "fell-through": "fell through",
  "not-reached": "not reached",
};

function ruleChain(explanation) {
  const site = explanation.site;
  return h(
    "section",
    { class: "chain" },
    h("h2", {}, "The policy of ", site ? h("a", { href: `#/policy/${encodeURIComponent(site)}` }, site) : "no site"),
    explanation.rules.length
      ? h("ol", {}, explanation.rules.map((rule) =>
          h(
            "li",
            { class: `rule ${rule.verdict}` },
            h("strong", {}, rule.rule),
            h("span", { class: "tag" }, RULE_VERDICTS[rule.verdict] ?? rule.verdict),
            rule.note ? h("span", { class: "muted" }, rule.note) : null,
            rule.reasons.length
              ? h("ul", { class: "reasons" }, rule.reasons.map((reason) =>
                  h("li", { class: reason.holds ? "yes" : "no" },
                    h("span", { class: "unseen" }, reason.holds ? "holds: " : "does not hold: "),
                    `${reason.field}: wants ${reason.expected}, is ${reason.found}`)))
              : null,
          )))
      : null,
    h("p", {}, explanation.detail),
    answerTable(explanation.answer),
  );
}

export function answerTable(answer) {
  const list = answer.mapping.locators;
  if (!list.length) return note("quiet", `No RLOC: ${answer.mapping.action}.`);
  return h("div", { class: "scroll" },
    h("table", {},
      h("thead", {}, h("tr", {}, ["RLOC", "Priority", "Weight"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, list.map((item) =>
        h("tr", {}, h("td", {}, h("code", {}, item.rloc)),
          h("td", {}, item.priority === 255 ? "255, not used" : item.priority),
          h("td", {}, item.weight))))));
}

