import itertools
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from configs import coco_retinanet
from ioub_jax.data.resizing import Resize, padding_share, suggest_canvases

COCO = Resize("short_side", 800, 1333)
settings = hypothesis.settings(max_examples=25, deadline=None)
some_sizes = st.lists(
    st.tuples(st.integers(40, 900), st.integers(40, 900)), min_size=1, max_size=12
)


def test_images_go_to_the_canvas_of_the_nearest_aspect_ratio():
    sizes = np.array([[480, 640], [640, 480], [500, 500], [375, 500], [100, 1000]])
    # log ratios -.29, .29, 0, -.29, -2.3 against -.51 and .51: ties do not occur but at 0.
    assert Resize().assign(sizes, [(600, 1000), (1000, 600)]).tolist() == [0, 1, 0, 0, 0]


def test_by_their_short_side_images_go_to_the_smallest_canvas_that_holds_them():
    canvases = [(800, 1344), (800, 1088), (1344, 800)]
    # 480x640 -> 800x1067; 640x480 -> 1067x800; 427x640 -> 800x1199; 100x1000 -> 133x1333, which
    # the first canvas alone holds.
    sizes = np.array([[480, 640], [640, 480], [427, 640], [100, 1000]])
    assert COCO.assign(sizes, canvases).tolist() == [1, 2, 0, 0]
    # None of these holds 800x1067: at 400x500 it becomes 375x500, at 300x600 only 300x400.
    assert COCO.assign(sizes[:1], [(300, 600), (400, 500)]).tolist() == [1]
    assert COCO.size((480, 640), (400, 500)) == (375, 500)


def test_sizes_by_hand():
    # 800 / 480 = 1.667, 640 * 1.667 = 1066.7.
    assert COCO.size((480, 640), (800, 1088)) == (800, 1067)
    assert COCO.size((480, 640), (800, 1088), scale=0.5) == (400, 534)  # 1067 / 2 = 533.5
    # 375 -> 800 would make 1000 -> 2133: the longer side decides, 375 * 1.333 = 499.9.
    assert COCO.size((375, 1000), (800, 1344)) == (500, 1333)
    assert Resize("fit").size((480, 640), (300, 300)) == (225, 300)
    assert Resize("stretch").size((480, 640), (300, 300), scale=0.5) == (300, 300)


@settings
@hypothesis.given(
    some_sizes,
    st.sampled_from([Resize(), Resize("stretch"), Resize("short_side", 80, 133)]),
    st.lists(st.tuples(st.integers(8, 160), st.integers(8, 160)), min_size=1, max_size=5),
    st.sampled_from([0.3, 0.77, 1.0]),
)
def test_no_image_is_larger_than_its_canvas(sizes, resize, canvases, scale):
    for size, number in zip(sizes, resize.assign(np.array(sizes), canvases), strict=True):
        height, width = resize.size(size, canvases[number], scale)
        assert 1 <= height <= canvases[number][0] and 1 <= width <= canvases[number][1]


def test_padding_by_hand():
    # 800x1067 on 800x1088 and 800x800 on 800x800: 21 columns of 800 in (1067 + 800) * 800.
    sizes = np.array([[480, 640], [500, 500]])
    share = padding_share(sizes, [(800, 1088), (800, 800)], COCO)
    assert share == pytest.approx(21 / 1867)
    assert padding_share(sizes, [(300, 300)], Resize("stretch")) == 0.0


@settings
@hypothesis.given(some_sizes, st.integers(1, 3))
def test_the_suggested_canvases_are_the_best_cut(sizes, count):
    sizes, resize = np.array(sizes), Resize("short_side", 128, 213)
    suggested = suggest_canvases(sizes, resize, count)
    assert len(suggested) <= count
    targets = np.array([resize.size(tuple(size), (10**6, 10**6)) for size in sizes.tolist()])
    rounded = -(-targets // 32) * 32
    order = rounded[np.argsort(rounded[:, 0] / rounded[:, 1], kind="stable")]
    fewest = min(
        sum(len(part) * part.max(axis=0).prod() for part in np.split(order, cut) if len(part))
        for cut in itertools.combinations_with_replacement(range(len(order) + 1), count - 1)
    )
    spent = np.array(suggested)[resize.assign(sizes, suggested)].prod(axis=1).sum()
    assert spent <= fewest
    for size, number in zip(sizes.tolist(), resize.assign(sizes, suggested), strict=True):
        assert resize.size(tuple(size), suggested[number]) == tuple(
            resize.size(tuple(size), (10**6, 10**6))
        )


def test_five_canvases_pad_cocos_images_by_less_than_a_tenth(shared_data):
    content = [
        json.loads((shared_data / f"coco_mini/annotations/instances_{split}2017.json").read_text())
        for split in ("train", "val")
    ]
    sizes = np.array([(i["height"], i["width"]) for part in content for i in part["images"]])
    canvases = coco_retinanet.get_config().data.canvases
    assert len(canvases) == 5
    assert padding_share(sizes, canvases, COCO) <= 0.10
    assert padding_share(sizes, suggest_canvases(sizes, COCO, 5), COCO) <= 0.06
    # What one and two canvases cost: 105 % and 22 %.
    assert padding_share(sizes, [(1344, 1344)], COCO) == pytest.approx(1.05, abs=0.01)
    assert padding_share(sizes, [(800, 1344), (1344, 800)], COCO) == pytest.approx(0.22, abs=0.01)


def test_wrong_rules_are_refused():
    with pytest.raises(ValueError, match=r"^mode is 'squash'"):
        Resize("squash")
    with pytest.raises(ValueError, match="in that order"):
        Resize("short_side", 1333, 800)
    with pytest.raises(
        ValueError, match="mode is 'fit'; canvases can be suggested for 'short_side' only"
    ):
        suggest_canvases(np.ones((1, 2)), Resize(), 2)
