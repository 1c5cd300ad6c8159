"""The page before a network of two hundred sites that asks for a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")

from browsing import Page, Simulation
from selenium.webdriver.common.keys import Keys

SITES = 200
OWN = 60
"""Sites with an xTR of ours; the others are behind other routers."""

READER, OPERATOR = "reader-0123456789", "operator-0123456789"


def config() -> str:
    """Every site has two uplinks and one EID-prefix."""
    sites, xtrs = [], []
    for number in range(SITES):
        a, b = divmod(number, 100)
        sites.append(
            f"  - {{name: site-{number:03}, authentication_keys: [{{key: key-{number}}}], "
            f"proxy_reply: true, eid_prefixes: [{{prefix: 10.{a}.{b}.0/24, iid: 7}}]}}"
        )
        if number >= OWN:
            continue
        xtrs.append(
            f"  - {{name: site-{number:03}, site: site-{number:03}, datapath_id: {number + 1}, "
            f"rlocs: [{{rloc: 198.18.{a}.{b + 1}}}, {{rloc: 198.19.{a}.{b + 1}}}], "
            f"eid_ports: [{{name: p1, iid: 7, gateways: [10.{a}.{b}.254/24]}}]}}"
        )
    tokens = (
        f"rest: {{tokens: [{{name: look, token: {READER}}}, "
        f"{{name: noc, token: {OPERATOR}, role: operator}}]}}"
    )
    return "\n".join([tokens, "sites:", *sites, "xtrs:", *xtrs])


@pytest.fixture(scope="module")
def crowd(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    """Some sites send to the first one."""
    file: Path = tmp_path_factory.mktemp("web") / "crowd.yaml"
    file.write_text(config())
    made = Simulation(file)
    for number in range(1, 6):
        made.do(f"send site-{number:03} site-000")
    yield made
    made.stop()


@pytest.fixture
def page(browser: Any, crowd: Simulation) -> Iterator[Page]:
    found = Page(browser, crowd.url)
    found.complaints()
    yield found
    assert found.complaints() == []
    browser.get("about:blank")


def arrive(page: Page, fragment: str, **size: int) -> None:
    """Open the page in a new tab, as it were: it knows no token."""
    page.open(fragment, **size)
    page.run("sessionStorage.clear(); location.reload()")
    page.one("#token-input")


def enter(page: Page, token: str, fragment: str = "#/network", **size: int) -> None:
    """Open the page and give the token."""
    arrive(page, fragment, **size)
    page.write("#token-input", token + Keys.ENTER)
    page.wait("to be let in", lambda: not page.all("#token[open]"))


def test_it_asks_for_a_token_and_keeps_it_to_itself(page: Page) -> None:
    arrive(page, "#/network")
    page.write("#token-input", "not-the-right-token" + Keys.ENTER)
    page.says("#token", "does not know that token")
    page.shot("token")
    page.write("#token-input", READER + Keys.ENTER)
    page.one("[data-site=site-000]")
    page.says("#live", "live")
    assert READER not in page.driver.current_url
    names = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert not [name for name in names if READER in name or "token" in name]
    assert page.run("return JSON.stringify(localStorage)").find(READER) < 0
    page.run("location.reload()")
    page.one("[data-site=site-000]")
    assert not page.all("#token[open]"), "asked once for a tab"


def test_a_token_that_may_only_look_is_told_so(page: Page) -> None:
    enter(page, READER, "#/policy/site-000")
    page.click("#first-rule:enabled")
    page.click("#preview:enabled")
    page.says(".preview", "added", "split")
    page.write("#who", "eve")
    page.write("#why", "why not" + Keys.ENTER)
    page.says(".body", "does not allow this", "look may only look")


def test_an_operator_drains_an_uplink_before_maintenance(page: Page) -> None:
    enter(page, OPERATOR, "#/network?site=site-000")
    page.click("[data-key='drain 198.18.0.1']")
    page.says("[data-rloc='198.18.0.1']", "drained")
    page.wait(
        "no new flow",
        lambda: page.text("[data-rloc='198.18.0.1'] .told .value").split()[-2:] == ["0", "%"],
    )
    drained = page.run("return document.getElementById('announce').textContent")
    assert "198.18.0.1 is drained" in drained
    page.click("[data-key='drain 198.18.0.1']")
    page.says("[data-rloc='198.18.0.1']", "up")


def test_two_hundred_sites_are_lines_until_one_is_chosen(page: Page, crowd: Simulation) -> None:
    enter(page, OPERATOR)
    page.one("[data-site=site-000]")
    assert len(page.all(".site.compact")) == 80
    page.click("[data-site=site-000] .name")
    page.says(".detail", "Who sends to it", "site-005")
    page.shot("crowd")
    page.press("/")
    page.press("site-177")
    page.wait("one site", lambda: len(page.all("[data-site]")) == 1)
    page.says("[data-site=site-177]", "[7] 10.1.77.0/24", "198.51.102.98")
    page.write("input[type=search]", "10.1.9")
    page.wait("eleven sites", lambda: len(page.all("[data-site]")) == 11)
    page.write("input[type=search]", Keys.BACKSPACE)
    page.click(".view > .row button")
    page.wait("all sites", lambda: len(page.all("[data-site]")) == SITES)
    crowd.do("down 198.18.0.50")
    page.says("[data-site=site-049]", "unreachable")
    page.click(".check input")
    page.wait("the one with a problem", lambda: len(page.all("[data-site]")) == 1)
    page.says("[data-site=site-049]", "unreachable")
    crowd.do("up 198.18.0.50")


def test_a_hand_held_screen_holds_them_too(page: Page) -> None:
    enter(page, OPERATOR, width=360, height=740)
    page.one("[data-site=site-000]")
    page.click("[data-site=site-001] .name")
    page.says(".detail", "site-001")
    assert page.run("return document.scrollingElement.scrollWidth") <= 360
    page.shot("phone-crowd")


def test_long_lists_come_in_pages_and_are_searched_to_their_end(page: Page) -> None:
    enter(page, READER, "#/registrations")
    page.wait("a page", lambda: len(page.all("tbody tr")) == 100)
    page.says(".foot", "100 entries so far")
    page.click("[data-key=more]")
    page.wait("all", lambda: len(page.all("tbody tr")) == SITES)
    page.says(".foot", "200 entries")
    page.write("input[type=search]", "198.51.102.140")
    page.wait("one of the last page", lambda: len(page.all("tbody tr")) == 1)
    page.says("tbody", "site-198")
    page.go("#/map-cache?xtr=site-003")
    page.says("tbody", "site-003", "[7] 10.0.0.0/24")
