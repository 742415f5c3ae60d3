"""A headless Chromium, driven by selenium, for tests of the mock server's pages.

Without Chromium and its driver these tests are skipped by name. No name of a host but this machine's can be looked up,
so that a page that loads something from elsewhere fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SECONDS = 30  # that a page may take to show something on a busy machine
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--lang=en-US",
    "--disable-background-networking", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "LANGUAGE": "en", "TZ": "Europe/Prague"}  # a file's name may have any letter

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)",
    ),
]

T = TypeVar("T")


class Browser:
    """A window of Chromium."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Open a page in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")  # ends the page before, whose messages go
        self.errors()
        self.driver.get(url)

    def find(self, selector: str) -> WebElement:
        """Return the first element of a CSS selector, waiting for it."""
        return self.until(lambda: next(iter(self.all(selector)), None))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def type(self, selector: str, text: str) -> None:
        """Replace the text of an input and leave it, as a user does with the Tab key."""
        self.find(selector).send_keys(Keys.CONTROL + "a", Keys.NULL, text or Keys.DELETE, Keys.TAB)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select."""
        self.find(f'{selector} option[value="{value}"]').click()

    def until(self, condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
        """Return what `condition` returns once it is true."""
        wait = WebDriverWait(self.driver, seconds, 0.1, ignored_exceptions=[StaleElementReferenceException])
        return wait.until(lambda _: condition())  # type: ignore[return-value]

    def errors(self) -> list[str]:
        """Return the messages of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def foreign_addresses(self, origin: str) -> list[str]:
        """Return the addresses of everything that the page loaded from elsewhere."""
        loaded: list[str] = self.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        return [address for address in loaded if not address.startswith((origin, "blob:", "data:"))]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        width: int = self.run("return document.documentElement.scrollWidth - innerWidth")
        return width


@contextmanager
def open_browser(downloads: str | None = None) -> Iterator[Browser]:
    """Start Chromium; it ends with the block."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": downloads})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, env={**os.environ, **_ENVIRONMENT}))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
