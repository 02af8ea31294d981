import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.detectors import Views, views


def test_an_image_is_mirrored_where_it_is():
    # Of two images of 3 and 2 columns on a canvas of 4, whose padding is 9.
    images = np.uint8([[[1, 2, 3, 9]], [[4, 5, 9, 9]]])[..., None]
    turned = views.mirrored(jnp.asarray(images), jnp.float32([[1, 3], [1, 2]]))
    assert np.asarray(turned)[..., 0].tolist() == [[[3, 2, 1, 9]], [[5, 4, 9, 9]]]
    # A box at 0 to 1 of 3 columns is one at 2 to 3.
    boxes = jnp.float32([[[0, 0, 1, 1]], [[0, 0, 1, 1]]])
    back = views.mirrored_boxes(boxes, jnp.float32([[1, 3], [1, 2]]))
    assert np.asarray(back).tolist() == [[[2, 0, 3, 1]], [[1, 0, 2, 1]]]


def test_an_image_is_scaled_with_its_canvas():
    images = np.uint8([[[0, 100], [0, 100]]])[..., None]
    assert np.asarray(views.scaled(jnp.asarray(images), (1, 1)))[0, 0, 0, 0] == 50
    larger = np.asarray(views.scaled(jnp.asarray(images), (2, 4)))
    # Centers at .25, .75, 1.25 and 1.75 pixels of the image, whose own are at .5 and 1.5.
    assert larger[0, :, :, 0].tolist() == [[0, 25, 75, 100]] * 2 and larger.dtype == np.uint8
    same = jnp.asarray(images)
    assert views.scaled(same, (2, 2)) is same


def test_canvases_are_those_of_the_scales():
    chosen = Views(flip=True, scales=(0.8, 1.0, 1.25))
    assert chosen.all == ((0.8, False), (0.8, True), (1.0, False), (1.0, True), (1.25, False), (
        1.25, True
    ))  # fmt: skip
    assert chosen.enlarged((64, 100)) == (80, 125)
    assert [chosen.canvas((80, 125), scale) for scale in chosen.scales] == [
        (52, 80), (64, 100), (80, 125)
    ]  # fmt: skip
    assert str(chosen) == "scales 0.8, 1, 1.25 and mirrored, merged by weighted_box_fusion"
    assert str(Views(merge="nms")) == "scale 1, merged by nms"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scales": ()}, r"scales is \(\); it must be different numbers above 0 and at most 8"),
        ({"scales": (1.0, 1.0)}, r"scales is \(1\.0, 1\.0\)"),
        ({"scales": (0.0,)}, r"scales is \(0\.0,\)"),
        ({"scales": (9.0,)}, r"scales is \(9\.0,\)"),
        ({"scales": ("1",)}, r"scales is \('1',\)"),
        ({"merge": "mean"}, "merge is 'mean'; it must be one of nms, weighted_box_fusion"),
    ],
)
def test_views_that_cannot_be_had_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Views(**options)
