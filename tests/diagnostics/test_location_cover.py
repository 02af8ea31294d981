"""Which boxes the locations of a detector that does not match by IoU learn."""

import numpy as np
import pytest

from ioub_jax import detectors
from ioub_jax.configs import defaults
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.diagnostics.anchor_advice import Anchoring
from ioub_jax.diagnostics.location_cover import measure_location_cover, uncovered_finding
from ioub_jax.from_config import loading_parts

# Points of the finest level lie at 4, 12, 20, ... 3 pixels around (8, 8) have none inside, and 3
# around (12, 12) one; the two others are plain objects.
BOXES = np.array([[6.5, 6.5, 9.5, 9.5], [10.5, 10.5, 13.5, 13.5], [20, 20, 60, 70], [0, 0, 96, 96]])


def cover_of(
    family,
    *boxes,
    canvases=((96, 128), (128, 96)),
    sizes=((96, 128), (128, 96)),
    changes=(),
    difficult=False,
):
    config = defaults.of_family(family, "baseline")
    config.update_from_flattened_dict(dict(changes))
    config.data.canvases = canvases
    detector = detectors.create(config, num_classes=1)
    anchoring = Anchoring(
        detector.levels,
        loading_parts.canvases_of(config.data),
        loading_parts.resize_of(config.data),
    )
    examples = [
        create_example(
            some,
            np.zeros(len(some)),
            number,
            difficult=np.full(len(some), difficult and number == 0),
        )
        for number, some in enumerate(boxes)
    ]
    annotations = collect_annotations(examples, np.array(sizes[: len(boxes)]))
    return measure_location_cover(annotations, anchoring, detector.objective)


@pytest.mark.parametrize("family", ["fcos", "atss"])
def test_what_no_point_lies_in_is_learned_by_none(family):
    cover = cover_of(family, BOXES, BOXES[1:])
    assert (cover.all.boxes, cover.all.unreached) == (7, 1)
    assert {name: reach.unreached for name, reach in cover.by_network_size.items()} == {
        "small": 1,
        "medium": 0,
        "large": 0,
    }
    assert str(cover).startswith(
        f"Boxes that no location learns by matcher.name={family}: 14.3% of 7\n"
    )
    (finding,) = uncovered_finding(cover)
    assert (finding.kind, finding.count, finding.must_be_fixed) == ("uncovered_box", 1, False)
    assert "too small" in finding.advice and "data.tiles.size" in finding.advice


@pytest.mark.parametrize(("treated", "boxes"), [("keep", 7), ("ignore", 3), ("drop", 3)])
def test_difficult_objects_that_are_not_learned_are_not_counted(treated, boxes):
    changes = {"matcher.difficult": treated}
    cover = cover_of("atss", BOXES, BOXES[1:], changes=changes, difficult=True)
    assert (cover.all.boxes, cover.all.unreached) == (boxes, int(treated == "keep"))


def test_what_is_long_and_narrow_is_not_advised_to_be_enlarged():
    """320 pixels long: points 32 apart, at 16, 48, ..., none of which is in 26 to 38, across."""
    long = np.array([[26.0, 0.0, 38.0, 320.0]])
    cover = cover_of("fcos", long, canvases=((320, 320),), sizes=((320, 320),))
    assert (cover.all.unreached, cover.too_small) == (1, 0)
    (finding,) = uncovered_finding(cover)
    assert "long and narrow" in finding.advice and "--recipe=atss" in finding.advice
    assert "tiles" not in finding.advice
    # ATSS has candidates on the finest level, of points 8 apart.
    assert cover_of("atss", long, canvases=((320, 320),), sizes=((320, 320),)).all.unreached == 0


def test_tiny_boxes_are_measured_by_the_similarity_that_matches_them():
    """6 pixels in the middle of an anchor of 32: IoU 36 / 1024, NWD exp(-13 sqrt(2) / 60) = .74."""
    tiny = np.array([[1.0, 1.0, 7.0, 7.0]])
    nwd = {"matcher.similarity": "nwd", "matcher.nwd_constant": 60.0}
    cover = cover_of("retinanet", tiny, changes=nwd)
    assert (cover.all.boxes, cover.all.unreached) == (1, 0)
    cover = cover_of("retinanet", tiny, changes={**nwd, "matcher.nwd_constant": 12.8})
    assert cover.all.unreached == 1  # exp(-1.44) = .24, although it is given its best anchor
    assert str(cover).startswith(
        "Boxes that no location learns by matcher.name=iou and matcher.similarity=nwd: 100.0% of 1"
    )
    (finding,) = uncovered_finding(cover)
    assert "Only config.matcher.low_quality gives them an anchor" in finding.advice
    assert "nwd_constant" in finding.advice


def test_few_boxes_without_a_location_are_no_finding():
    plain = np.repeat(BOXES[2:3], 30, axis=0)
    assert uncovered_finding(cover_of("atss", np.concatenate([BOXES[:1], plain]))) == []


def test_no_boxes_at_all():
    cover = cover_of("fcos", np.zeros((0, 4)))
    assert cover.all.boxes == 0
    assert uncovered_finding(cover) == []


def test_of_many_boxes_some_from_all_over_are_looked_at(monkeypatch):
    monkeypatch.setattr("ioub_jax.diagnostics.location_cover._SAMPLE", 4)
    assert cover_of("fcos", np.repeat(BOXES, 3, axis=0)).all.boxes == 4  # every third of 12
