"""Conversion of a jax function to ONNX by jax2onnx, with a check of the result by onnxruntime."""

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core
import numpy as np

from ioub_jax.errors import ConfigError
from ioub_jax.export.stable_top_k import stable_top_k

# For scores, and for boxes relative to the image's side. Sums in another order differ by some 1e-6.
_TOLERANCE = 1e-3
# If scores differ in the last bits only, another detection may be the last one that is kept.
_LEAST_SAME = 0.95


def convert(
    detect: Callable[..., dict[str, jax.Array]], inputs: Sequence[jax.ShapeDtypeStruct]
) -> bytes:
    """Converts a detection program to an ONNX model.

    Args:
      detect: `detect(images, sizes)` -> `boxes`, `labels`, `scores` and `valid`.
      inputs: the shapes and dtypes of `images` `[1, H, W, 3]` and `sizes` `[1, 2]`.

    Returns:
      The file's content. Inputs and outputs have the names above.

    Raises:
      ConfigError: a package is missing, the conversion fails, or the result has other detections.
    """
    check_packages()
    import jax2onnx
    import onnxruntime

    height, width = inputs[0].shape[1:3]
    images = np.random.default_rng(0).integers(0, 256, inputs[0].shape, np.uint8)
    sizes = np.array([[height, width]], np.int32)
    expected = jax.device_get(jax.jit(detect)(images, sizes))
    names = sorted(expected)  # the order of a dict's leaves
    # The function is traced before the converter replaces Flax's layers by its own primitives, with
    # which it lays out some convolutions wrongly.
    traced = jax.make_jaxpr(jax.jit(detect))(*inputs)
    try:
        model = jax2onnx.to_onnx(
            lambda *arguments: tuple(evaluate_for_any_runtime(traced, *arguments)),
            list(inputs),
            model_name="detector",
            input_names=["images", "sizes"],
            output_names=names,
        ).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: it warns of every unused constant
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        found = session.run(names, {"images": images, "sizes": sizes})
    except Exception as error:  # both packages raise errors of many types
        version = importlib.metadata.version("jax2onnx")
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"jax2onnx {version} cannot convert this detector ({type(error).__name__}: {reason}); "
            "export to StableHLO."
        ) from error
    check_same(expected, dict(zip(names, found, strict=True)), max(height, width))
    return bytes(model)


def evaluate_for_any_runtime(
    closed: jax.extend.core.ClosedJaxpr, *arguments: jax.Array
) -> list[Any]:
    """Evaluates a traced function without dependence on a platform or a runtime.

    `jax.lax.platform_dependent`, which the converter does not support, is replaced by its default.
    `top_k` is replaced by operations that do not depend on how a runtime orders equal numbers.

    Args:
      closed: the function.
      *arguments: its arguments, which may be tracers.
    """
    values: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(closed.jaxpr.invars, arguments, strict=True))

    def value_of(variable: Any) -> Any:
        is_literal = isinstance(variable, jax.extend.core.Literal)
        return variable.val if is_literal else values[variable]

    for equation in closed.jaxpr.eqns:
        operands = [value_of(variable) for variable in equation.invars]
        values.update(zip(equation.outvars, _results_of(equation, operands), strict=True))
    return [value_of(variable) for variable in closed.jaxpr.outvars]


def _results_of(equation: jax.extend.core.JaxprEqn, operands: list[Any]) -> Sequence[Any]:
    """Returns the results of an equation."""
    name, parameters = equation.primitive.name, equation.params
    if name == "platform_index":
        return [None]  # only a cond uses it
    if name == "cond" and operands[0] is None:
        default = parameters["branches"][parameters["branches_platforms"].index(None)]
        return evaluate_for_any_runtime(default, *operands[1:])
    if name in ("jit", "custom_jvp_call", "custom_vjp_call"):
        inner = parameters["jaxpr" if name == "jit" else "call_jaxpr"]
        return evaluate_for_any_runtime(inner, *operands)
    if name == "while":
        return _loop(parameters, operands)
    if name == "top_k" and parameters.get("axis", -1) in (-1, operands[0].ndim - 1):
        return stable_top_k(operands[0], parameters["k"])
    results = equation.primitive.bind(*operands, **parameters)
    return results if equation.primitive.multiple_results else [results]


def _loop(parameters: Mapping[str, Any], operands: list[Any]) -> list[Any]:
    """Runs a loop whose condition and body are evaluated for any runtime."""
    of_condition = operands[: parameters["cond_nconsts"]]
    rest = operands[len(of_condition) :]
    of_body, start = rest[: parameters["body_nconsts"]], rest[parameters["body_nconsts"] :]

    def condition(state: list[Any]) -> Any:
        return evaluate_for_any_runtime(parameters["cond_jaxpr"], *of_condition, *state)[0]

    def body(state: list[Any]) -> list[Any]:
        return evaluate_for_any_runtime(parameters["body_jaxpr"], *of_body, *state)

    end: list[Any] = jax.lax.while_loop(condition, body, start)
    return end


def check_packages() -> None:
    """Raises `ConfigError` if the converter, or the runtime for its result, is not installed."""
    for name in ("jax2onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:  # the package, or one that it imports, is missing
            raise ConfigError(
                f"ONNX needs the package {error.name or name}: pip install 'ioub_jax[onnx]'."
            ) from None


def check_same(expected: Mapping[str, Any], found: Mapping[str, Any], side: int) -> None:
    """Refuses a program whose detections in an image differ from those of the detector.

    Detections whose scores differ in the last bits may be swapped.

    Args:
      expected: the detector's `boxes` `[1, K, 4]`, `labels`, `scores` and `valid` `[1, K]`.
      found: the same of the program.
      side: the side of the image, in pixels.

    Raises:
      ConfigError: the detections differ.
    """
    limits = {"boxes": _TOLERANCE * side, "scores": _TOLERANCE, "labels": 0.0, "valid": 0.0}
    number = expected["valid"].shape[1]
    agrees = np.ones((number, number), bool)
    for name, limit in limits.items():
        ours, theirs = (
            np.asarray(part[name][0], np.float64).reshape(number, -1) for part in (expected, found)
        )
        agrees &= np.abs(ours[:, None] - theirs[None]).max(axis=2) <= limit
    same = min(agrees.any(axis=0).mean(), agrees.any(axis=1).mean())
    if same < _LEAST_SAME:
        raise ConfigError(
            f"The ONNX program of jax2onnx finds other boxes ({same:.0%} are the "
            "same); export to StableHLO."
        )
