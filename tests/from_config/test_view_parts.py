import types

import pytest

from ioub_jax.data.loading import Loading
from ioub_jax.data.resizing import Resize
from ioub_jax.data.tiling import Tiling
from ioub_jax.detectors import AugmentedDetector, Views
from ioub_jax.errors import ConfigError
from ioub_jax.from_config.view_parts import with_views


def placed_detector(canvas=None, class_agnostic=False):
    options = types.SimpleNamespace(class_agnostic=class_agnostic)
    detector = types.SimpleNamespace(canvas=canvas, options=options)
    return types.SimpleNamespace(detector=detector, mesh=None)


PLACED = placed_detector()
LOADING = Loading(((60, 100),), Resize("short_side", 50, 90))
SCALES = Views(scales=(0.5, 1.25))


def test_images_come_at_the_largest_scale():
    placed, loading = with_views(PLACED, LOADING, SCALES)
    assert isinstance(placed, AugmentedDetector) and placed.views is SCALES
    assert loading.canvases == ((75, 125),)
    # 62.5 and 112.5, rounded to even.
    assert (loading.resize.short_side, loading.resize.long_side) == (62, 112)
    assert loading.resize.size((100, 100), (75, 125)) == (62, 62)
    placed, loading = with_views(PLACED, LOADING, Views(flip=True, scales=(1.0, 0.5)))
    assert loading is LOADING
    assert with_views(PLACED, LOADING, None) == (PLACED, LOADING)


def test_scales_of_one_size_and_of_tiles_are_refused():
    only = placed_detector(canvas=(300, 300))
    with pytest.raises(ConfigError, match="but the network has one input size, 300x300; leave"):
        with_views(only, LOADING, SCALES)
    of_tiles = Loading(((64, 64),), Resize("zoom"), tiling=Tiling(64))
    with pytest.raises(ConfigError, match=r"sees tiles, whose scale is their zoom \(data\.tiles"):
        with_views(PLACED, of_tiles, SCALES)
    flip = Views(flip=True)
    assert with_views(only, of_tiles, flip)[0].views is flip


def test_fusion_within_classes_is_refused_for_suppression_across_them():
    agnostic = placed_detector(class_agnostic=True)
    with pytest.raises(ConfigError, match="takes means of boxes of one class, but eval"):
        with_views(agnostic, LOADING, Views(flip=True))
    merged = Views(flip=True, merge="nms")
    assert with_views(agnostic, LOADING, merged)[0].views is merged
