"""The page as its users use it, in a real browser, before a simulated network."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

import pytest

pytest.importorskip("selenium")

from browsing import Page, Simulation
from selenium.webdriver.common.keys import Keys

VIEWS = ("network", "why", "policy", "map-cache", "registrations", "refusals", "events")
HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'


def rest(network: Simulation, method: str, path: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{network.url}lisp/v1/{path}",
        data,
        {"Content-Type": "application/json", **headers},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read() or b"null")


def split(page: Page, rloc: str, kind: str) -> str:
    return page.text(f"[data-rloc='{rloc}'] .{kind} .value").strip()


def policy_of(network: Simulation, site: str, *rules: dict[str, Any], why: str = "test") -> None:
    """Behind the back of who looks at the page."""
    known = {item["site"] for item in rest(network, "GET", "policies")["items"]}
    query = f"policies/{site}?who=somebody&why={urllib.parse.quote(why)}"
    condition = {"If-Match": "*"} if site in known else {"If-None-Match": "*"}
    if rules:
        rest(network, "PUT", query, {"site": site, "rules": list(rules)}, **condition)
    elif site in known:
        rest(network, "DELETE", query, **condition)


# --- the picture ---------------------------------------------------------------------------


def test_the_picture_shows_sites_uplinks_traffic_and_who_sends_to_whom(page: Page) -> None:
    page.open()
    page.says("[data-site=athens]", "[42] 10.1.0.0/24", "198.18.1.1", "up")
    page.wait("all sites", lambda: len(page.all("[data-site]")) == 5)
    page.says("[data-rloc='198.18.2.1']", "bit/s")
    page.wait("measured traffic", lambda: split(page, "198.18.1.1", "measured").endswith("50 %"))
    assert split(page, "198.18.1.1", "told").endswith("50 %")
    line = page.one("path[data-line='198.18.1.1']")
    assert "up" in str(line.get_attribute("class")).split()
    assert page.all("path.link[data-from=berlin][data-to='198.18.1.1']")
    assert page.text("#live").strip() == "live"
    page.shot("network-light")


def test_a_chosen_site_tells_its_neighbours_and_links_to_the_reason(page: Page) -> None:
    page.open()
    page.click("[data-site=athens] .name")
    page.says(".detail", "Who sends to it", "berlin", "corinth", "Where it sends")
    assert page.all("path.link.involved[data-from=corinth]")
    assert "site=athens" in page.driver.current_url
    page.shot("network-chosen")
    page.click(".detail [data-key='why in berlin']")
    page.says(".verdict", "Delivered")


def test_an_uplink_that_fails_turns_red_by_itself_and_is_said_aloud(
    page: Page, network: Simulation
) -> None:
    page.open()
    page.wait(
        "the line",
        lambda: "up" in page.one("path[data-line='203.0.113.129']").get_attribute("class"),
    )
    network.do("down 203.0.113.129")
    page.wait(
        "the line to be red",
        lambda: "down" in page.one("path[data-line='203.0.113.129']").get_attribute("class"),
        3,
    )
    page.says("[data-site=corinth]", "unreachable", "1 problem")
    assert "203.0.113.129" in str(
        page.run("return document.getElementById('announce').textContent")
    )
    page.click(".check input")
    page.wait("only the site with problems", lambda: len(page.all("[data-site]")) == 1)
    network.do("up 203.0.113.129")


# --- why -----------------------------------------------------------------------------------


def test_two_clicks_tell_why_one_eid_reaches_another(page: Page) -> None:
    page.open()
    page.click("[data-key='eid berlin [42] 10.2.0.0/24']")
    page.says(".picker", "From [42] 10.2.0.1")
    page.click("[data-key='eid athens [42] 10.1.0.0/24']")
    page.says(".verdict", "Delivered", "xTR berlin", "xTR athens")
    steps = page.text(".steps")
    for word in ("Source", "Policy", "Mapping", "Map-cache", "Flow tables", "RLOC", "Delivery"):
        assert word in steps
    assert page.driver.current_url.endswith(
        "#/why?from=%5B42%5D+10.2.0.1%2F32&to=%5B42%5D+10.1.0.1%2F32"
    )
    page.system_theme("dark")
    page.shot("why-dark")


def test_a_packet_that_stops_is_told_where_and_what_to_do(page: Page) -> None:
    page.open("#/why")
    page.write("#why-from", "[42] 10.2.0.1")
    page.write("#why-to", "10.9.9.9" + Keys.ENTER)
    page.says(".verdict", "Stopped at: Mapping", "What to do", "configure a site")
    assert page.all(".step.stop")
    page.shot("why-stopped")


def test_a_mistake_in_the_question_is_explained(page: Page) -> None:
    page.open("#/why?from=nonsense&to=10.1.0.1")
    page.says(".result", "nonsense")


# --- policy --------------------------------------------------------------------------------


def test_the_split_is_changed_after_a_preview_and_the_picture_follows(
    page: Page, network: Simulation
) -> None:
    policy_of(network, "athens")
    page.open("#/policy/athens")
    page.click("#first-rule:enabled")
    page.write("#weight-split-0", "80")
    page.write("#weight-split-1", "20")
    assert not page.one("#preview").get_attribute("disabled")
    assert not page.all(".apply")[0].is_displayed(), "nothing is applied unseen"
    page.click("#preview")
    page.says(".preview", "added", "xTR berlin", "50 %", "80 %")
    assert rest(network, "GET", "policies")["items"] == [], "a preview changes nothing"
    page.shot("policy-preview")
    page.write("#who", "ada")
    page.write("#why", "uplink 1 is cheaper" + Keys.ENTER)
    page.says(".body", "In force", "Version", "uplink 1 is cheaper")
    page.press("1")
    page.wait("the policy", lambda: split(page, "198.18.1.1", "told").endswith("80 %"))
    page.wait("the traffic", lambda: split(page, "198.18.2.1", "measured").endswith("20 %"))
    page.shot("network-after")


def test_json_is_the_same_policy_and_mistakes_in_it_are_told(
    page: Page, network: Simulation
) -> None:
    policy_of(network, "athens", {"name": "all", "action": {"prefer": ["198.18.1.1"]}})
    page.open("#/policy/athens")
    page.says(".rules", "all", "prefer", "198.18.1.1")
    page.click(".json summary")
    text = page.one("#policy-json")
    assert json.loads(str(text.get_attribute("value")))["rules"][0]["name"] == "all"
    page.write("#policy-json", '{"site": "athens", "rules": [')
    page.says("#policy-json-trouble", "Not yet readable")
    bad = {"name": "all", "action": {"pin": ["10.99.0.1"]}}
    page.run(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
        page.one("#policy-json"),
        json.dumps({"site": "athens", "rules": [bad]}),
    )
    page.click("#preview")
    page.says(".preview", "10.99.0.1", "refused")
    assert not page.all(".apply")[0].is_displayed()


def test_two_operators_do_not_overwrite_each_other(page: Page, network: Simulation) -> None:
    policy_of(network, "athens", {"name": "mine", "action": {"prefer": ["198.18.1.1"]}})
    page.open("#/policy/athens")
    page.says(".rules", "mine")
    page.click("[data-key='Remove mine']")
    page.click("#preview")
    page.says(".preview", "removed")
    policy_of(network, "athens", {"name": "theirs", "action": {"prefer": ["198.18.2.1"]}})
    page.says(".body", "Somebody else changed this policy")
    page.write("#who", "ada")
    page.write("#why", "too late" + Keys.ENTER)
    page.says(".body", "changed by somebody else")
    page.click(".body button:not([hidden])")
    assert rest(network, "GET", "policies/athens")["rules"][0]["name"] == "theirs"


def test_an_earlier_version_comes_back(page: Page, network: Simulation) -> None:
    policy_of(network, "athens", {"name": "first", "action": {"prefer": ["198.18.1.1"]}})
    policy_of(network, "athens", {"name": "second", "action": {"prefer": ["198.18.2.1"]}})
    page.open("#/policy/athens")
    page.says(".rules", "second")
    page.click(".versions li:nth-child(2) button")
    page.write("#ask-who", "ada")
    page.write("#ask-why", "it was better" + Keys.ENTER)
    page.says(".body", "is in force again")
    page.says(".rules", "first")
    assert rest(network, "GET", "policies/athens")["rules"][0]["name"] == "first"


# --- tables --------------------------------------------------------------------------------


def test_the_map_cache_is_searched_and_sorted(page: Page) -> None:
    page.open("#/map-cache")
    page.wait("entries", lambda: len(page.all("tbody tr")) >= 4)
    everything = len(page.all("tbody tr"))
    page.write("input[type=search]", "corinth")
    page.wait("fewer", lambda: 0 < len(page.all("tbody tr")) < everything)
    page.write("input[type=search]", "[42] 10.1.0.7")
    page.wait("the entries that cover it", lambda: "10.1.0.0/24" in page.text("tbody"))
    assert "10.2.0.0" not in page.text("tbody")
    page.write("input[type=search]", Keys.BACKSPACE)
    page.wait("all again", lambda: len(page.all("tbody tr")) == everything)
    page.click("th:first-child .sort")
    page.click("th:first-child .sort")
    names = [cell.text for cell in page.all("tbody td:first-child")]
    assert names == sorted(names, reverse=True)
    assert page.one("th:first-child").get_attribute("aria-sort") == "descending"
    page.shot("map-cache")


def test_a_refusal_is_found_with_what_it_means(page: Page, network: Simulation) -> None:
    network.do("register naxos another-key")
    page.open("#/refusals")
    page.says("tbody", "bad_digest", "authentication data is wrong", "192.0.2.200")
    page.shot("refusals")


def test_events_appear_as_they_happen(page: Page, network: Simulation) -> None:
    page.open("#/events")
    page.says("tbody", "registration.added")
    page.write("input[type=search]", "policy.changed")
    policy_of(network, "berlin", {"name": "seen", "action": {"prefer": ["198.51.100.1"]}}, why="x")
    page.says("tbody", "policy.changed")
    policy_of(network, "berlin")


# --- for everybody -------------------------------------------------------------------------


def test_it_is_used_with_the_keyboard_alone(page: Page) -> None:
    page.open()
    page.one("[data-site=athens]")
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.className") == "skip"
    for number, view in enumerate(VIEWS, 1):
        page.press(str(number))
        page.wait(view, lambda view=view: f"#/{view}" in page.driver.current_url)
    page.press("1")
    page.one("[data-site=athens]")
    page.press("/")
    page.press("berlin")
    page.wait("one site", lambda: len(page.all("[data-site]")) == 1)
    page.press(Keys.TAB, Keys.TAB)
    for _ in range(4):
        if page.run("return document.activeElement.dataset.key") == "site berlin":
            break
        page.press(Keys.TAB)
    page.press(Keys.ENTER)
    page.says(".detail", "berlin")
    assert page.run("return document.activeElement.dataset.key") == "site berlin", "focus stays"
    page.press(Keys.ESCAPE)
    page.wait("closed", lambda: not page.all(".detail h2"))
    page.press("?")
    page.says("#keys", "Keyboard")
    page.press(Keys.ESCAPE)


def test_the_theme_follows_the_system_until_it_is_chosen(page: Page) -> None:
    def ground() -> str:
        return str(page.run("return getComputedStyle(document.body).backgroundColor"))

    page.system_theme("light")
    page.open()
    light = ground()
    page.system_theme("dark")
    dark = ground()
    assert light != dark
    page.one("[data-site=athens]")
    page.shot("network-dark")
    page.press("t")
    assert ground() == light
    page.open()
    assert ground() == light, "it is remembered"
    page.press("tt")
    assert ground() == dark


CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => {
  const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const found = parse(getComputedStyle(at).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const poor = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
  if (element.closest(":disabled, .unseen, svg, .skip, .old")) continue;
  const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${walk.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return poor;
"""

NAMELESS = """
const name = (e) => e.getAttribute("aria-label") || e.innerText?.trim()
  || [...(e.labels ?? [])].map((l) => l.textContent.trim()).join() || e.title;
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
return [
  ...[...document.querySelectorAll("a, button, input, select, textarea")]
    .filter((e) => e.checkVisibility() && !name(e)).map((e) => e.outerHTML.slice(0, 120)),
  ...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `id ${id} twice`),
  ...(document.querySelectorAll("main h1").length === 1 ? [] : ["not one h1"]),
  ...["header", "nav", "main"].filter((tag) => !document.querySelector(tag)),
];
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_can_be_read_named_and_held_in_a_hand(page: Page, theme: str) -> None:
    """Contrast AA, names of controls, and no sideways scrolling at 360 pixels."""
    page.system_theme(theme)
    page.open(width=360, height=740)
    page.run("localStorage.clear(); location.reload()")
    page.one("[data-site=athens]")
    for view in (*VIEWS, "why?from=[42] 10.2.0.1&to=10.1.0.1", "policy/berlin"):
        page.go(f"#/{view}")
        name = view.split("?")[0].split("/")[0]
        page.one(f".view.{name} h1, .view.{name} .figures")
        if "from" in view:
            page.one(".verdict")
        if view in ("map-cache", "registrations", "events"):
            page.one("tbody tr")
        assert page.run(CONTRAST) == [], view
        assert page.run(NAMELESS) == [], view
        wide = page.run("return document.scrollingElement.scrollWidth")
        assert wide <= 360, f"{view}: {wide} pixels"
        page.shot(f"phone-{theme}-{name}")


# --- what must not happen ------------------------------------------------------------------


def test_what_others_write_never_becomes_part_of_the_page(page: Page, network: Simulation) -> None:
    rule = {"name": "r", "note": HOSTILE, "action": {"prefer": ["198.51.100.1"]}}
    policy_of(network, "berlin", rule, why=HOSTILE)
    page.open("#/policy/berlin")
    page.says(".rules", "<img src=x")
    page.says(".history", "<script>")
    page.go("#/events")
    page.says("tbody", "policy.changed")
    page.go(f"#/why?from={HOSTILE}&to=10.1.0.1")
    page.says(".result", "<img")
    assert page.run("return window.broken") is None
    assert not page.all("main img, main script")
    policy_of(network, "berlin")


def test_nothing_comes_from_elsewhere_and_nothing_inline_runs(page: Page) -> None:
    page.open()
    page.one("[data-site=athens]")
    page.run(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1';"
        "document.body.append(s)"
    )
    assert page.run("return window.broken") is None
    names = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert names
    assert all(name.startswith(page.url) for name in names), names
    refused = [text for text in page.complaints() if "Content Security Policy" in text]
    assert len(refused) == 1, "the script above, and nothing of the page itself"


# --- when the controller is away -----------------------------------------------------------


def test_it_says_when_it_is_not_live_and_comes_back_by_itself(
    page: Page, network: Simulation
) -> None:
    page.open()
    page.says("#live", "live")
    page.run("window.same = true")
    network.stop()
    page.says("#stale", "Trying again", timeout=5)
    page.says("#live", "not live")
    page.shot("not-live")
    network.start()
    page.wait("live again", lambda: page.text("#live").strip() == "live", 15)
    assert not page.one("main").find_elements("css selector", "#stale:not([hidden])")
    network.do("send delphi corinth")
    page.wait("news", lambda: page.all("path.link[data-from=delphi]"))
    assert page.run("return window.same"), "without loading the page again"
    for pair in ("berlin athens", "corinth athens", "athens berlin", "delphi berlin"):
        network.do(f"send {pair}")
