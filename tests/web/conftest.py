"""One browser for the session; a simulated network for each module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def browser(cannot_run: Callable[[str], NoReturn]) -> Iterator[Any]:
    """Headless Chromium; skips, or fails where CI=true, when there is none."""
    from browsing import start_browser, unavailable

    reason = unavailable()
    if reason:
        cannot_run(reason)
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def network(browser: Any) -> Iterator[Any]:
    """The five sites of few.yaml, some of which talk to each other."""
    from browsing import Simulation

    made = Simulation(HERE / "few.yaml")
    for pair in ("berlin athens", "corinth athens", "athens berlin", "delphi berlin"):
        made.do(f"send {pair}")
    yield made
    made.stop()


@pytest.fixture
def page(browser: Any, network: Any) -> Iterator[Any]:
    """The page of `network`, closed again; the browser has nothing to complain of."""
    from browsing import Page

    found = Page(browser, network.url)
    found.complaints()
    yield found
    found.system_theme("light")
    assert found.complaints() == []
    browser.get("about:blank")
