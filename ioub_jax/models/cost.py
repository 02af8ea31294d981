"""Cost of a model: parameters, and multiply-adds of its convolutions and matrix products."""

import math
from collections.abc import Callable
from typing import Any

import jax


def parameter_count(params: Any) -> int:
    """Number of parameters in a tree of arrays or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def multiply_adds(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-adds of the convolutions and matrix products in the trace of a function.

    The literature calls this the FLOPs of a network. Nothing is computed or compiled. For
    `jax.lax.platform_dependent` the default branch counts, which is the plain convolution; for any
    other `cond` the most expensive branch counts.

    Args:
      function: anything that `jax.jit` takes.
      *arguments: its arguments, or their `jax.ShapeDtypeStruct`.
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    shapes = [variable.aval.shape for variable in equation.invars]
    outputs = math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        # Each output is the product of a window with one output channel's kernel.
        channel_axis = parameters["dimension_numbers"].rhs_spec[0]
        return outputs * math.prod(shapes[1]) // shapes[1][channel_axis]
    if name == "dot_general":
        contracted, _ = parameters["dimension_numbers"]
        return outputs * math.prod(shapes[0][axis] for axis in contracted[0])
    if name == "cond":
        branches = parameters["branches"]
        # The platforms of each branch, None for the default branch. None instead of a list if the
        # condition is not the platform.
        platforms = parameters.get("branches_platforms")
        if platforms is not None:
            branches = [branches[platforms.index(None)]]
        return max(_of_jaxpr(branch.jaxpr) for branch in branches)
    repeats = parameters["length"] if name == "scan" else 1
    return repeats * sum(_of_jaxpr(v) for v in parameters.values() if hasattr(v, "eqns"))
