"""A detector and its loading with test-time augmentation."""

import dataclasses

from ioub_jax.data.loading import Loading
from ioub_jax.detectors import AugmentedDetector, Canvas, PlacedDetector, Views
from ioub_jax.errors import ConfigError


def with_views(
    placed: PlacedDetector, loading: Loading, views: Views | None
) -> tuple[PlacedDetector, Loading]:
    """A detector in several views of an image, and the loading for it.

    Args:
      placed: the detector.
      loading: the loading of images for its canvases.
      views: the views; None for the unchanged image only.

    Returns:
      a detector, and a loading that enlarges images to the largest scale.

    Raises:
      ConfigError: as in `check_views`.
    """
    if views is None:
        return placed, loading
    detector = placed.detector
    check_views(views, loading, detector.canvas, class_agnostic=detector.options.class_agnostic)
    augmented = AugmentedDetector(placed.detector, placed.mesh, views)
    if views.largest == 1.0:
        return augmented, loading
    return augmented, dataclasses.replace(
        loading,
        canvases=tuple(views.enlarged(canvas) for canvas in loading.canvases),
        resize=loading.resize.enlarged(views.largest),
    )


def check_views(
    views: Views, loading: Loading, only: Canvas | None, *, class_agnostic: bool
) -> None:
    """Refuses several scales if the images can have only one, and a merge that cannot be done.

    Args:
      views: the views.
      loading: the loading of images for their canvases.
      only: the input size of the network if it has a single one, else None.
      class_agnostic: True if boxes are suppressed across classes.

    Raises:
      ConfigError: there are scales, but the network has one input size or sees tiles; or the views
        are fused, but boxes are suppressed across classes.
    """
    if loading.tiling is not None:
        check_tiles(views)
    if only is not None and views.scales != (1.0,):
        raise ConfigError(
            f"scales is {views.scales}, but the network has one input size, {only[0]}x{only[1]}; "
            "leave the scales out."
        )
    if class_agnostic and views.merge == "weighted_box_fusion":
        raise ConfigError(
            "merge is 'weighted_box_fusion', which takes means of boxes of one class, but "
            "evaluation.class_agnostic is True; set merge to 'nms', or that to False."
        )


def check_tiles(views: Views) -> None:
    """Refuses scales for a network that sees tiles.

    Raises:
      ConfigError: there are scales.
    """
    if views.scales != (1.0,):
        raise ConfigError(
            f"scales is {views.scales}, but the network sees tiles, whose scale is their zoom "
            "(data.tiles.zoom); leave the scales out."
        )
