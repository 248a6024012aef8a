"""Published weights into a model: names and layouts translated, every name and shape checked."""

import pathlib
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dfjax.records import InputError

NORM = {"running_mean": "mean", "running_var": "var"}


def to_flax(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's names and layouts to Flax's: convolutions to (..., inputs, outputs), linear maps transposed.

    `weight` becomes `kernel`, or `scale` where it has one axis; running statistics become `mean` and `var`;
    batch counters are dropped; all else keeps its name.
    """
    converted = {}
    for name, value in weights.items():
        stem, dot, last = name.rpartition(".")
        if last == "num_batches_tracked":
            continue
        if last == "weight":
            last = "kernel" if value.ndim > 1 else "scale"
            value = np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value
        converted[stem + dot + NORM.get(last, last)] = value
    return converted


def fill(build: Callable[[], nnx.Module], arrays: Mapping[str, np.ndarray], source: str | pathlib.Path) -> nnx.Module:
    """The module that `build` describes, every variable taken from `arrays` (dotted path -> value).

    `build` is only traced, so no weights are drawn to be thrown away.

    Raises:
      InputError: a name is missing or left over, or a shape differs; the message names the first of each.
    """
    model = nnx.eval_shape(build)
    graph, state = nnx.split(model)
    flat = {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    missing, left_over = sorted(flat.keys() - arrays.keys()), sorted(arrays.keys() - flat.keys())
    wrong = [n for n in sorted(flat.keys() & arrays.keys()) if flat[n].shape != arrays[n].shape]
    if missing or left_over or wrong:
        shapes = [f"{n} is {arrays[n].shape}, expected {flat[n].shape}" for n in wrong]
        found = f"missing {missing[:3]}, left over {left_over[:3]}, shapes {shapes[:3]}"
        raise InputError(f"{source} does not fit {type(model).__name__}: {found}")
    for name, variable in flat.items():
        variable.set_value(jnp.asarray(arrays[name], variable.dtype))
    return nnx.merge(graph, state)
