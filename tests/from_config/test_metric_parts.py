import ml_collections
import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import CocoMetric, VocMetric
from ioub_jax.from_config.metric_parts import metrics_of


def evaluation(names, backend="faster_coco_eval"):
    return ml_collections.ConfigDict({"metrics": names, "backend": backend})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("coco",), (CocoMetric("pycocotools"),)),
        (("voc",), (VocMetric(),)),
        (("voc", "coco"), (VocMetric(), CocoMetric("pycocotools"))),
    ],
)
def test_names_become_metrics_in_their_order(names, expected):
    assert metrics_of(evaluation(names, "pycocotools")) == expected


@pytest.mark.parametrize("names", [(), ("COCO",), ("voc", "voc"), ("coco", "lvis")])
def test_unknown_metrics_are_refused(names):
    with pytest.raises(ConfigError) as error:
        metrics_of(evaluation(names))
    assert str(error.value) == (
        f"evaluation.metrics is {names!r}; it must name 'coco', 'voc' or both, first the one whose "
        "AP picks the best checkpoint."
    )
