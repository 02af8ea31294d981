"""The site in Chromium, opened from its folder, without a network: `make test-browser`."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import chromium

pytestmark = pytest.mark.browser

ROOT = pathlib.Path(__file__).resolve().parents[2]
NARROW = 400

_LOOK = r"""
const wider = (one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0;
const size = (one) => one.getBoundingClientRect();
const article = document.querySelector("article") ?? document.body;
const prose = article.cloneNode(true);
prose.querySelectorAll("code, pre").forEach((one) => one.remove());
const equations = [...document.querySelectorAll("math")];
return {
  width: document.documentElement.scrollWidth,
  equations: equations.length,
  invisible: equations.filter((one) => !(size(one).width > 0 && size(one).height > 0)).length,
  cut: [...document.querySelectorAll(".equation > *")].filter(
    (one) => size(one).left < 0 || size(one).right > innerWidth).length,
  raw: prose.textContent.match(/\\[()\[\]]|\$\$|\\[A-Za-z]+\{/g) ?? [],
  wide_code: [...document.querySelectorAll("pre, pre code")].filter(wider).length,
};"""


@dataclasses.dataclass
class Seen:
    """What a browser has of a page at the width of a phone."""

    width: int
    equations: int
    invisible: int
    cut: int
    raw: list
    wide_code: int
    addresses: set
    console: list


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, newly built."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]' does it")
    folder = tmp_path_factory.mktemp("site") / "pages"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder


def set_width(driver, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def look_at(driver, page):
    driver.get_log("browser")
    chromium.addresses(driver)
    driver.get(page.as_uri())
    seen = driver.execute_script(_LOOK)
    return Seen(**seen, addresses=chromium.addresses(driver), console=driver.get_log("browser"))


@pytest.fixture(scope="module")
def pages(driver, site):
    """What is seen of every page, by its path."""
    set_width(driver, NARROW)
    # Only servers send a page for what they do not have, with addresses from the root.
    files = [path for path in sorted(site.rglob("*.html")) if path.name != "404.html"]
    return {str(path.relative_to(site)): look_at(driver, path) for path in files}


def test_every_page_is_there(pages):
    sources = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert len(pages) >= len(sources) > 50
    assert {"index.html", "choose.html", "method.html", "results/index.html"} <= set(pages)


def test_nothing_is_fetched(pages):
    outside = {
        name: [address for address in seen.addresses if not address.startswith(("file:", "data:"))]
        for name, seen in pages.items()
    }
    assert {name for name, addresses in outside.items() if addresses} == set()
    assert all(seen.addresses for seen in pages.values())


def test_nothing_fails(pages):
    assert {name: seen.console for name, seen in pages.items() if seen.console} == {}


def test_equations_are_drawn(pages):
    assert {name: seen.raw for name, seen in pages.items() if seen.raw} == {}
    assert [name for name, seen in pages.items() if seen.invisible or seen.cut] == []
    for name in ("method", "assigners"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        blocks, rest = text.count("$$") // 2, text.replace("$$", "")
        inline = len(re.findall(r"\$[^$\n]+\$", re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)))
        assert rest.count("$") == 2 * inline  # each of them is closed in its line
        assert pages[f"{name}.html"].equations == blocks + inline > 5


def test_nothing_needs_scrolling_sideways(pages):
    assert {name: seen.width for name, seen in pages.items() if seen.width > NARROW} == {}
    assert [name for name, seen in pages.items() if seen.wide_code] == []


def test_what_is_wrong_is_seen(driver, tmp_path):
    (tmp_path / "page.html").write_text(
        "<meta charset=utf-8><p>\\(x\\) and $$y$$ <code>\\(z\\)</code></p>"
        "<pre style='overflow:auto'>" + "long " * 99 + "</pre><div style='width:600px'>wide</div>"
        "<div class=equation><math style='margin-left:-9px'><mi>x</mi></math></div><math></math>"
        "<img src='http://127.0.0.1:9/none.png'>",
        encoding="utf-8",
    )
    set_width(driver, NARROW)
    seen = look_at(driver, tmp_path / "page.html")
    assert seen.width > NARROW and seen.wide_code == 1
    assert seen.raw == ["\\(", "\\)", "$$", "$$"]
    assert (seen.equations, seen.invisible, seen.cut) == (2, 1, 1)
    assert "http://127.0.0.1:9/none.png" in seen.addresses and seen.console != []


def test_a_search_leads_to_a_page(driver, site):
    from selenium.webdriver.support.ui import WebDriverWait

    set_width(driver, 1300)
    driver.get((site / "index.html").as_uri())
    driver.find_element("css selector", ".md-search__input").send_keys("normalizer")
    links = ".md-search-result__link"
    WebDriverWait(driver, 30).until(lambda one: one.find_elements("css selector", links))
    found = [one.get_attribute("href") for one in driver.find_elements("css selector", links)]
    assert any("/method.html" in address for address in found)
    driver.get(next(address for address in found if "/method.html" in address))
    assert driver.find_element("css selector", "h1").text.startswith("The method")


def test_a_copied_command_is_as_it_was_written(driver, site):
    from selenium.webdriver.support.ui import WebDriverWait

    set_width(driver, NARROW)  # where it has several lines
    driver.get((site / "choose.html").as_uri())
    driver.execute_script(
        "addEventListener('copy', () => { window.copied = document.activeElement.value; })"
    )
    button = ".highlight [data-clipboard-target]"  # which a script makes
    WebDriverWait(driver, 30).until(lambda one: one.find_elements("css selector", button))
    driver.execute_script(
        "arguments[0].scrollIntoView({block: 'center'})",
        driver.find_element("css selector", button),
    )
    driver.find_element("css selector", button).click()
    assert WebDriverWait(driver, 30).until(
        lambda one: one.execute_script("return window.copied")
    ) == (
        "python -m experiments.check_data --data=PATH --write_config=mine.py\n"
        "python -m experiments.train --config=mine.py --workdir=runs/mine"
    )


def test_light_and_dark(driver, site):
    for scheme, is_light in (("light", True), ("dark", False)):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        driver.get((site / "method.html").as_uri())
        driver.execute_script("localStorage.clear()")  # what was chosen before
        driver.get((site / "method.html").as_uri())
        color = driver.find_element("css selector", "body").value_of_css_property(
            "background-color"
        )
        red = int(re.findall(r"\d+", color)[0])
        assert (red > 200) is is_light and (red < 100) is not is_light
