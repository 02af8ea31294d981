"""Chromium, headless and driven by WebDriver, for the tests that `make test-browser` runs."""

import json
import shutil

import pytest


def start(folder):
    """A browser of our own, which knows nothing and gets nothing from outside; `quit` ends it."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: make test-browser does it"
    )
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    service = shutil.which("chromedriver")
    if browser is None or service is None:
        pytest.skip(
            "Chromium or chromedriver is not on PATH: apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage",
        "disable-background-networking", f"user-data-dir={folder}", "window-size=1300,1000",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(service))


def addresses(driver):
    """What pages asked for since the last call; not the browser's own first tab."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {one["request"]["url"] for one in sent if one["documentURL"].startswith("file:")}
