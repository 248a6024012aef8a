"""A detector as pure functions: what an experiment builds, its static graph, its parameters and running statistics."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx
from jaxtyping import PyTree

from dfjax import models
from dfjax.models import heads
from dfjax.models.streams import Rngs


def make_builder(config: ml_collections.ConfigDict, bias: float = 0.0, *, training: bool = False) -> Callable:
    """Rngs -> the experiment's detector with the head that its loss is defined on, the output bias at `bias`, a logit.

    Only training computes in `config.model.dtype`. Scores are float32: those of one checkpoint are then alike on every
    device, and with them the threshold, while bfloat16 keeps two to three digits, and which ones depends on the device.
    What is returned raises InputError as `models.build` and `heads.for_loss` do.
    """
    dtype = jnp.dtype(config.model.get("dtype", "float32") if training else "float32")

    def build(rngs):
        model = models.build(config.model.name, rngs=rngs, dtype=dtype, **config.model.kwargs.to_dict())
        model.head = heads.for_loss(model, config.loss.name, rngs=rngs)
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
