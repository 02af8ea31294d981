"""Cost of a program with loops that run more than once.

XLA counts the operations of a loop's body once, whatever the number of iterations. Here, every
iteration except the first adds the cost of the body as a separate program.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

_COUNTED = ("flops", "bytes accessed")


def looped_cost(function: Callable[..., Any], *arguments: Any, turns: int = 1) -> dict[str, float]:
    """Temporary memory, and the flops and bytes of all iterations of the compiled function.

    Args:
      function: anything that `jax.jit` takes.
      *arguments: its arguments, or their `jax.ShapeDtypeStruct`.
      turns: the number of iterations of a loop that does not state it.

    Returns:
      "temporary MiB", "GFLOP" and "GB accessed".
    """
    compiled: Any = jax.jit(function).lower(*arguments).compile()
    counted = _of_function(function, arguments, turns)
    return {
        "temporary MiB": round(compiled.memory_analysis().temp_size_in_bytes / 2**20, 1),
        "GFLOP": round(counted["flops"] / 1e9, 2),
        "GB accessed": round(counted["bytes accessed"] / 1e9, 2),
    }


def _of_function(function: Callable[..., Any], arguments: Any, turns: int) -> dict[str, float]:
    analysis: Any = jax.jit(function).lower(*arguments).compile().cost_analysis()
    total = {name: float(analysis.get(name, 0.0)) for name in _COUNTED}
    for body, shapes, repeats in _loops(jax.make_jaxpr(function)(*arguments).jaxpr, turns):
        once: Any = jax.jit(body).lower(*shapes).compile().cost_analysis()
        every = _of_function(body, shapes, turns)
        for name in _COUNTED:
            # XLA has already counted the body once, and each loop in it once.
            total[name] += repeats * every[name] - float(once.get(name, 0.0))
    return total


def _loops(jaxpr: Any, turns: int) -> Any:
    """Yields the outermost loops: their bodies, the shapes of the arguments, and the iterations."""
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "scan":
            yield _body_of_scan(equation), *_shapes_and_turns(equation)
        elif name == "while":
            body = parameters["body_jaxpr"]
            yield jaxpr_as_fun(body), _structs(body.in_avals), turns
        elif name != "cond":
            for value in parameters.values():
                if hasattr(value, "eqns"):
                    yield from _loops(getattr(value, "jaxpr", value), turns)


def _shapes_and_turns(equation: Any) -> tuple[list[Any], float]:
    parameters = equation.params
    together = min(parameters["unroll"], parameters["length"])
    first = sum(_constants_and_carried(equation))
    shapes = _structs(parameters["jaxpr"].in_avals)
    stacked = [jax.ShapeDtypeStruct((together, *x.shape), x.dtype) for x in shapes[first:]]
    return [*shapes[:first], *stacked], parameters["length"] / together


def _constants_and_carried(equation: Any) -> tuple[int, int]:
    """Returns the numbers of a scan's constant arguments and of its carried arguments.

    They are inferred from the shapes: a stacked argument has one more axis outside the scan than
    inside. The names of a scan's own counts change with jax (`num_consts` in 0.10, none in 0.12).
    """
    inside = equation.params["jaxpr"]
    unstacked = _of_equal_rank(equation.invars, inside.in_avals)
    carried = _of_equal_rank(equation.outvars, inside.out_avals)
    return unstacked - carried, carried


def _of_equal_rank(outside: Any, inside: Any) -> int:
    return sum(
        variable.aval.ndim == aval.ndim for variable, aval in zip(outside, inside, strict=True)
    )


def _body_of_scan(equation: Any) -> Callable[..., Any]:
    """Returns a function that runs one iteration."""
    parameters = equation.params
    step = jaxpr_as_fun(parameters["jaxpr"])
    constants, carried = _constants_and_carried(equation)

    def body(*arguments: jax.Array) -> Any:
        fixed, state = arguments[:constants], list(arguments[constants : constants + carried])
        given = []
        for index in range(min(parameters["unroll"], parameters["length"])):
            some = [array[index] for array in arguments[constants + carried :]]
            found = step(*fixed, *state, *some)
            state, rest = found[:carried], found[carried:]
            given.append(rest)
        return state, jax.tree.map(lambda *steps: jnp.stack(steps), *given)

    return body


def _structs(avals: Any) -> list[Any]:
    return [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
