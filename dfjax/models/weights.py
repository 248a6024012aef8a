"""Released weights: read from a file, translated to Flax's names and layouts, every name and shape checked."""

import pathlib
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from dfjax.models import torch_file
from dfjax.records import InputError

STATISTICS = {"running_mean": "mean", "running_var": "var"}  # PyTorch's name of a variable -> Flax's
NAMES = {"kernel": "weight", "scale": "weight"} | {ours: theirs for theirs, ours in STATISTICS.items()}


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


def layout(tensor: np.ndarray) -> np.ndarray:
    """PyTorch's layout of a kernel to Flax's: convolutions to (..., inputs, outputs), matrices transposed."""
    return np.moveaxis(tensor, (0, 1), (-1, -2)) if tensor.ndim > 1 else tensor


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
            value = layout(value)
        converted[stem + dot + STATISTICS.get(last, last)] = value
    return converted


def torch_name(path: Iterable[str | int]) -> str:
    """('blocks', 0, 'norm', 'scale') -> 'blocks.0.norm.weight', which most checkpoints use unchanged."""
    *modules, variable = path
    return ".".join(map(str, (*modules, NAMES.get(str(variable), variable))))


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


def fill_by_name(
    build: Callable[[], nnx.Module],
    tensors: dict[str, np.ndarray],
    path: str | pathlib.Path,
    *,
    name: Callable[[tuple], str] = torch_name,
    unused: Callable[[str], bool],
) -> nnx.Module:
    """The module that `build` makes, with released weights in place of random ones; only `head` stays random.

    Args:
      build: makes the module; it is only traced, so no time goes into random weights.
      tensors: the checkpoint, name -> array in PyTorch's layout.
      path: its file, for errors.
      name: from the path of a variable in the module to its name in the checkpoint.
      unused: whether a name in the checkpoint may be left over, such as a classifier's.

    Raises:
      InputError: a tensor is missing, has another shape, or was not expected.
    """
    graphdef, state = nnx.split(nnx.eval_shape(build))
    flat, left = nnx.to_flat_state(state), dict(tensors)
    missing = [name(parts) for parts, _ in flat if parts[0] != "head" and name(parts) not in left]
    if missing:
        raise InputError(f"{path} lacks {len(missing)} tensors of the model, first {missing[0]!r}")
    filled = []
    for parts, variable in flat:
        if parts[0] == "head":
            continue
        tensor = left.pop(name(parts))
        tensor = layout(tensor) if parts[-1] == "kernel" else tensor
        if tensor.shape != variable.shape:
            raise InputError(f"{path}: {name(parts)!r} has shape {tensor.shape}, expected {variable.shape}")
        filled.append((parts, variable.replace(jnp.asarray(tensor, variable.dtype))))
    extra = sorted(n for n in left if not unused(n))
    if extra:
        raise InputError(f"{path} has {len(extra)} tensors that the model lacks, first {extra[0]!r}")
    # Under jit all random weights but the head's are dead code.
    head = nnx.to_flat_state(jax.jit(lambda: nnx.state({"head": build().head}))())
    return nnx.merge(graphdef, nnx.from_flat_state([*filled, *head]))
