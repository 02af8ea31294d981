"""A small pyramid, ground truth on a grid, and the authors' assignments."""

import pathlib

import hypothesis.extra.numpy as hypothesis_numpy
import hypothesis.strategies as st
import jax
import numpy as np

from ioub_jax.anchors import retinanet_anchors

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "assigners.npz"
IMAGES, SLOTS, CLASSES = 2, 4, 3


def squares(side):
    """Levels of 4 x 4 and 2 x 2 locations of 32 pixels; squares of so many strides."""
    return retinanet_anchors(
        (32, 32),
        strides=(8, 16),
        base_scale=side,
        scales_per_octave=1,
        ratios=(1.0,),
        rounded=False,
    )


def centers_of(anchors):
    return (anchors[:, :2] + anchors[:, 2:]) / 2


def golden(case):
    """What the authors were given and found: `in|NAME` and `out|NAME` of a case."""
    with np.load(_GOLDEN) as file:
        names = [name for name in file.files if name.startswith(f"assign/{case}|")]
        return {name.split("|", 1)[1]: file[name] for name in names}


def split_levels(case, array):
    return tuple(np.split(array, np.cumsum(case["in|level_sizes"])[:-1], axis=-2))


def golden_truth(case):
    """The boxes, labels, and flags of a case, an image of it."""
    labels = case["in|gt_labels"][None]
    valid = np.ones(labels.shape, bool)
    return case["in|gt_boxes"][None], labels, valid, ~valid


def assert_assigned(matches, case):
    """That labels and slots are the authors'."""
    expected = case["out|assigned"]
    np.testing.assert_array_equal(np.asarray(matches.labels[0]) >= 0, expected >= 0)
    np.testing.assert_array_equal(matches.gt_index[0], np.maximum(expected, 0))
    labels = np.where(expected >= 0, case["in|gt_labels"][expected], -1)
    np.testing.assert_array_equal(matches.labels[0], labels)


def grid_boxes():
    """`[IMAGES, SLOTS, 4]` boxes of whole coordinates: many tie, reach outside or have no area."""
    corners = hypothesis_numpy.arrays(
        np.float32, (IMAGES, SLOTS, 2, 2), elements=st.integers(-10, 45)
    )
    return corners.map(lambda array: np.sort(array, axis=-2).reshape(IMAGES, SLOTS, 4))


def flags():
    return hypothesis_numpy.arrays(bool, (IMAGES, SLOTS))


#: Ground truth of two images: padding anywhere, regions to ignore, none at all.
TRUTHS = st.tuples(
    grid_boxes(),
    hypothesis_numpy.arrays(np.int32, (IMAGES, SLOTS), elements=st.integers(0, CLASSES - 1)),
    flags(),
    flags(),
)


def iou_with(anchors, box):
    """IoUs in float64 of `[N, 4]` with a box."""
    anchors, box = np.float64(anchors), np.float64(box)
    low = np.maximum(anchors[:, :2], box[:2])
    high = np.minimum(anchors[:, 2:], box[2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(anchors[:, 2:] - anchors[:, :2], 0), axis=1)
    union = areas + np.prod(box[2:] - box[:2]) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)


def distances_to_edges(anchors, box):
    """`[N, 4]` from the anchors' centers to the edges of a box, positive inside."""
    centers = centers_of(np.float64(anchors))
    return np.concatenate([centers - box[:2], box[2:] - centers], axis=1)


def objects_of(boxes, valid, ignored):
    """The slots of one image that positives are made for."""
    has_area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return np.flatnonzero(valid & ~ignored & has_area)


def background(anchors, boxes, valid, ignored, share=0.5):
    """The labels of one image without positives: -2 where half, or the center, is in a region."""
    labels = np.full(len(anchors), -1)
    for m in np.flatnonzero(valid & ignored):
        low = np.maximum(anchors[:, :2], boxes[m, :2])
        high = np.minimum(anchors[:, 2:], boxes[m, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        labels[shared >= share * np.prod(anchors[:, 2:] - anchors[:, :2], axis=1)] = -2
        labels[(distances_to_edges(anchors, boxes[m]) > 0).all(axis=1)] = -2
    return labels


def assert_equal_to_reference(matches, reference, anchors, truth):
    """That matches are those of `reference(boxes, objects) -> {anchor: (slot, iou)}`.

    Args:
      matches: of all images.
      reference: gives what it assigns in one image, by its index.
      anchors: `[N, 4]`.
      truth: as `TRUTHS`.
    """
    for image in range(IMAGES):
        boxes, labels, valid, ignored = (array[image] for array in truth)
        assigned = reference(image, boxes, objects_of(boxes, valid, ignored))
        expected = background(anchors, boxes, valid, ignored)
        slots, ious = np.zeros(len(anchors), int), np.zeros(len(anchors))
        for n, (slot, iou) in assigned.items():
            expected[n], slots[n], ious[n] = labels[slot], slot, iou
        found = jax.tree.map(lambda array, image=image: np.asarray(array[image]), matches)
        np.testing.assert_array_equal(found.labels, expected)
        np.testing.assert_array_equal(found.gt_index, slots)
        np.testing.assert_allclose(found.iou, ious, rtol=2e-6, atol=1e-7)
