"""A detector's weights as plain arrays by name, without checkpoint or optimiser, and back into its model."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import nnx, traverse_util
from jaxtyping import PyTree

from dfjax.inference import bundle, detector
from dfjax.models import functional
from dfjax.records import InputError
from dfjax.runtime import devices


def flatten(params: PyTree, model_state: PyTree) -> dict[str, tuple[tuple, Any]]:
    """Name -> (path, leaf) of all arrays; the name is the path as text, as numbers count the layers of a list."""
    flat = traverse_util.flatten_dict({"params": params, "model_state": model_state})
    return {"/".join(map(str, path)): (path, leaf) for path, leaf in flat.items()}


def arrays(params: PyTree, model_state: PyTree) -> dict[str, np.ndarray]:
    """Parameters and running statistics under the paths that they have in the model: what a bundle's weights hold."""
    return {name: np.asarray(leaf) for name, (_, leaf) in flatten(params, model_state).items()}


def digest(params: PyTree, model_state: PyTree) -> str:
    """`detector.digest` of all arrays."""
    return detector.digest(arrays(params, model_state))


def restore(build: Callable[[nnx.Rngs], nnx.Module], folder: pathlib.Path) -> tuple[PyTree, PyTree]:
    """(params, model_state) of the weights in a folder, for the detector that `build` makes.

    Raises:
      InputError: they cannot be read, or are of another model.
    """
    path, sharding = folder / bundle.WEIGHTS, devices.replicated(devices.make_mesh())
    params, model_state = functional.shapes(build, sharding)
    wanted = flatten(params, model_state)
    try:
        found = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); install dfjax again, or give a --workdir") from error
    if {name: leaf.shape for name, leaf in found.items()} != {name: leaf.shape for name, (_, leaf) in wanted.items()}:
        raise InputError(f"{path} holds the weights of another model than its config.json; install dfjax again")
    nested = traverse_util.unflatten_dict({wanted[name][0]: leaf for name, leaf in found.items()})
    tree = {"params": {}, "model_state": {}} | nested
    placed = jax.device_put(tree, sharding)
    return placed["params"], placed["model_state"]
