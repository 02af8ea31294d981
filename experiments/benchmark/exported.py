"""Size and speed of an exported detector, beside the jitted one."""

import importlib
import importlib.util
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import numpy as np
from absl import flags

from experiments.benchmark import timing
from experiments.benchmark.compiled import BATCH, CLASSES
from experiments.benchmark.rates import CONFIG, REPEATS
from experiments.benchmark.timing import Seconds
from ioub_jax.errors import ConfigError
from ioub_jax.export import onnx_program, programs
from ioub_jax.from_config import loading_parts, training_parts
from ioub_jax.inference import ObjectDetector

_RUNTIMES = flags.DEFINE_multi_enum(
    "runtime",
    [],
    ["onnxruntime", "openvino"],
    "The runtime for the detector as ONNX in `export`; may be repeated.",
)


def exported_beside_jitted() -> dict[str, Any]:
    """MiB of the program and of the weights, and seconds of a batch and of the preparation.

    The weights are those of the first step. Their scores are low, so NMS has work only with
    `--config.evaluation.score_threshold=0`. All detectors take turns, and a ratio is the jitted
    detector's seconds divided by another one's in one turn.
    """
    check_configuration()
    detector = untrained_detector(BATCH.value or 1)
    variables, canvas = detector.variables, detector.canvases[0]

    start = timing.now()
    serialized = programs.export_detector(detector, canvas).serialize(vjp_order=0)
    before = {"export": timing.now() - start}
    images = np.random.default_rng(0).integers(
        0, 256, (detector.batch_size, *canvas, 3), dtype=np.uint8
    )
    works = {
        "jitted": _jitted(detector, images),
        "exported": _exported(serialized, images),
    }
    if _RUNTIMES.value:
        start = timing.now()
        content = _onnx(detector, canvas)
        before["export to ONNX"] = timing.now() - start
        for name in _RUNTIMES.value:
            start = timing.now()
            works[name] = _OF_ONNX[name](content, images)
            before[f"opening, {name}"] = timing.now() - start
    for name, work in works.items():
        before[f"first batch, {name}"] = seconds_of(work)
    turns = [{name: seconds_of(work) for name, work in works.items()} for _ in range(REPEATS.value)]
    of_name = {name: [turn[name] for turn in turns] for name in works}
    return {
        "images": list(images.shape),
        "classes": len(detector.classes),
        "weights, MiB": _mib(sum(x.nbytes for x in jax.tree.leaves(variables))),
        "program, MiB": _mib(len(serialized)),
        "turns": len(turns),
        "versions": {name: importlib.import_module(name).__version__ for name in _RUNTIMES.value},
        **{name: spent.figures() for name, spent in before.items()},
        **{name: timing.of_turns(spent) for name, spent in of_name.items()},
        **{
            f"{name}, times as fast as the jitted": timing.times_as_fast(spent, of_name["jitted"])
            for name, spent in of_name.items()
            if name != "jitted"
        },
    }


def check_configuration() -> str:
    """A line that describes the detector; raises `ConfigError` if it cannot be exported."""
    if CONFIG.value is None:
        raise ConfigError("Give the configuration of the detector, --config=FILE.")
    try:
        _ = training_parts.detector_for_inference(CONFIG.value, 1).abstract_variables
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _check_runtimes()
    return f"a {CONFIG.value.model.name} of {CLASSES.value or 80} classes"


def _check_runtimes() -> None:
    if not _RUNTIMES.value:
        return
    onnx_program.check_packages()
    for name in _RUNTIMES.value:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"--runtime={name} needs the package {name}: pip install {name}.")
    if (BATCH.value or 1) != 1:
        raise ConfigError("An ONNX file takes one image at a time; leave --batch unset.")


def _jitted(detector: ObjectDetector, images: np.ndarray) -> Callable[[], Any]:
    """Returns the call of a detector from `ioub_jax.load` for a batch."""
    sizes = np.full((len(images), 2), images.shape[1:3], np.float32)
    batch = {"image": images, "image_size": sizes, "scale": np.ones_like(sizes)}

    def work() -> Any:
        return detector.placed.predict(detector.variables, *detector.placed.on_devices(batch))

    return work


def _exported(serialized: bytearray, images: np.ndarray) -> Callable[[], Any]:
    """Returns the call of the exported program without this package."""
    detect = jax.jit(jax.export.deserialize(serialized).call)
    sizes = np.full((len(images), 2), images.shape[1:3], np.int32)
    return lambda: detect(images, sizes)


def _onnx(detector: ObjectDetector, canvas: tuple[int, int]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, _ = programs.write_onnx(detector, pathlib.Path(folder), canvases=[canvas])
        return path.read_bytes()


def _by_onnxruntime(content: bytes, images: np.ndarray) -> Callable[[], Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = {"images": images, "sizes": np.array([images.shape[1:3]], np.int32)}
    return lambda: session.run(None, inputs)


def _by_openvino(content: bytes, images: np.ndarray) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    # As in docs/export.md: in bfloat16, the boxes would differ.
    model = core.read_model(content, b"")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = {"images": images, "sizes": np.array([images.shape[1:3]], np.int32)}

    def work() -> Any:
        found = compiled(inputs)
        return [found[output] for output in compiled.outputs]

    return work


_OF_ONNX = {"onnxruntime": _by_onnxruntime, "openvino": _by_openvino}


def untrained_detector(batch_size: int) -> ObjectDetector:
    """The detector of --config with the weights of its first step."""
    config = CONFIG.value
    count = CLASSES.value or 80
    model = training_parts.detector_for_inference(config, count)
    return ObjectDetector(
        model,
        model.init_variables(np.int32(config.seed)),
        [(id_, str(id_)) for id_ in range(count)],
        loading_parts.loading_of(config),
        batch_size=batch_size,
    )


def seconds_of(work: Callable[[], Any]) -> Seconds:
    """Time of a piece of work, until its results are available.

    Args:
      work: the work; it may return arrays of jax.
    """
    start = timing.now()
    jax.block_until_ready(work())
    return timing.now() - start


def _mib(count: int) -> float:
    return round(count / 2**20, 2)
