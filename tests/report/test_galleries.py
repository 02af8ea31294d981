import pytest

from ioub_jax.report import galleries
from ioub_jax.report.measurement import measure
from tests.evaluation.small_data import annotation, data_set, detection


@pytest.fixture(scope="module")
def shown():
    """Ten cells and ten cats, each found at .9; then errors of each kind, also above .5."""
    truth, found = [], []
    for number in range(10):
        for label in (1, 2):
            box = [30 * number, 100 * label, 20, 20]
            truth.append(annotation(1, box, label))
            found.append(detection(1, box, 0.9, label))
    boxes = {2: [0, 0, 20, 20], 3: [100, 0, 40, 40]}
    truth += [annotation(image, box, 1) for image, box in boxes.items()]
    found += [
        detection(2, [0, 0, 20, 8], 0.95, 1),  # IoU .4
        detection(2, [300, 300, 5, 5], 0.94, 2),  # of the background, twice in one image
        detection(2, [400, 300, 5, 5], 0.93, 2),
        detection(3, [300, 300, 5, 5], 0.92, 2),
        detection(3, [100, 0, 40, 40], 0.91, 2),  # a cell taken for a cat
        detection(1, [0, 100, 20, 18], 0.9, 1),  # a duplicate, IoU .9
        detection(2, [0, 0, 20, 20], 0.1, 1),  # true, below what is kept, since these are false:
        *(detection(4, [50 * k, 0, 9, 9], 0.3, 1) for k in range(3)),
    ]
    measured = measure(data_set(truth, images=(1, 2, 3, 4)), found, resamplings=0)
    return measured, {gallery.name: gallery for gallery in galleries.galleries_of(measured, 2)}


def test_the_worst_cost_most(shown):
    measured, found = shown
    # Image 1: a duplicate; image 2: 3 false, 1 missed; image 3: 2 false, 1 missed; 4 is empty.
    assert measured.image_errors.cost.tolist() == pytest.approx([1, 4, 3, 0], abs=0.01)
    assert [picture.image for picture in found["worst"].pictures] == [1, 2, 0]
    assert [picture.image for picture in found["best"].pictures] == [0]


def test_false_detections_are_by_kind_one_an_image(shown):
    _, found = shown
    assert [p.detection for p in found["false-background"].pictures] == [21, 23]
    assert [p.detection for p in found["false-misplaced"].pictures] == [20]
    assert [p.detection for p in found["false-confused"].pictures] == [24]
    assert [p.detection for p in found["false-duplicate"].pictures] == [25]
    assert found["false-both"].pictures == ()
    confused = found["false-confused"].pictures[0]
    assert confused.classes == (0, 1) and confused.box == 21
    assert "cat" in confused.caption and "with " in confused.caption
    assert found["false-background"].text.startswith("3 detections of nothing")


def test_missed_objects_are_by_size_with_the_reason(shown):
    _, found = shown
    # All sides are 20, but for one of 40 that is in the group above.
    missed = [gallery for name, gallery in found.items() if name.startswith("missed")]
    captions = [picture.caption for gallery in missed for picture in gallery.pictures]
    assert len(captions) == 2
    assert "found with a score of 0.10, below" in captions[0]
    assert "40 x 40 px: taken for" in captions[1]


def test_classes_take_turns():
    boxes, classes = galleries.np.arange(6), galleries.np.array([0, 0, 0, 0, 1, 2])
    chosen = galleries._of_each_class(boxes, classes)
    assert sorted(classes[chosen[:3]].tolist()) == [0, 1, 2]
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4, 5]
    again = galleries._of_each_class(boxes, classes)
    assert chosen.tolist() == again.tolist()
