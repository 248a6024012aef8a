"""Released weights: read a checkpoint, then fill a module with it, every name and every shape checked."""

import pathlib
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from dfjax.models import torch_file
from dfjax.records import InputError

NAMES = {  # of a flax variable in a PyTorch checkpoint
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def read(path: str | pathlib.Path, *, source: str) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors` or `.pth` file, or of `model.safetensors` in a folder, by name.

    Args:
      path: of the file, or of a folder as Hugging Face stores it.
      source: where the weights are published; the error for a missing file says so.

    Raises:
      InputError: no such file, or not one that can be read.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise InputError(f"no such file: {path}; download the weights from {source} and give their path")
    if path.suffix != ".safetensors":
        return torch_file.state_dict(path)
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from error


def torch_name(path: Iterable[str | int]) -> str:
    """('blocks', 0, 'norm', 'scale') -> 'blocks.0.norm.weight', which most checkpoints use unchanged."""
    *modules, variable = path
    return ".".join(map(str, (*modules, NAMES.get(str(variable), variable))))


def from_torch(tensor: np.ndarray, variable: str) -> np.ndarray:
    """PyTorch's layout to flax's: convolutions (out, in, h, w) -> (h, w, in, out), matrices transposed."""
    if variable == "kernel":
        return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    return tensor


def fill(
    build: Callable[[], nnx.Module],
    tensors: dict[str, np.ndarray],
    *,
    name: Callable[[tuple], str] = torch_name,
    unused: Callable[[str], bool],
) -> nnx.Module:
    """The module that `build` makes, with released weights in place of random ones; only `head` stays random.

    Args:
      build: makes the module; it is only traced, so no time goes into random weights.
      tensors: the checkpoint, name -> array in PyTorch's layout.
      name: from the path of a variable in the module to its name in the checkpoint.
      unused: whether a name in the checkpoint may be left over, such as a classifier's.

    Raises:
      InputError: a tensor is missing, has another shape, or was not expected.
    """
    graphdef, state = nnx.split(nnx.eval_shape(build))
    flat, left = nnx.to_flat_state(state), dict(tensors)
    missing = [name(path) for path, _ in flat if path[0] != "head" and name(path) not in left]
    if missing:
        raise InputError(f"the checkpoint lacks {len(missing)} tensors of the model, first {missing[0]!r}")
    filled = []
    for path, variable in flat:
        if path[0] == "head":
            continue
        tensor = from_torch(left.pop(name(path)), path[-1])
        if tensor.shape != variable.shape:
            raise InputError(f"{name(path)!r} has shape {tensor.shape}, expected {variable.shape}")
        filled.append((path, variable.replace(jnp.asarray(tensor, variable.dtype))))
    extra = sorted(n for n in left if not unused(n))
    if extra:
        raise InputError(f"the checkpoint has {len(extra)} tensors that the model lacks, first {extra[0]!r}")
    # Under jit all random weights but the head's are dead code.
    head = nnx.to_flat_state(jax.jit(lambda: nnx.state({"head": build().head}))())
    return nnx.merge(graphdef, nnx.from_flat_state([*filled, *head]))
