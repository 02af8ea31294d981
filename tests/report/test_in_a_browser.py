"""The page in Chromium, headless and driven by WebDriver: `make test-browser`."""

import cv2
import numpy as np
import pytest

from ioub_jax.report import page, run_pairs
from ioub_jax.report.image_readers import FolderImages
from ioub_jax.report.measurement import measure
from tests import chromium
from tests.evaluation.small_data import annotation, detection

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=window.harmed=1>\"'\x07\u202e</script>"
NAMES = ("cat", "wildcat", EVIL, "n" * 500)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A report of four classes with 1, 2, 3 and 0 of 4 objects found, and another run's."""
    folder = tmp_path_factory.mktemp("page")
    truth, found = [], []
    for image in range(1, 5):
        pixels = np.full((120, 160, 3), (40 * image, 90, 30), np.uint8)  # blue is told apart
        cv2.imwrite(str(folder / f"{image}.png"), pixels)
        for label in range(4):
            box = [10 + 35 * label, 10 + 15 * label, 30, 40]
            truth.append(annotation(image, box, label + 1))
            if image <= label + 1 < 4:
                found.append(detection(image, box, 0.9 - 0.1 * label, label + 1))
    found += [detection(1, [5, 90, 20, 20], 0.95, 1), detection(2, truth[4]["bbox"], 0.85, 2)]
    size = {"width": 160, "height": 120}
    ground_truth = {
        "images": [{"id": k, "file_name": f"{k}.png", **size} for k in range(1, 5)],
        "annotations": truth,
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)],
    }
    measured = measure(ground_truth, found, EVIL, resamplings=10)
    other = measure(ground_truth, found[1:4], "other", resamplings=10)
    reader = FolderImages(folder, measured.images)
    made = page.make_page(measured, reader, run_pairs.compare_runs(measured, other))
    assert made.problems == ()
    (folder / "report.html").write_text(made.text, encoding="utf-8")
    return folder / "report.html"


@pytest.fixture
def opened(driver, file):
    """The browser with the page newly opened."""
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get(file.as_uri())
    driver.execute_script("localStorage.clear()")
    yield driver
    assert driver.get_log("browser") == []  # no error, whatever was done


def one(driver, selector):
    return driver.find_element("css selector", selector)


def shown(driver, selector):
    """The texts of the elements that can be seen."""
    script = """return [...document.querySelectorAll(arguments[0])]
        .filter((one) => one.getClientRects().length).map((one) => one.textContent)"""
    return driver.execute_script(script, selector)


def press(driver, key):
    driver.switch_to.active_element.send_keys(key)


def test_nothing_is_fetched_and_nothing_fails(opened):
    addresses = chromium.addresses(opened)
    assert any(address.startswith("file:") for address in addresses)
    assert {address.partition(":")[0] for address in addresses} <= {"file", "data"}
    assert opened.execute_script("return document.scripts.length") == 1


def test_a_table_sorts_by_a_click_and_by_a_key(opened):
    from selenium.webdriver.common.keys import Keys

    column = "#of-classes tbody tr > :nth-child(3)"
    heading = one(opened, "#of-classes thead th:nth-child(3)")
    before = shown(opened, column)
    assert heading.get_attribute("aria-sort") == "none"
    one(opened, "#of-classes thead th:nth-child(3) button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    first, *rest = shown(opened, column)
    assert first == before[0]  # that of all classes stays
    assert rest == sorted(before[1:], reverse=True) and rest != before[1:]
    press(opened, Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert shown(opened, column)[1:] == rest[::-1]
    # What does not exist is last either way: the fourth class has no threshold.
    for direction in ("descending", "ascending"):
        one(opened, "#of-classes thead th:nth-child(6) button").click()
        heading = one(opened, "#of-classes thead th:nth-child(6)")
        assert heading.get_attribute("aria-sort") == direction
        assert shown(opened, "#of-classes tbody tr > :nth-child(6)")[-1] == "\u2013"
    one(opened, "#of-classes thead th:nth-child(1) button").click()
    assert shown(opened, "#of-classes tbody tr > :nth-child(1)")[2:4] == ["cat", "n" * 39 + "…"]


def test_the_filter_leaves_the_classes_that_it_names(opened):
    field = one(opened, "#class-filter")
    rows = "#of-classes tbody tr > :first-child"
    assert len(shown(opened, rows)) == 5
    field.send_keys("CAT")  # all of a name, in letters of any size: not the wildcat
    assert shown(opened, rows) == ["all classes", "cat"]
    assert one(opened, "#class-shown").text == "1 of 4 classes"
    field.clear()
    field.send_keys("at")  # a part of two
    assert shown(opened, rows) == ["all classes", "cat", "wildcat"]
    field.clear()
    field.send_keys("dog")
    assert shown(opened, rows) == ["all classes"]
    assert shown(opened, ".pictures li") == []
    assert one(opened, "#class-shown").text == "0 of 4 classes"
    field.clear()
    field.send_keys(" ")
    assert len(shown(opened, rows)) == 5


def test_names_are_shown_as_text(opened):
    escaped = "<img src=x onerror=window.harmed=1>\"'\\x07\\u202e</script>"
    names = opened.execute_script(
        "return [...document.querySelectorAll('#of-classes .name')].map((one) => one.title)"
    )
    assert escaped in names and NAMES[3] in names  # long ones are shortened, and told as wholes
    assert escaped in one(opened, "h1").text
    assert opened.execute_script("return window.harmed ?? document.images.length") == 0


def test_a_picture_is_enlarged_by_keys(opened):
    from selenium.webdriver.common.keys import Keys

    viewer = one(opened, "#viewer")
    thumb = one(opened, "#worst .thumb")
    opened.execute_script("arguments[0].focus()", thumb)
    press(opened, Keys.ENTER)
    assert viewer.get_attribute("open") is not None
    title = one(opened, "#viewer-title").text
    boxes = shown(opened, "#viewer-boxes button")
    assert title.startswith("4.png")  # of which nothing is found but the third class
    assert [text for text in boxes if text.startswith("object, missed")] != []
    assert len(boxes) == len(shown(opened, ".enlarged .b"))
    press(opened, Keys.ARROW_RIGHT)
    assert one(opened, "#viewer-title").text != title
    press(opened, Keys.ARROW_LEFT)
    assert one(opened, "#viewer-title").text == title
    one(opened, ".kinds input[data-kind=missed]").click()
    assert shown(opened, ".enlarged .k-missed") == []
    one(opened, "#show-names").click()
    assert shown(opened, ".enlarged .b text") == []
    press(opened, Keys.ESCAPE)
    assert viewer.get_attribute("open") is None
    assert opened.switch_to.active_element == thumb


def test_pictures_have_the_pixels_of_their_images(opened):
    thumb = one(opened, "#worst .thumb")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", thumb)
    seen = cv2.imdecode(np.frombuffer(thumb.screenshot_as_png, np.uint8), cv2.IMREAD_COLOR)
    # The worst is the fourth image, whose blue is 160; boxes hide some of it.
    middle = np.median(seen.reshape(-1, 3), axis=0)
    np.testing.assert_allclose(middle, [160, 90, 30], atol=12)


def test_light_and_dark(opened):
    def background():
        color = one(opened, "body").value_of_css_property("background-color")
        return sum(map(int, color.removeprefix("rgba(").removeprefix("rgb(").split(",")[:2]))

    def prefer(scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    prefer("light")
    assert background() > 400
    prefer("dark")
    assert background() < 100
    one(opened, "#theme").click()
    assert background() > 400
    opened.refresh()  # it is kept
    assert background() > 400
    assert one(opened, "#theme").get_attribute("aria-pressed") == "false"
    prefer("")
