"""From an experiment's numbers to an optax transformation, its schedule, and the mean of snapshots."""

import functools
from collections.abc import Callable

import jax
import optax
from jaxtyping import Array, Int, PyTree

from dfjax.records import InputError


def build(
    *,
    total_steps: int,
    learning_rate: float,
    schedule: str = "cosine",
    final_learning_rate: float = 0.0,
    warmup_steps: int = 0,
    optimizer: str = "adamw",
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    trainable: Callable[[tuple], bool] | None = None,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The transformation, and the schedule it follows so that the caller can log the learning rate.

    Args:
      total_steps: updates in the whole run; the cosine ends there.
      learning_rate: the peak, reached after the warm-up.
      schedule: 'cosine' (per step) or 'constant', either after a linear warm-up.
      final_learning_rate: where the cosine ends.
      warmup_steps: updates of the warm-up, fewer than `total_steps`.
      optimizer: 'adamw' decays weights apart from the gradient (Loshchilov and Hutter, ICLR 2019); 'adam' (Kingma and
        Ba, ICLR 2015) adds the decay to the gradient before the moments, as PyTorch's does (the AASIST recipe: 1e-4 to
        5e-6, weight_decay 1e-4, on all parameters).
      weight_decay: strength of either; 'adamw' leaves out biases and norms (see `decayed`).
      clip_norm: the largest global norm of a gradient; None does not clip.
      b1: decay of the first moment.
      b2: decay of the second moment.
      trainable: whether the parameter at a path is trained; the others are neither decayed nor given slots. None
        trains all.

    Raises:
      InputError: numbers that make no schedule.
    """
    rate = build_schedule(
        schedule, total_steps, learning_rate=learning_rate, final=final_learning_rate, warmup_steps=warmup_steps
    )
    update = {
        "adamw": optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=decayed),
        "adam": optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(rate, b1=b1, b2=b2)),
    }[optimizer]
    update = optax.chain(optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(), update)
    if trainable is not None:
        update = optax.partition({True: update, False: optax.set_to_zero()}, functools.partial(trained, trainable))
    return update, rate


def build_schedule(
    name: str, total_steps: int, *, learning_rate: float, final: float = 0.0, warmup_steps: int = 0
) -> optax.Schedule:
    """Step -> learning rate: a linear warm-up, then 'cosine' down to `final` at `total_steps`, or 'constant'.

    The cosine is that of Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts.

    Raises:
      InputError: a warm-up that is no part of the run, or `final` above the learning rate, below 0 or of 'constant'.
    """
    if not 0 <= warmup_steps < total_steps:
        told = "config.optim.warmup_steps must be in [0, config.train.steps)"
        raise InputError(f"{told}, got {warmup_steps} of {total_steps}")
    if not 0 <= final <= learning_rate:
        raise InputError(f"need 0 <= final <= learning_rate, got {final} and {learning_rate}")
    if final and name == "constant":
        raise InputError(
            f"config.optim.final_learning_rate={final} is where the cosine ends; set it to 0, or "
            "config.optim.schedule='cosine'"
        )

    first = learning_rate / (warmup_steps + 1)  # not 0, or the first update would change nothing
    warmup = optax.linear_schedule(first, learning_rate, warmup_steps)
    return {
        "cosine": optax.warmup_cosine_decay_schedule(first, learning_rate, warmup_steps, total_steps, final),
        "constant": optax.join_schedules([warmup, optax.constant_schedule(learning_rate)], [warmup_steps]),
    }[name]


def decayed(params: PyTree) -> PyTree:
    """Which leaves weight decay acts on: those of two axes or more, so not biases, norms and scalars."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def trained(trainable: Callable[[tuple], bool], params: PyTree) -> PyTree:
    """Which leaves are trained; `trainable` is asked with the names on the way to each."""
    return jax.tree_util.tree_map_with_path(lambda path, _: trainable(tuple(p.key for p in path)), params)


def held(trainable: Callable[[tuple], bool], params: PyTree) -> PyTree:
    """The parameters, those that are not trained without gradient: the compiler leaves its computation out."""
    stop = jax.lax.stop_gradient
    return jax.tree.map(lambda leaf, on: leaf if on else stop(leaf), params, trained(trainable, params))


def running_mean(average: PyTree, params: PyTree, count: int | Int[Array, ""]) -> PyTree:
    """The mean of `count` snapshots, which `average` is, and one more, `params`; AASIST adds one at each best epoch."""
    return jax.tree.map(lambda a, p: a + (p - a) / (count + 1), average, params)
