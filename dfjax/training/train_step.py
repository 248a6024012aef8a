"""The training step: a pure function of (state, data, key), jitted once, state donated.

One root key serves the whole run; every draw of step s comes from fold_in(key, s), so a resumed run sees the numbers
that the uninterrupted one would have seen, and no key is ever stored.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, PyTree

from dfjax.models import functional
from dfjax.models.streams import Rngs
from dfjax.records import UNKNOWN
from dfjax.runtime import process
from dfjax.runtime.checkpoint import State
from dfjax.training import losses, snapshots

Loss = Callable[[Array, Array, Array], Array]  # (logits, labels, step) -> per-example values


def create(
    build: Callable[[nnx.Rngs], nnx.Module],
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    ema: bool,
    swa: bool = False,
    sharding: jax.sharding.Sharding | Callable[[Any], jax.sharding.Sharding] | None = None,
    shapes_only: bool = False,
):
    """The static graph of the model and its initial state, made in one compiled call.

    Args:
      build: makes the model from its random streams.
      tx: the optimiser.
      key: the root key of the run.
      ema: whether to keep an exponential moving average of the parameters.
      swa: whether to keep the mean of the best snapshots.
      sharding: where the state goes, or a function that says so of each array; the default device if None.
      shapes_only: whether the state's shapes are enough, as for a checkpoint to be read: nothing is compiled.

    Returns:
      graphdef, and the State.
    """

    def init(key):
        params, model_state = functional.split(build(Rngs(params=jax.random.fold_in(key, 2**31 - 1))))[1:]
        return State(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            opt_state=tx.init(params),
            average=jax.tree.map(jnp.copy, params) if ema else None,
            snapshots=snapshots.start(params) if swa else None,
        )

    graphdef = functional.graph(build)
    place = sharding if callable(sharding) else lambda _: sharding
    if shapes_only or callable(sharding):
        shapes = jax.eval_shape(init, key)
    if shapes_only:
        struct = jax.ShapeDtypeStruct
        return graphdef, jax.tree.map(lambda x: struct(x.shape, x.dtype, sharding=place(x)), shapes)
    places = jax.tree.map(place, shapes) if callable(sharding) else sharding
    return graphdef, jax.jit(init, out_shardings=places, compiler_options=process.compiled_once())(key)


def update(
    state: State,
    x: PyTree,
    labels: Array,
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    tx: optax.GradientTransformation,
    loss: Loss,
    ema: float = 0.0,
    accumulate: int = 1,
    seen: Callable[[PyTree], PyTree] = lambda params: params,
    penalty: Callable[[Array, Array], Array] | None = None,
) -> tuple[State, dict[str, Array]]:
    """One optimiser update on one global batch.

    Args:
      state: before the update.
      x: the model's input, leading axis batch.
      labels: (batch,) 1 fake, 0 real; or (batch, parts), see `batch_loss`.
      key: the key of this step.
      graphdef: the model's static part.
      tx: the optimiser.
      loss: per-example loss of (logits, labels, step); its mean is minimised.
      ema: decay of the parameter average per step; warmed up as min(ema, (1 + step) / (10 + step)).
      accumulate: into how many parts the batch is taken, one after another, to need the memory of one. The update is
        that of the whole batch but for batch normalisation and `penalty`, which see the parts, and for other draws of
        dropout.
      seen: the parameters as the model sees them: some held back from training, those of other devices gathered.
      penalty: of (embeddings, labels), added to the loss.

    Returns:
      The new state, and `loss`, `grad_norm` as scalars.
    """

    def objective(params, model_state, x, labels, key):
        model = nnx.merge(graphdef, seen(params), model_state, copy=True)
        model = nnx.view(model, deterministic=False, use_running_average=False, raise_if_not_found=False)
        rngs = Rngs(dropout=key)
        if penalty is None:
            logits, more = model(x, rngs=rngs), 0.0
        else:
            embeddings = model.embed(x, rngs=rngs)
            logits, more = model.head(embeddings), penalty(embeddings, labels)
        return batch_loss(loss, logits, labels, state.step) + more, functional.split(model)[2]

    value_and_grad = jax.value_and_grad(objective, has_aux=True)
    if accumulate > 1:
        value_and_grad = in_parts(value_and_grad, accumulate)
    (value, model_state), gradient = value_and_grad(state.params, state.model_state, x, labels, key)
    updates, opt_state = tx.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if average is not None:
        decay = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
    new = dataclasses.replace(
        state, step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state, average=average
    )
    return new, {"loss": value, "grad_norm": optax.tree.norm(gradient)}


def start(state: State, data: PyTree, key: jax.Array, *, graphdef: nnx.GraphDef) -> State:
    """The state of a detector that starts from its data, see `models.band_kernel`; `data` is the precomputed feed's."""
    model = nnx.merge(graphdef, state.params, state.model_state, copy=True)
    return dataclasses.replace(state, params=model.start(*_all_cuts(data), key))


def newton(state: State, data: PyTree, *, graphdef: nnx.GraphDef, loss: Loss) -> tuple[State, dict[str, Array]]:
    """One Newton step on all of the precomputed feed at once, every clip by the rate at which it would be drawn.

    Returns:
      The new state, and `loss`, `grad_norm` as scalars.
    """
    model = nnx.merge(graphdef, state.params, state.model_state, copy=True)
    params, value, norm = model.newton(*_all_cuts(data), lambda *of: loss(*of, state.step))
    return dataclasses.replace(state, step=state.step + 1, params=params), {"loss": value, "grad_norm": norm}


def _all_cuts(data: PyTree) -> tuple[Array, Array, Array, Array]:
    """Statistics, labels, kinds of fakes and weights of every cut of every clip."""
    copies, rows, _ = data["statistics"].shape
    statistics = data["statistics"].reshape(copies * rows, -1)
    labels, kinds, weights = (jnp.tile(data[name], copies) for name in ("label", "kind", "weight"))
    return statistics, labels, kinds, weights / copies


def batch_loss(loss: Loss, logits: Array, labels: Array, step: Array) -> Array:
    """What an update minimises: the mean loss over the batch, and over all answers of a detector that gives several.

    Logits are (batch,), or (batch * members,) of an ensemble in training. Labels (batch, parts) are those of the whole
    and of its parts, each with a logit of its own: the losses of an example are added up, 0 for a part that is unknown.
    The parts' is plain cross-entropy: weights and shifts of `loss` are made for the rates of the whole.
    """
    if labels.ndim == 1:
        of_each = jnp.repeat(labels, logits.size // labels.size)  # an ensemble answers once for each member
        return loss(logits, of_each, step).mean()
    known = labels[:, 1:] != UNKNOWN
    parts = losses.binary_cross_entropy(logits[:, 1:], jnp.where(known, labels[:, 1:], 0))
    return loss(logits[:, 0], labels[:, 0], step).mean() + jnp.where(known, parts, 0).sum() / len(labels)


def in_parts(value_and_grad: Callable, parts: int) -> Callable:
    """`value_and_grad` of `update`, the batch taken in equal parts: the means of their values and gradients.

    Of every `parts` examples in a row each part gets one, drawn anew. So each device keeps its own examples, and a part
    holds the strata near the rates of the batch, whether they come sorted or in turn.
    """

    def mean(params, model_state, x, labels, key):
        shape = labels.shape[0] // parts, parts
        order = jnp.argsort(jax.random.uniform(jax.random.fold_in(key, parts), shape), axis=1)

        def split_up(a):
            return jax.vmap(lambda row, order: row[order])(a.reshape(*shape, *a.shape[1:]), order).swapaxes(0, 1)

        def add(carry, part):
            sums, model_state = carry
            x, labels, i = part
            of_part = value_and_grad(params, model_state, x, labels, jax.random.fold_in(key, i))
            (value, model_state), gradient = of_part
            return (jax.tree.map(jnp.add, sums, (value, gradient)), model_state), None

        nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        each = jax.tree.map(split_up, (x, labels))
        (sums, model_state), _ = jax.lax.scan(add, (nothing, model_state), (*each, jnp.arange(parts)))
        value, gradient = jax.tree.map(lambda total: total / parts, sums)
        return (value, model_state), gradient

    return mean


def compile_steps(one_step: Callable[[State, Any, jax.Array], tuple[State, dict]], steps: int, sharding: PyTree = None):
    """`steps` updates as one jitted call, state donated: (state, data, key) -> (state, metrics of each step).

    Args:
      one_step: (state, data, step's key) -> (state, metrics); the same `data` serves all steps of a call.
      steps: updates per dispatch.
      sharding: of the state and the metrics that come out, for both or a pair; the compiler's choice if None.
    """

    @functools.partial(jax.jit, donate_argnums=(0,), out_shardings=sharding)
    def run(state: State, data: Any, key: jax.Array):
        def body(state, _):
            return one_step(state, data, jax.random.fold_in(key, state.step))

        if steps > 1:
            return jax.lax.scan(body, state, length=steps)
        # Not even a loop of one: inside any, XLA's CPU backend runs convolutions on one thread of its slow path.
        state, values = body(state, None)
        return state, jax.tree.map(lambda value: value[None], values)

    return run
