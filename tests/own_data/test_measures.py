"""What suits a data set, with the arithmetic."""

import numpy as np
import pytest

from ioub_jax.configs import defaults, small_data
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.own_data import measures


def config():
    config = defaults.get_config()
    config.batch_size = 8
    config.anchors.base_scale = 2.0  # anchors of 16 px and more
    return config


def annotations(sizes, boxes):
    """Images of some sizes, each with the same boxes, given as (width, height)."""
    corners = np.float32([(10, 10, 10 + width, 10 + height) for width, height in boxes])
    examples = [
        create_example(corners, np.zeros(len(boxes), np.int32), number)
        for number in range(len(sizes))
    ]
    return collect_annotations(examples, np.array(sizes))


def measured(sizes, boxes):
    return {
        setting.key: setting for setting in measures.measure(config(), annotations(sizes, boxes))
    }


def test_the_canvas_is_where_a_tenth_of_the_objects_is_20_px():
    # 20 px of 44 in 640: 290.9, of which 288 is the next multiple of 32; 288 * 3 / 4 = 216, 224.
    found = measured([(480, 640)] * 205, [(44, 44)] * 3)
    assert found["data.canvases"].value == ((224, 288),)
    assert found["data.canvases"].why == (
        "Images are 480x640. A tenth of the objects, or half of those of one class, are smaller "
        "than 44 px, which is 20 px on this canvas."
    )
    assert "tiles" not in found["data.canvases"].why


def test_a_class_of_small_objects_decides_though_others_are_many():
    corners = np.float32([[0, 0, 100, 100]] * 9 + [[0, 0, 40, 40]])
    labels = np.int32([0] * 9 + [1])

    def canvas_of(images):
        examples = [create_example(corners, labels, number) for number in range(images)]
        measured = measures.measure(
            config(), collect_annotations(examples, np.full((images, 2), 640))
        )
        return measured[0].value

    # 20 px of 40 in 640, as soon as ten objects say so; of 94 (a tenth of all) before.
    assert canvas_of(10) == ((320, 320),)
    assert canvas_of(9) == ((256, 256),)


@pytest.mark.parametrize(
    ("size", "side", "canvas"),
    [
        ((640, 640), 4, (640, 640)),  # not enlarged
        ((640, 640), 400, (256, 256)),  # not smaller than that
        ((3000, 4000), 8, (768, 1024)),  # nor larger than that
        ((100, 100), 30, (256, 256)),
    ],
)
def test_canvases_have_bounds(size, side, canvas):
    found = measured([size], [(side, side)])["data.canvases"]
    assert found.value == (canvas,)
    assert ("data.tiles.size" in found.why) == (side * canvas[1] / size[1] < 15)


def test_lying_and_standing_images_have_a_canvas_each():
    found = measured([(480, 640), (640, 480)] * 10, [(44, 44)])["data.canvases"]
    assert found.value == ((224, 288), (288, 224))


def test_slots_are_a_few_more_than_the_fullest_image_has():
    assert measured([(64, 64)], [(20, 20)] * 17)["data.max_boxes"].value == 24
    assert measured([(64, 64)], [(20, 20)])["data.max_boxes"].value == 8


def test_anchors_stay_where_they_reach_the_boxes_and_change_where_not():
    assert not any(key.startswith("anchors.") for key in measured([(256, 256)], [(40, 40)]))
    found = measured([(256, 256)] * 4, [(200, 20), (150, 15), (100, 10)])
    assert min(found["anchors.ratios"].value) == pytest.approx(0.1, abs=0.03)
    assert found["anchors.ratios"].why.startswith("The recipe's anchors reach all but 100.0% of")


@pytest.mark.parametrize("family", ["fcos", "atss", "gfl"])
def test_where_no_box_has_to_be_like_an_anchor_none_is_changed(family):
    given = annotations([(256, 256)] * 4, [(200, 20), (150, 15), (100, 10)])
    recipe = small_data.get_config(f"{family},small")
    keys = [setting.key for setting in measures.measure(recipe, given)]
    assert "data.canvases" in keys
    assert not any(key.startswith(("anchors.", "matcher.")) for key in keys)


def test_the_schedule_sees_few_images_often_and_many_at_least_twelve_times():
    # 7,000 images are 34.1 epochs of 205: 35, 7,175 images, 897 steps of 8.
    few = measured([(64, 64)] * 205, [(20, 20)])
    assert few["schedule.images"].value == 897 * 8
    assert few["schedule.images"].why == "35 epochs of 205 images."
    assert few["schedule.warmup_images"].value == 717
    assert few["evaluation.every_images"].value == 717
    many = measured([(64, 64)] * 1000, [(20, 20)])
    assert many["schedule.images"].value == 12_000
    assert many["schedule.warmup_images"].value == 1_000
    assert many["runtime.checkpoint_every_images"].value == 1_200
