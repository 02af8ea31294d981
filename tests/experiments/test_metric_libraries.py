"""The table of docs/evaluation.md is that of the stored run, and our column is made anew."""

import json

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.benchmark import metric_libraries, metric_sets
from ioub_jax.errors import ConfigError
from tests import tiny

STORED = tiny.ROOT / "docs" / "results" / "metric_libraries.json"


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())


def test_the_page_has_the_table_of_the_stored_run(stored):
    page = (tiny.ROOT / "docs" / "evaluation.md").read_text()
    assert "\n".join(metric_libraries.table(stored["versions"], stored["sets"])) in page
    versions = dict(package.split("==") for package in metric_libraries.PACKAGES)
    del stored["versions"]["ours"], versions["torch"], versions["torchvision"], versions["numpy"]
    assert stored["versions"] == versions


@pytest.mark.parametrize("name", metric_sets.made_sets())
def test_our_column(stored, name):
    ours = metric_libraries.our_numbers(*metric_sets.made_sets()[name])
    assert ours == pytest.approx(stored["sets"][name]["ours"], abs=1e-12)
    assert ours == pytest.approx(stored["sets"][name]["pycocotools"], abs=1e-12)


def test_our_column_of_real_detections(stored, shared_data):
    folder = shared_data / "coco_mini" / "annotations"
    truth = json.loads((folder / "instances_val2017.json").read_text())
    found = json.loads((folder / "ssdlite_mobilenet_v2_val2017_dets.json").read_text())
    numbers = stored["sets"][metric_libraries.REAL]
    ours = metric_libraries.our_numbers(truth, found)
    assert ours == pytest.approx(numbers["ours"], abs=1e-12)
    assert ours == pytest.approx(numbers["pycocotools"], abs=1e-12)


def test_a_number_that_is_not_pycocotools_is_bold():
    sets = {"a": {"pycocotools": [0.5, 0.6], "x": [0.25, 0.6]}}
    sets[metric_libraries.REAL] = {"pycocotools": [0.5, 0.6], "x": [0.5, 0.61]}
    assert metric_libraries.table({"pycocotools": "2", "x": "1"}, sets)[2:] == [
        "| a | 0.5000 | **0.2500** |",
        "| real detections, AP | 0.5000 | 0.5000 |",
        "| real detections, AP50 | 0.6000 | **0.6100** |",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ground_truth": "a.json"}, "go together"),
        ({"ground_truth": "a", "results": "b"}, "--ground_truth=a"),
    ],
)
def test_real_detections_take_both_files(given, words):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**given), pytest.raises(ConfigError, match=words):
        metric_libraries.check_libraries()
