"""A batch in turns: a few examples at a time, where that keeps what is between in a CPU's cache."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Shaped


def few_at_a_time(
    function: Callable[[Array], Array], x: Shaped[Array, "batch ..."], *, each: int
) -> Shaped[Array, "batch ..."]:
    """`function`, from batch to batch, on CPU of `each` examples a device at a time, elsewhere of all at once.

    The examples taken together lie `batch / (each * devices)` apart, so that in a batch sharded over devices every
    device has its share of each turn. A batch of unknown size, as `jax.export` makes programs of, is one device's, and
    the platform is not known before the program runs.
    """
    known = isinstance(x.shape[0], int)
    group = each * (jax.device_count() if known else 1)

    def in_turns(x):
        y = jax.lax.map(function, x.reshape(group, -1, *x.shape[1:]).swapaxes(0, 1)).swapaxes(0, 1)
        return y.reshape(x.shape[0], *y.shape[2:])

    if x.shape[0] % group:
        return function(x)
    if not known:
        return jax.lax.platform_dependent(x, cpu=in_turns, default=function)
    return in_turns(x) if jax.default_backend() == "cpu" else function(x)
