import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax.data.tiling import Tiling
from ioub_jax.tile_merging import COVERED, Found, merge

# Two tiles of 64 pixels that share 32 of an image 96 wide.
WINDOWS = np.array([[0, 0, 64, 64], [32, 0, 96, 64]])
SIZE = (64, 96)


def found(*rows):
    """Detections of (box, score, label)."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int32),
    )


def merged(*tiles, windows=WINDOWS, size=SIZE, nms_iou=0.5, max_detections=10, zoom=1.0):
    result = merge(tiles, windows, size, nms_iou=nms_iou, max_detections=max_detections, zoom=zoom)
    return [
        (box, round(score, 3), label)
        for box, score, label in zip(*(part.tolist() for part in result), strict=True)
    ]


def test_what_both_tiles_see_is_found_once():
    # In the image from 40 to 60; the second tile begins at 32.
    one, other = found(([40, 9, 60, 29], 0.7, 0)), found(([8, 9, 28, 29], 0.8, 0))
    assert merged(one, other) == [([40, 9, 60, 29], 0.8, 0)]
    assert merged(found(([40, 9, 60, 29], 0.7, 0)), found(([8, 9, 28, 29], 0.8, 1))) == [
        ([40, 9, 60, 29], 0.8, 1),
        ([40, 9, 60, 29], 0.7, 0),
    ]


def test_a_part_never_takes_the_place_of_the_whole():
    # The object is from 50 to 80: the first tile shows 14 of its 30 pixels, up to its border at 64,
    # with the higher score. Their IoU is 14 / 30, below .5, and all of the part is covered.
    part, whole = found(([50, 9, 64, 29], 0.9, 0)), found(([18, 9, 48, 29], 0.6, 0))
    assert merged(part, whole) == [([50, 9, 80, 29], 0.6, 0)]
    # Where IoU suffices too, 24 / 30, it is still the whole one that stays.
    part, whole = found(([40, 9, 64, 29], 0.9, 0)), found(([8, 9, 38, 29], 0.6, 0))
    assert merged(part, whole) == [([40, 9, 70, 29], 0.6, 0)]


def test_a_part_of_which_too_little_is_covered_stays():
    # 14 wide; the other one begins at 50 + 14 * .3 + .1, so that it covers less than .7 of it.
    begin = 50 + 14 * (1 - COVERED) + 0.1
    part, other = found(([50, 9, 64, 29], 0.9, 0)), found(([begin - 32, 9, 62, 29], 0.6, 0))
    assert len(merged(part, other)) == 2
    other = found(([begin - 0.2 - 32, 9, 62, 29], 0.6, 0))
    assert len(merged(part, other)) == 1


def test_a_small_object_in_a_large_one_stays_where_no_border_cuts_it():
    # It is covered as wholly, but reaches to no border.
    small, large = found(([44, 20, 50, 26], 0.9, 0)), found(([4, 4, 60, 60], 0.6, 0))
    assert len(merged(small, large)) == 2


def test_a_border_of_the_image_is_no_inner_border():
    # Both reach to the image's left end, which cuts every tile alike.
    one, other = found(([0, 9, 10, 29], 0.9, 0)), found()
    assert merged(one, other) == [([0, 9, 10, 29], 0.9, 0)]
    # At 64 the first tile ends inside; with a zoom of .5, 4 pixels are 2 of the input.
    near, whole = found(([50, 9, 60.5, 29], 0.9, 0)), found(([18, 9, 48, 29], 0.6, 0))
    assert len(merged(near, whole)) == 2
    assert len(merged(near, whole, zoom=0.5)) == 1


def test_the_best_of_all_tiles_are_kept_in_their_order():
    tiles = (
        found(([0, 0, 9, 9], 0.3, 0), ([20, 0, 29, 9], 0.2, 0)),
        found(([40, 0, 49, 9], 0.9, 0), ([50, 50, 59, 59], 0.1, 2)),
    )
    assert [score for _, score, _ in merged(*tiles)] == [0.9, 0.3, 0.2, 0.1]
    assert [score for _, score, _ in merged(*tiles, max_detections=2)] == [0.9, 0.3]
    assert merged(found(), found()) == []


def test_a_chain_is_that_of_nms():
    # a (.9) removes b (.8), which so does not remove c (.7): IoU of neighbors 12 / 18 = .67, of a
    # and c 9 / 21 = .43.
    windows = np.array([[0, 0, 64, 64]] * 3)
    tiles = [found(([x, 9, x + 15, 29], s, 0)) for x, s in ((20, 0.9), (23, 0.8), (26, 0.7))]
    assert [score for _, score, _ in merged(*tiles, windows=windows)] == [0.9, 0.7]


def slowly(tiles, windows, size, nms_iou, max_detections):
    """The rule of the documentation, a pair at a time."""
    entries = []
    for number, (tile, window) in enumerate(zip(tiles, windows.tolist(), strict=True)):
        for box, score, label in zip(*tile, strict=True):
            inner = (
                (window[0] > 0 and box[0] < 2)
                or (window[1] > 0 and box[1] < 2)
                or (window[2] < size[1] and box[2] > window[2] - window[0] - 2)
                or (window[3] < size[0] and box[3] > window[3] - window[1] - 2)
            )
            moved = box.astype(np.float64) + np.array(window[:2] * 2)
            entries.append((bool(inner), -score, len(entries), number, moved, label))
    kept = []
    for inner, score, order, number, box, label in sorted(entries, key=lambda entry: entry[:3]):
        for *_, other, best, other_label in kept:
            begin, end = np.maximum(box[:2], best[:2]), np.minimum(box[2:], best[2:])
            shared = np.prod(np.maximum(end - begin, 0))
            area, best_area = np.prod(box[2:] - box[:2]), np.prod(best[2:] - best[:2])
            overlaps = shared > nms_iou * (area + best_area - shared)
            covered = inner and shared >= COVERED * area
            if other != number and other_label == label and shared and (overlaps or covered):
                break
        else:
            kept.append((score, order, number, box, label))
    kept.sort(key=lambda entry: entry[:2])
    return [(box.tolist(), label) for *_, box, label in kept[:max_detections]]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.6]))
def test_it_is_the_rule_in_words(seed, overlap):
    rng = np.random.default_rng(seed)
    tiling, size = Tiling(32, overlap), (60, 75)
    windows = tiling.windows(size)
    tiles = []
    for left, top, right, bottom in windows.tolist():
        count = rng.integers(0, 5)
        # Whole numbers and few scores, so that many are equal.
        corners = np.sort(rng.integers(0, [right - left + 1, bottom - top + 1], (count, 2, 2)), 1)
        boxes = corners.reshape(-1, 4).astype(np.float32)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
        scores = rng.integers(1, 5, len(boxes)).astype(np.float32) / 8
        tiles.append(Found(boxes, scores, rng.integers(0, 2, len(boxes)).astype(np.int32)))
    result = merge(tiles, windows, size, nms_iou=0.4, max_detections=12)
    rows = zip(result.boxes.tolist(), result.labels.tolist(), strict=True)
    assert list(rows) == slowly(tiles, windows, size, 0.4, 12)


def test_scores_are_those_of_their_boxes():
    result = merge(
        [found(([1, 1, 9, 9], 0.25, 3))], WINDOWS[:1], SIZE, nms_iou=0.5, max_detections=5
    )
    assert [part.dtype for part in result] == [np.float32, np.float32, np.int32]
    assert result.scores.tolist() == pytest.approx([0.25])


def test_other_classes_lose_too_where_classes_do_not_count():
    """Two tiles see the same object, as other classes."""
    boxes = [[[70, 10, 90, 30]], [[20, 10, 40, 30]]]
    tiles = [
        Found(np.float32(box), np.float32([score]), np.int32([label]))
        for box, score, label in zip(boxes, (0.9, 0.8), (0, 1), strict=True)
    ]
    windows = np.array([[0, 0, 100, 100], [50, 0, 150, 100]])
    rules = {"nms_iou": 0.5, "max_detections": 10}
    both = merge(tiles, windows, (100, 150), **rules)
    assert both.labels.tolist() == [0, 1]
    one = merge(tiles, windows, (100, 150), class_agnostic=True, **rules)
    assert (one.labels.tolist(), one.boxes.tolist()) == ([0], [[70, 10, 90, 30]])
