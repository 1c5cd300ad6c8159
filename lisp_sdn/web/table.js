// A long list: read page by page, searched, sorted; no more in memory than was asked for.

import { get } from "./api.js";
import { count, h, note, number, replace, trouble } from "./dom.js";
import { onEvent } from "./live.js";

const PAGE = 100;
const SCAN = 1000; // Entries in one request while searching.
const SCANS = 20; // Requests in a row until the search asks whether to go on.
const AGAIN = 2000;

/* list(view, options) shows
   columns: [{name, cell(item), sort(item)?, class?}]
   sources(): [{path, query, mark(item)?}], read one after the other
   words(item): texts that the search looks at
   narrow(text): query that lets the controller search, null when it cannot
   kinds: events that change it; controls: elements beside the search; empty: sentence for none */
export function list(view, options) {
  const state = { find: options.find ?? "", sort: null, down: false, wanted: PAGE };
  const body = h("tbody");
  const foot = h("div", { class: "row foot", "aria-live": "polite" });
  const failed = h("div", {});
  let reader = null;
  let rows = [];
  let run = 0;
  let timer = null;
  const search = h("input", {
    type: "search",
    "aria-label": `Search ${options.title}`,
    placeholder: options.placeholder ?? "Search",
    value: state.find,
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        state.find = search.value.trim();
        options.remember?.(state.find);
        begin();
      }, 200);
    },
  });
  const heads = options.columns.map((column, index) =>
    h(
      "th",
      { scope: "col", class: column.class },
      column.sort
        ? h("button", { type: "button", class: "sort", onclick: () => sortBy(index) }, column.name)
        : column.name,
    ),
  );
  const table = h(
    "table",
    { class: "list" },
    h("caption", { class: "unseen" }, options.title),
    h("thead", {}, h("tr", {}, heads)),
    body,
  );
  view.append(
    h("h1", {}, options.title),
    options.lead ? h("p", { class: "lead" }, options.lead) : "",
    h("div", { class: "bar" }, search, options.controls ?? []),
    failed,
    h("div", { class: "scroll" }, table),
    foot,
  );

  function sortBy(index) {
    state.down = state.sort === index ? !state.down : false;
    state.sort = index;
    heads.forEach((head, at) => {
      if (at === index) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    render();
  }

  function begin(keep = false) {
    run += 1;
    reader = entries(options, state.find);
    if (!keep) state.wanted = PAGE;
    read([], run);
  }

  // Fills `rows` up to what is wanted; what is shown stays until the new rows are there.
  async function read(found, mine) {
    let end = false;
    let scans = 0;
    try {
      while (found.length < state.wanted && scans < SCANS) {
        const { value, done } = await reader.next();
        if (mine !== run) return;
        if (done) {
          end = true;
          break;
        }
        scans += 1;
        found.push(...value);
        if (state.find) foot.textContent = `${number(found.length)} found, searching …`;
      }
      replace(failed);
    } catch (error) {
      if (mine === run) replace(failed, trouble(error));
      return;
    }
    rows = found;
    render(end, mine);
  }

  let ended = false;
  function render(end = ended, mine = run) {
    ended = end;
    const shown = [...rows];
    const column = options.columns[state.sort];
    if (column) {
      const sign = state.down ? -1 : 1;
      shown.sort((a, b) => sign * compare(column.sort(a), column.sort(b)));
    }
    replace(
      body,
      shown.map((item) =>
        h(
          "tr",
          {},
          options.columns.map((column) =>
            h("td", { class: column.class, "data-label": column.name }, column.cell(item)),
          ),
        ),
      ),
    );
    table.hidden = !shown.length;
    const what = count(shown.length, "entry", "entries");
    replace(
      foot,
      shown.length || !end
        ? h("span", {}, end ? what : `${what} so far`, column && !end ? ", sorted among these" : null)
        : note("quiet", state.find ? "Nothing fits." : options.empty),
      end
        ? null
        : h(
            "button",
            {
              type: "button",
              "data-key": "more",
              onclick: () => {
                state.wanted = rows.length + PAGE;
                read([...rows], mine);
              },
            },
            state.find ? "Search on" : "More",
          ),
    );
  }

  let again = null;
  const unlisten = onEvent((entry) => {
    const concerns = entry === null || options.kinds.some((kind) => entry.kind.startsWith(kind));
    if (!concerns || again !== null) return;
    again = setTimeout(() => {
      again = null;
      // A list that was read far is not read anew under its reader's eyes.
      if (!document.hidden && rows.length <= 2 * PAGE) begin(true);
    }, AGAIN);
  });
  begin();
  return {
    again: () => begin(),
    close() {
      run += 1;
      clearTimeout(timer);
      clearTimeout(again);
      unlisten();
    },
  };
}

// Arrays of fitting entries, one for every page that was read.
async function* entries(options, find) {
  const narrowed = find && options.narrow ? options.narrow(find) : null;
  const text = narrowed ? "" : find.toLowerCase();
  for (const source of options.sources()) {
    let after = null;
    do {
      const query = { ...source.query, ...narrowed, limit: text ? SCAN : PAGE, after };
      const page = await get(source.path, query);
      const items = page.items.map((item) => (source.mark ? source.mark(item) : item));
      yield text ? items.filter((item) => fits(options.words(item), text)) : items;
      after = page.next;
    } while (after !== null);
  }
}

function fits(words, text) {
  return words.some((word) => word !== null && word !== undefined && String(word).toLowerCase().includes(text));
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}

// What lets the controller search a list of EID-prefixes: "[42] 10.1.0.0/16" or "[42] 10.1.0.7".
export function byEid(text) {
  if (!/^\[\d+\] *[0-9a-f.:]*[.:][0-9a-f.:]*(\/\d+)?$/i.test(text)) return null;
  const complete = text.includes(":") ? text.includes("::") || text.split(":").length === 8 : /(\d+\.){3}\d+/.test(text);
  if (!complete) return null;
  return /\/\d+$/.test(text) ? { within: text } : { covering: text };
}
