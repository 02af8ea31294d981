"""Programs of a trained detector that run without this package.

`export_detector` converts it to a StableHLO program that includes its weights (`jax.export`).
`write_programs` writes a program for every canvas, and a JSON file that describes their use.
`write_onnx` does the same with ONNX, and `write_torchvision_weights` writes only the weights, with
torchvision's names.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jax import export

from ioub_jax import files, weights
from ioub_jax.data.batching import padding_color
from ioub_jax.errors import ConfigError
from ioub_jax.export import description, onnx_program
from ioub_jax.export.platforms import DEFAULT_PLATFORMS, check_platforms
from ioub_jax.inference import ObjectDetector
from ioub_jax.postprocess import Detections
from ioub_jax.ranking import highest

Canvas = tuple[int, int]

#: A note for readers of the JSON, since an ONNX file cannot contain it.
_PRECISION = (
    "float32; OpenVINO computes in bfloat16 where the processor can, and then finds other boxes, "
    "unless the model is compiled with INFERENCE_PRECISION_HINT: f32"
)


def export_detector(
    detector: ObjectDetector,
    canvas: Canvas,
    *,
    batch_size: int | None = None,
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
) -> export.Exported:
    """The whole detector for images on one canvas, as one StableHLO program with its weights.

    The arguments of the program are `images` uint8 `[B, H, W, channels]`, usually RGB, with each
    image in the top left of the canvas, and `sizes` int32 `[B, 2]`, the height and width of each
    image on it; pixels outside the images do not matter. The result is a dict of `boxes` float32
    `[B, K, 4]`, xyxy in pixels of the canvas, `scores` float32 `[B, K]`, `labels` int32 `[B, K]`
    and `valid` bool `[B, K]`, best first, as in `postprocess.Detections`.

    Args:
      detector: the detector.
      canvas: height and width.
      batch_size: B, or None for a program with any batch size.
      platforms: the platforms for which it can be compiled; this machine may have none of them.

    Raises:
      ConfigError: a platform is unknown, or the network does not accept the canvas.
    """
    check_platforms(platforms)
    batch = batch_size if batch_size is not None else export.symbolic_shape("batch")[0]
    detect = _program(detector, canvas)
    return export.export(jax.jit(detect), platforms=tuple(platforms))(
        *_inputs(detector, batch, canvas)
    )


def _program(detector: ObjectDetector, canvas: Canvas) -> Callable[..., dict[str, jax.Array]]:
    """Returns the exported function, `detect(images, sizes)`."""
    _check_canvas(detector, canvas)
    variables = jax.device_get(detector.variables)
    anchors: Any = detector.placed.host_anchors(canvas)  # constants, like the variables
    least = detector.least_scores(detector.score_threshold)

    def detect(images: jax.Array, sizes: jax.Array) -> dict[str, jax.Array]:
        batch = {
            "image": _padded(images, sizes),
            "image_size": sizes.astype(jnp.float32),
            "scale": jnp.ones(sizes.shape, jnp.float32),
        }
        found: Detections = detector.placed.predict(variables, batch, anchors)
        return above(found, least)._asdict()

    return detect


def above(found: Detections, least: float | np.ndarray) -> Detections:
    """The detections with at least a score, which still come first; the others become padding.

    Args:
      found: the detections, as `PlacedDetector.predict` returns them.
      least: the score, or that of each class, float64 `[C]`.

    Returns:
      The same number of slots; in slots without a detection, `scores` is the image's highest score.
    """
    if not np.any(np.asarray(least) > 0.0):
        return found
    # The smallest float32 that is not less, with which scores compare as with the float64.
    lowest = np.atleast_1d(np.asarray(least, np.float64)).astype(np.float32)
    lowest = np.where(lowest < least, np.nextafter(lowest, np.float32(np.inf)), lowest)
    labels = jnp.maximum(found.labels, 0) if len(lowest) > 1 else jnp.zeros_like(found.labels)
    keep = found.valid & (found.scores >= jnp.asarray(lowest)[labels])
    slots = keep.shape[1]
    last_first = jnp.arange(slots, 0, -1, dtype=jnp.float32)[None]
    order = highest(jnp.where(keep, last_first, 0.0), slots)
    keep, scores, labels = (
        jnp.take_along_axis(part, order, axis=1) for part in (keep, found.scores, found.labels)
    )
    boxes = jnp.take_along_axis(found.boxes, order[:, :, None], axis=1)
    return Detections(
        boxes=jnp.where(keep[:, :, None], boxes, 0.0),
        scores=jnp.where(keep, scores, jnp.max(found.scores, axis=1, keepdims=True)),
        labels=jnp.where(keep, labels, -1),
        valid=keep,
    )


def _inputs(
    detector: ObjectDetector, batch: Any, canvas: Canvas
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return (
        jax.ShapeDtypeStruct((batch, *canvas, detector.reading.channels), jnp.uint8),
        jax.ShapeDtypeStruct((batch, 2), jnp.int32),
    )


def _check_canvas(detector: ObjectDetector, canvas: Canvas) -> None:
    height, width = canvas
    if height < 1 or width < 1:
        raise ConfigError(f"The canvas {height}x{width} is empty; give height and width in pixels.")
    only = detector.placed.detector.canvas
    if only is not None and canvas != only:
        raise ConfigError(
            f"The network has one input size: the canvas {height}x{width} must be "
            f"{only[0]}x{only[1]}."
        )


def _padded(images: jax.Array, sizes: jax.Array) -> jax.Array:
    """Returns the images with the padding that the detector was trained with."""
    rows = jnp.arange(images.shape[1])[None, :, None, None] < sizes[:, 0, None, None, None]
    columns = jnp.arange(images.shape[2])[None, None, :, None] < sizes[:, 1, None, None, None]
    padding = jnp.asarray(padding_color(images.shape[3]), jnp.uint8)[None, None, None]
    return jnp.where(rows & columns, images, padding)


def write_programs(
    detector: ObjectDetector,
    folder: pathlib.Path,
    *,
    canvases: Sequence[Canvas] | None = None,
    batch_size: int | None = None,
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
) -> list[pathlib.Path]:
    """Writes `detector_HxW.stablehlo` for each canvas, and `detector.json` last.

    Args:
      detector: the detector.
      folder: the folder to write into; created if it does not exist.
      canvases: heights and widths; None: those of the configuration.
      batch_size: as in `export_detector`.
      platforms: as in `export_detector`.

    Returns:
      The files, the JSON last.

    Raises:
      ConfigError: as in `export_detector`.
    """
    contents = {}
    for canvas in canvases or detector.canvases:
        exported = export_detector(detector, canvas, batch_size=batch_size, platforms=platforms)
        contents[canvas] = bytes(exported.serialize(vjp_order=0))
    heading = {
        "format": "jax.export",
        "jax": jax.__version__,
        "calling_convention_version": exported.calling_convention_version,
        "platforms": list(platforms),
        "batch_size": batch_size or "any",
    }
    return _write(detector, folder, contents, "stablehlo", heading)


def write_onnx(
    detector: ObjectDetector, folder: pathlib.Path, *, canvases: Sequence[Canvas] | None = None
) -> list[pathlib.Path]:
    """Writes `detector_HxW.onnx` for each canvas, for one image at a time, and `detector.json`.

    The converter is jax2onnx. Its result is run by onnxruntime, and written if its detections equal
    those of the detector.

    Args:
      detector: the detector.
      folder: the folder to write into; created if it does not exist.
      canvases: heights and widths; None: those of the configuration.

    Returns:
      The files, the JSON last.

    Raises:
      ConfigError: jax2onnx or onnxruntime is missing, this detector cannot be converted, or the
        network does not accept the canvas.
    """
    contents = {
        canvas: onnx_program.convert(_program(detector, canvas), _inputs(detector, 1, canvas))
        for canvas in canvases or detector.canvases
    }
    heading = {"format": "onnx", "batch_size": 1, "precision": _PRECISION}
    return _write(detector, folder, contents, "onnx", heading)


def _write(
    detector: ObjectDetector,
    folder: pathlib.Path,
    contents: Mapping[Canvas, bytes],
    suffix: str,
    heading: dict[str, Any],
) -> list[pathlib.Path]:
    """Writes the programs and then `detector.json`, so that it names only existing programs."""
    folder.mkdir(parents=True, exist_ok=True)
    written, programs = [], []
    for canvas, content in contents.items():
        written.append(folder / f"detector_{canvas[0]}x{canvas[1]}.{suffix}")
        files.write_bytes(written[-1], content)
        programs.append({"file": written[-1].name, "canvas": list(canvas)})
    json_file = folder / "detector.json"
    described = {**heading, "programs": programs, **description.describe(detector)}
    files.write_json(json_file, described, indent=1)
    return [*written, json_file]


def write_torchvision_weights(
    detector: ObjectDetector, folder: pathlib.Path, *, name: str
) -> list[pathlib.Path]:
    """Writes `torchvision.safetensors`, and `torchvision.json` with the arguments of the model.

    Args:
      detector: the detector.
      folder: the folder to write into; created if it does not exist.
      name: the name of the detector in errors, such as its workdir.

    Returns:
      The files, the JSON last.

    Raises:
      WeightsError: torchvision has no such model.
    """
    there = weights.torchvision_export(
        detector.variables, detector.settings, num_classes=len(detector.classes), name=name
    )
    folder.mkdir(parents=True, exist_ok=True)
    weights_file, described = folder / "torchvision.safetensors", folder / "torchvision.json"
    # Some readers look up the layout of the tensors in the metadata, and refuse a file without it.
    files.write_bytes(weights_file, safetensors.numpy.save(there.state_dict, {"format": "pt"}))
    content = {
        "model": there.architecture,
        "arguments": {"weights": None, "weights_backbone": None, **there.arguments},
        "weights": weights_file.name,
        "classes": [
            {"label": label, **class_}
            for label, class_ in enumerate(
                description.describe_classes(detector), there.first_label
            )
        ],
    }
    files.write_json(described, content, indent=1)
    return [weights_file, described]
