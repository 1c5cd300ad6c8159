"""The web page before real Open vSwitch: why A reaches B, another split, an uplink that fails."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labrun import in_namespace
from multihomed_lab import UP1, UP2, Lab, Stream

sys.path.append(str(Path(__file__).resolve().parents[1] / "web"))

pytest.importorskip("selenium")

from browsing import Page, start_browser, unavailable
from selenium.webdriver.common.keys import Keys

FLOWS = 400
"""Enough for weights to show in shares; a flow stays on its uplink."""

POINTS = 8
"""By how many points a measured share may miss its weight: flows are not divisible."""


class Door:
    """A port of this host that leads to REST in the controller's namespace."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                outside, _ = self._listener.accept()
                with in_namespace(self._pid):
                    inside = socket.create_connection(("127.0.0.1", 8080))
                for pair in ((outside, inside), (inside, outside)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, destination: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                destination.sendall(data)
        for end in (source, destination):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def lab(_lab_possible: None, cannot_run: Any) -> Iterator[Lab]:
    reason = unavailable()
    if reason:
        cannot_run(reason)
    with Lab() as made:
        made.warm("b1", "c1")
        yield made


@pytest.fixture
def page(lab: Lab) -> Iterator[Page]:
    driver = start_browser()
    door = Door(lab.net.ctl.pid)
    try:
        found = Page(driver, door.url)
        yield found
        assert found.complaints() == []
    finally:
        driver.quit()
        door.close()


def share(page: Page, rloc: str, kind: str) -> int:
    """Percent, as the picture shows it; -1 while it shows none."""
    found = re.search(r"(\d+) %", page.text(f"[data-rloc='{rloc}'] .{kind} .value"))
    return int(found[1]) if found else -1


def near(page: Page, rloc: str, wanted: int) -> bool:
    return abs(share(page, rloc, "measured") - wanted) <= POINTS


def line(page: Page, rloc: str) -> list[str]:
    return str(page.one(f"path[data-line='{rloc}']").get_attribute("class")).split()


def test_a_user_finds_why_changes_the_split_and_sees_the_picture_change(
    lab: Lab, page: Page
) -> None:
    with Stream(lab, "b1", interval=1.0, flows=FLOWS):
        page.open()
        page.wait("both uplinks", lambda: "up" in line(page, UP1) and "up" in line(page, UP2))
        assert (share(page, UP1, "told"), share(page, UP2, "told")) == (50, 50)
        page.click("[data-key='eid berlin [42] 10.2.0.0/24']")
        page.click("[data-key='eid athens [42] 10.1.0.0/24']")
        page.says(".verdict", "Delivered", "xTR berlin", "xTR athens")
        page.says(".steps", "one of those that the switch's hash spreads flows over")
        page.shot("lab-why")

        page.press("3")
        page.click("[data-key='policy athens']")
        page.click("#first-rule:enabled")
        page.write("#weight-split-0", "80")
        page.write("#weight-split-1", "20")
        page.click("#preview")
        page.says(".preview", "xTR berlin", "50 %", "80 %")
        page.write("#who", "lab")
        page.write("#why", "uplink 1 is cheaper" + Keys.ENTER)
        page.says(".body", "In force")

        page.press("1")
        page.wait("the policy in the picture", lambda: share(page, UP1, "told") == 80, 3)
        page.wait("the traffic in the picture", lambda: near(page, UP1, 80), 30)
        assert near(page, UP2, 20)
        page.shot("lab-after")

        lab.net.cut("athens", 2)
        try:
            page.wait("the line to be red", lambda: "down" in line(page, UP2))
            page.says("[data-site=athens]", "unreachable")
            page.wait("all traffic by the other", lambda: share(page, UP1, "told") == 100)
            page.shot("lab-down")
        finally:
            lab.net.mend("athens", 2)
