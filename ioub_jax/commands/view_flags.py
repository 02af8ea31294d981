"""Flags --flip, --scales and --merge: test-time augmentation of a command that detects."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:
    from ioub_jax.detectors import Views

#: Copy of `detectors.views.MERGES`, whose import would make --help wait for jax.
_MERGES = ("nms", "weighted_box_fusion")


def define() -> None:
    """Defines the flags for a command that detects in images."""
    flags.DEFINE_bool("flip", False, "Whether to detect in the mirrored image, too.")
    flags.DEFINE_list(
        "scales",
        None,
        "Factors of the usual size of images, at each of which detection runs, such as 0.8,1,1.25.",
    )
    flags.DEFINE_enum(
        "merge",
        None,
        _MERGES,
        "With --flip or --scales: how to merge the detections; by default weighted_box_fusion.",
    )


def views() -> "Views | None":
    """The views that the parsed flags ask for; None if they ask for none.

    Raises:
      ConfigError: the views are invalid, or --merge is given without --flip or --scales.
    """
    from ioub_jax.detectors import Views  # imports jax, for which --help must not wait
    from ioub_jax.errors import ConfigError

    given = flags.FLAGS
    if not given.flip and given.scales is None:
        if given.merge is not None:
            raise ConfigError("--merge goes with --flip or --scales, which are not given.")
        return None
    try:
        scales = [float(scale) for scale in given.scales or ["1"]]
    except ValueError:
        scales = [math.nan]
    if not all(map(math.isfinite, scales)):
        raise ConfigError(
            f"--scales is {','.join(given.scales)}; it must be numbers, such as 0.8,1,1.25."
        )
    merge = {} if given.merge is None else {"merge": given.merge}
    try:
        return Views(flip=given.flip, scales=tuple(scales), **merge)
    except ValueError as error:
        raise ConfigError(f"--{error}") from None


def made_by() -> Mapping[str, Any]:
    """The values of the given flags, as parameters of the results."""
    given = flags.FLAGS
    values = {"flip": given.flip or None, "scales": given.scales, "merge": given.merge}
    return {name: value for name, value in values.items() if value is not None}
