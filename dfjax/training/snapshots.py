"""The mean of a run's best snapshots, as AASIST was trained: a kind of stochastic weight averaging.

Each evaluation whose average precision is at least the best so far adds the parameters to a running mean. At the
end the statistics of batch normalisation are collected anew for the mean, over as many training batches as lie
between two evaluations, and the result becomes one more checkpoint, which validation judges like the others.
(Izmailov et al., UAI 2018, take snapshots at fixed times of a cyclic schedule; the published AASIST took those
of the lowest validation EER, and always used the mean.)
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from dfjax.models.streams import Rngs
from dfjax.runtime import checkpoint
from dfjax.training import optim


def start(params: PyTree) -> dict[str, PyTree]:
    """No snapshot yet: their `mean`, like `params`, their `count`, and the `best` average precision so far."""
    return {
        "mean": jax.tree.map(jnp.zeros_like, params),
        "count": jnp.zeros((), jnp.int32),
        "best": jnp.zeros((), jnp.float32),
    }


def add(snapshots: dict[str, PyTree], params: PyTree, value: float | None) -> dict[str, PyTree]:
    """The snapshots; with `params` if `value`, their average precision, is at least the best so far. None never is."""
    return _add(snapshots, params, np.float32(np.nan if value is None else value))


@jax.jit
def _add(snapshots, params, value):
    taken, count = value >= snapshots["best"], snapshots["count"]
    longer = optim.running_mean(snapshots["mean"], params, count)
    return {
        "mean": jax.tree.map(lambda new, old: jnp.where(taken, new, old), longer, snapshots["mean"]),
        "count": count + taken,
        "best": jnp.where(taken, value, snapshots["best"]),
    }


def finish(
    state: checkpoint.State,
    graphdef: nnx.GraphDef,
    batches: Iterable[tuple[Any, Key[Array, ""]]],
    make_x: Callable[[Any, Key[Array, ""]], tuple[PyTree, Key[Array, ""]]],
    sharding: jax.sharding.Sharding,
) -> checkpoint.State:
    """One step beyond the last: the mean of the snapshots, with statistics of its own over training batches.

    Args:
      state: after the last step, with at least one snapshot.
      graphdef: the model's static part.
      batches: (what the feed hands over, key) of each batch.
      make_x: of those the model's input and its key, inside jit.
      sharding: of the statistics.
    """

    @functools.partial(jax.jit, out_shardings=sharding)
    def more(params, mean, count, data, key):
        x, key_model = make_x(data, key)
        return statistics(graphdef, params, mean, count, x, key_model)

    params, seen = state.snapshots["mean"], state.model_state
    for count, (data, key) in enumerate(batches):
        seen = more(params, seen, np.int32(count), data, key)
    return dataclasses.replace(state, step=state.step + 1, params=params, model_state=seen)


def statistics(
    graphdef: nnx.GraphDef,
    params: PyTree,
    mean: PyTree,
    count: Int[Array, ""],
    x: Float[Array, "batch ..."],
    key: Key[Array, ""],
) -> PyTree:
    """The mean of the running statistics over `count` batches, `mean`, joined by those of one more batch.

    Args:
      graphdef: the model's static part.
      params: its parameters.
      mean: of the statistics so far.
      count: of the batches so far.
      x: the batch, as the model takes it.
      key: of dropout, which is on as in training.
    """
    model = nnx.merge(graphdef, params, mean, copy=True)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            module.momentum = 0.0  # keeps nothing of earlier batches
    model = nnx.view(model, deterministic=False, use_running_average=False, raise_if_not_found=False)
    model(x, rngs=Rngs(dropout=key))
    return optim.running_mean(mean, nnx.to_pure_dict(nnx.split(model, nnx.Param, ...)[2]), count)
