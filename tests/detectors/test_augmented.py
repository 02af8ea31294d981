"""A detector of several views beside the plain one on images that are turned on the host."""

import cv2
import jax
import numpy as np
import pytest

from ioub_jax import box_fusion, detectors
from ioub_jax.detectors import AugmentedDetector, Views
from ioub_jax.devices import placement
from tests.detectors.test_placed import Network, place

CANVAS = (64, 96)


@pytest.fixture(scope="module")
def placed():
    """A network of a convolution a level, which compiles soon."""
    return place(Network(kernel=3))


@pytest.fixture(scope="module")
def variables(placed):
    return placed.init_variables(np.int32(0))


@pytest.fixture(scope="module")
def batch():
    """Two images, of which the second is 40 of 96 columns wide."""
    random = np.random.default_rng(0)
    images = np.full((2, *CANVAS, 3), 128, np.uint8)
    images[0] = random.integers(0, 256, (*CANVAS, 3))
    images[1, :50, :40] = random.integers(0, 256, (50, 40, 3))
    return {
        "image": images,
        "image_size": np.float32([CANVAS, (50, 40)]),
        "scale": np.float32([[0.5, 0.5], [1, 1]]),
    }


@pytest.fixture(scope="module")
def flipped(placed):
    return with_views(placed, flip=True)


def found_in(placed, variables, batch):
    return jax.device_get(placed.predict(variables, *placed.on_devices(batch)))


def with_views(placed, **options):
    return AugmentedDetector(placed.detector, placed.mesh, Views(**options))


def turned(batch):
    """The same images mirrored."""
    images = batch["image"].copy()
    for image, (height, width) in zip(images, batch["image_size"].astype(int), strict=True):
        image[:height, :width] = image[:height, :width][:, ::-1].copy()
    return batch | {"image": images}


def boxes_of_turned(found, batch):
    """Boxes in mirrored images as those in the images, in original pixels."""
    widths = (batch["image_size"] / batch["scale"])[:, 1]
    boxes = widths[:, None, None] - found.boxes[..., [2, 1, 0, 3]]
    boxes[..., [1, 3]] = found.boxes[..., [1, 3]]
    return boxes


fuse = jax.jit(box_fusion.weighted_box_fusion, static_argnames=("weights", "max_detections"))


def fused(*found):
    """The detections of several views, in original pixels, fused by the function itself."""
    boxes, scores, labels, valid = (
        np.concatenate([getattr(view, name) for view in found], axis=1)
        for name in ("boxes", "scores", "labels", "valid")
    )
    models = np.repeat(np.arange(len(found), dtype=np.int32), found[0].scores.shape[1])
    return [
        fuse(
            boxes[row],
            scores[row],
            labels[row],
            valid[row],
            models=models,
            weights=(1.0,) * len(found),
            max_detections=100,
        )
        for row in range(len(boxes))
    ]


def test_the_image_alone_is_what_the_plain_detector_finds(placed, variables, batch):
    expected = found_in(placed, variables, batch)
    found = found_in(with_views(placed, merge="nms"), variables, batch)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-5, atol=1e-4)


def test_mirrored_images_are_fused_with_the_others(placed, flipped, variables, batch):
    plain = found_in(placed, variables, batch)
    mirrored = found_in(placed, variables, turned(batch))
    mirrored = mirrored._replace(boxes=boxes_of_turned(mirrored, batch))
    assert np.abs(mirrored.boxes - plain.boxes).max() > 1, "nothing would be seen of it"
    found = found_in(flipped, variables, batch)
    for row, (boxes, scores, labels, valid) in enumerate(fused(plain, mirrored)):
        assert valid.sum() > 3
        np.testing.assert_array_equal(found.valid[row], valid)
        np.testing.assert_allclose(found.boxes[row], boxes, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(found.scores[row], scores, rtol=1e-4)
        np.testing.assert_array_equal(found.labels[row], labels)


def test_candidates_of_all_views_go_through_nms_together(placed, variables, batch):
    detector = with_views(placed, flip=True, scales=(1.0, 0.5), merge="nms")
    found = found_in(detector, variables, batch)
    # The views one by one, with all that each finds before NMS.
    candidates, find = [], jax.jit(placed.find_candidates)
    for images in (batch, turned(batch)):
        for side in (CANVAS, (32, 48)):
            factor = side[0] / 64
            small = [
                cv2.resize(image, side[::-1], interpolation=cv2.INTER_LINEAR)
                if factor == 1
                else np.asarray(detectors.views.scaled(image[None], side))[0]
                for image in images["image"]
            ]
            view = {"image": np.stack(small), "image_size": batch["image_size"] * factor}
            view["scale"] = batch["scale"] * factor
            of_view = jax.device_get(find(variables, *placed.on_devices(view)))
            boxes = np.asarray(of_view.boxes) / view["scale"][:, ::-1][:, [0, 1, 0, 1]][:, None]
            if images is not batch:
                boxes = boxes_of_turned(of_view._replace(boxes=boxes), batch)
            candidates.append(of_view._replace(boxes=boxes))
    together = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *candidates)
    expected = jax.jit(placed.suppress)(together)
    assert expected.valid.sum() > 10
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-4, atol=2e-2)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_devices_share_the_views_of_a_batch(placed, flipped, variables, batch):
    shared = AugmentedDetector(placed.detector, placement.create_mesh(2), flipped.views)
    everywhere = jax.device_put(jax.device_get(variables), placement.replicated(shared.mesh))
    found = found_in(shared, everywhere, batch)
    for part, other in zip(found, found_in(flipped, variables, batch), strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-4, atol=1e-3)
    assert shared.predict._cache_size() == 1
