// Links from one view to another.

import { h } from "./dom.js";

// To the view Why, with the destination filled in. key: a map-cache key.
export function whyTo(key) {
  const pair = /^srcdst:(.*)\|(.*)$/.exec(key);
  const values = { to: first(pair ? pair[2] : key) };
  if (pair) values.from = first(pair[1]);
  return h("a", { href: `#/why?${new URLSearchParams(values)}` }, "Why?");
}

// An EID of an EID-prefix: itself for a host, else the first one after the network address.
function first(eid) {
  const [, iid, address, length] = /^(\[\d+\] )?([^/]*)(?:\/(\d+))?$/.exec(eid) ?? [];
  if (address === undefined) return eid;
  const bits = address.includes(":") ? 128 : 32;
  if (length === undefined || Number(length) >= bits - 1) return `${iid ?? ""}${address}`;
  if (bits === 32) return `${iid ?? ""}${address.replace(/\d+$/, (last) => Number(last) + 1)}`;
  return `${iid ?? ""}${address.endsWith("::") ? `${address}1` : address}`;
}
