"""A browser and what a user does with it; a simulated network for it to look at."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

HERE = Path(__file__).resolve().parent
ARTEFACTS = HERE.parents[1] / "artefacts" / "web"
PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}

T = TypeVar("T")


def unavailable() -> str | None:
    """Why no browser can run here; None when one can."""
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    return "missing Debian packages: " + " ".join(missing) if missing else None


def start_browser() -> webdriver.Chrome:
    """Chromium without a screen. The driver is Debian's; none is ever fetched."""
    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(shutil.which("chromedriver"))
    return webdriver.Chrome(service=service, options=options)


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Simulation:
    """The process of simulated.py."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        """Also after `stop`, on the same port."""
        command = [sys.executable, "-W", "ignore", str(HERE / "simulated.py")]
        self.process = subprocess.Popen(
            [*command, str(self.config), str(self.port), "--traffic"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("ready")

    def do(self, command: str) -> None:
        """A line of its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self._expect("done")

    def stop(self) -> None:
        """It and its connections are gone."""
        self.process.kill()
        self.process.communicate()

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == word, f"{line!r} instead of {word!r}; exit {self.process.poll()}"


class Page:
    """The page in the browser. Everything waits until it is there, with a deadline."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, fragment: str = "#/network", *, width: int = 1360, height: int = 900) -> None:
        """As if the address was typed into a new tab."""
        self.size(width, height)
        self.driver.get("about:blank")
        self.driver.get(self.url + fragment)

    def go(self, fragment: str) -> None:
        """Another view of the open page."""
        self.run("location.hash = arguments[0]", fragment)

    def size(self, width: int, height: int) -> None:
        """Of the window, in pixels; below 500 it is a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def system_theme(self, name: str) -> None:
        """What the system of the user prefers: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        """JavaScript in the page."""
        return self.driver.execute_script(script, *arguments)

    def all(self, css: str) -> list[WebElement]:
        """What fits now."""
        return list(self.driver.find_elements(By.CSS_SELECTOR, css))

    def wait(self, what: str, probe: Callable[[], T], timeout: float = 8.0) -> T:
        """Until the probe returns something true."""
        deadline = time.monotonic() + timeout
        last: object = None
        while True:
            try:
                last = probe()
                if last:
                    return last
            except (StaleElementReferenceException, WebDriverException, IndexError) as error:
                last = error
            if time.monotonic() > deadline:
                self.shot("failed")
                seen = self.text()[:800]
                raise AssertionError(f"waited {timeout:g} s for {what}: {last!r}; page: {seen}")
            time.sleep(0.05)

    def one(self, css: str, timeout: float = 8.0) -> WebElement:
        """The first that fits and can be seen."""
        return self.wait(
            css, lambda: next((e for e in self.all(css) if e.is_displayed()), None), timeout
        )

    def click(self, css: str) -> None:
        """As with a mouse; the page may draw itself anew meanwhile."""

        def attempt() -> bool:
            element = self.one(css)
            self.run("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.wait(f"a click on {css}", attempt)

    def write(self, css: str, text: str) -> None:
        """Into a field, instead of what is in it."""
        field = self.one(css)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        """On the keyboard, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def text(self, css: str = "body") -> str:
        """What can be read there."""
        found = self.run("return document.querySelector(arguments[0])?.innerText", css)
        return str(found or "")

    def says(self, css: str, *words: str, timeout: float = 8.0) -> str:
        """Waits until all the words can be read there."""

        def read() -> str | None:
            text = self.text(css)
            return text if all(word in text for word in words) else None

        return self.wait(f"{words} in {css}", read, timeout)

    def shot(self, name: str) -> None:
        """A picture for people, among the artefacts."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(ARTEFACTS / f"{name}.png"))

    def complaints(self) -> list[str]:
        """What the browser found wrong; statuses that the page handles are left out."""
        entries = self.driver.get_log("browser")
        expected = ("status of 4", "ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY")
        return [
            str(entry["message"])
            for entry in entries
            if entry["level"] == "SEVERE" and not any(word in entry["message"] for word in expected)
        ]
