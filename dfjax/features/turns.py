"""A batch in turns: a few examples at a time, where that keeps what is between in a CPU's cache."""

from collections.abc import Callable

import jax
from jaxtyping import Array, PyTree, Shaped


def few_at_a_time(
    function: Callable[[PyTree], Array], x: PyTree[Shaped[Array, "batch ..."]], *, each: int
) -> Shaped[Array, "batch ..."]:
    """`function`, from batch to batch, on CPU of `each` examples a device at a time, elsewhere of all at once.

    The examples taken together lie `batch / (each * devices)` apart, so that in a batch sharded over devices every
    device has its share of each turn. In a program that runs on each device's part alone (`jax.shard_map`) the batch is
    that part. A batch of unknown size, as `jax.export` makes programs of, is one device's, too, and the platform is not
    known before the program runs.
    """
    batch = jax.tree.leaves(x)[0].shape[0]
    known, part = isinstance(batch, int), jax.sharding.get_abstract_mesh().manual_axes
    group = each * (jax.device_count() if known and not part else 1)

    def in_turns(x):
        x = jax.tree.map(lambda part: part.reshape(group, -1, *part.shape[1:]).swapaxes(0, 1), x)
        y = jax.lax.map(function, x).swapaxes(0, 1)
        return y.reshape(batch, *y.shape[2:])

    if batch % group:
        return function(x)
    if not known:
        return jax.lax.platform_dependent(x, cpu=in_turns, default=function)
    return in_turns(x) if jax.default_backend() == "cpu" else function(x)
