"""A batch in parts: each device has its own, and on a CPU a few examples are taken at a time."""

import functools
from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree, Shaped


def few_at_a_time(
    function: Callable[[PyTree], Array], x: PyTree[Shaped[Array, "batch ..."]], *, each: int
) -> Shaped[Array, "batch ..."]:
    """`function`, from batch to batch, on CPU of `each` examples at a time, elsewhere of all at once; see `alone`.

    On a CPU what is between stays in its cache; examples taken together lie `batch / each` apart. A batch of unknown
    size, as `jax.export` makes programs of, is one device's, and the platform is not known before the program runs.
    """
    return alone(functools.partial(_few_at_a_time, function, each), x)


def alone(
    function: Callable[..., Array], x: PyTree[Shaped[Array, "batch ..."]], *same: PyTree
) -> Shaped[Array, "batch ..."]:
    """`function`, from batch to batch, by each device of its own part of the batch.

    Which devices share the batch says `devices.shared_by`; without it, or where they do not divide the
    batch, this is `function(x, *same)`. Left to the compiler, which does not split a Fourier transform, every device
    would transform the frames of all. What is the `same` for all examples, as parameters are, goes in beside them:
    devices then add up its gradient once, after a loop in `function`, and not in each of its turns.
    """
    batch, mesh = jax.tree.leaves(x)[0].shape[0], jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.manual_axes or mesh.size == 1 or not isinstance(batch, int) or batch % mesh.size:
        return function(x, *same)
    part, whole = PartitionSpec("data"), PartitionSpec()
    run = jax.shard_map(function, in_specs=(part,) + (whole,) * len(same), out_specs=part, check_vma=False)
    return run(x, *same)


def _few_at_a_time(function: Callable[[PyTree], Array], each: int, x: PyTree) -> Array:
    batch = jax.tree.leaves(x)[0].shape[0]

    def in_turns(x):
        x = jax.tree.map(lambda part: part.reshape(each, -1, *part.shape[1:]).swapaxes(0, 1), x)
        y = jax.lax.map(function, x).swapaxes(0, 1)
        return y.reshape(batch, *y.shape[2:])

    if batch % each:
        return function(x)
    if not isinstance(batch, int):
        return jax.lax.platform_dependent(x, cpu=in_turns, default=function)
    return in_turns(x) if jax.default_backend() == "cpu" else function(x)
