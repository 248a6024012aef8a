"""A detector as pure functions: what builds it, its static graph, its parameters and running statistics."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from dfjax import models
from dfjax.models import heads
from dfjax.models.streams import Rngs


def make_builder(
    name: str, kwargs: Mapping[str, Any], loss: str, *, bias: float = 0.0, dtype: str = "float32"
) -> Callable:
    """Rngs -> a detector with the head that its loss is defined on.

    What is returned raises InputError as `models.build` and `heads.for_loss` do.

    Args:
      name: of the detector.
      kwargs: what it is built with.
      loss: the name of its loss.
      bias: of the output, a logit.
      dtype: what it computes in.
    """
    of = jnp.dtype(dtype)

    def build(rngs):
        model = models.build(name, rngs=rngs, dtype=of, **kwargs)
        model.head = heads.for_loss(model, loss, rngs=rngs)
        heads.start_at(model.head, bias)
        return model

    return build


def split(model: nnx.Module) -> tuple[nnx.GraphDef, PyTree, PyTree]:
    """(graphdef, params, model_state) of a model; the last two as plain nested dicts."""
    graphdef, params, model_state = nnx.split(model, nnx.Param, ...)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(model_state)


def graph(build: Callable[[nnx.Rngs], nnx.Module]) -> nnx.GraphDef:
    """The static part of what `build` makes; nothing is computed."""
    return split(nnx.eval_shape(lambda: build(Rngs(params=jax.random.key(0)))))[0]


def evaluation_model(graphdef: nnx.GraphDef, params: PyTree, model_state: PyTree) -> nnx.Module:
    """The model of the three parts of `split`, in evaluation mode: no dropout, running statistics."""
    model = nnx.merge(graphdef, params, model_state, copy=True)
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)


def shapes(build: Callable[[nnx.Rngs], nnx.Module], sharding: jax.sharding.Sharding) -> tuple[PyTree, PyTree]:
    """(params, model_state) of what `build` makes as shapes with a sharding, for a checkpoint to be read into."""
    params, model_state = jax.eval_shape(lambda: split(build(Rngs(params=jax.random.key(0))))[1:])
    struct = jax.ShapeDtypeStruct
    return jax.tree.map(lambda x: struct(x.shape, x.dtype, sharding=sharding), (params, model_state))
