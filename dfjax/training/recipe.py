"""What an experiment's words mean: its plan against imbalance, its input, detector, optimiser and loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from dfjax import models
from dfjax.data import inputs, sampling, sources
from dfjax.imbalance import balance, rates
from dfjax.models import functional
from dfjax.models.streams import Rngs
from dfjax.records import Input, InputError
from dfjax.runtime import devices
from dfjax.training import losses, optim


def tally(split: sources.Split) -> tuple[dict[tuple[int, str], int], int]:
    """Records of each (label, method), unknown labels left out, and the independent groups of the smaller class."""
    return rates.cell_counts(split.label, split.method), rates.minority_groups(split.label, split.group)


def make_plan(config: ml_collections.ConfigDict, counts: rates.Counts, groups: int) -> balance.Plan:
    """What the experiment's words about balance mean for a training split, given its `tally`: `counts` and `groups`.

    Raises:
      InputError: see `balance.plan`.
    """
    words = config.balance.to_dict()
    return balance.plan(
        counts,
        sampling=words["sampling"],
        loss=config.loss.name,
        loss_kwargs=config.loss.kwargs.to_dict(),
        allow_stacking=words["allow_stacking"],
        minority_groups=groups,
    )


def make_strata(config: ml_collections.ConfigDict, plan: balance.Plan, split: sources.Split) -> sampling.Strata:
    """The rows of the training split that a run draws by stratum, and how often; the same for both feeds.

    Raises:
      InputError: see `inputs.strata_rates`, `rates.draws` and `sampling.strata`.
    """
    shares = inputs.strata_rates(config.augment.self_fakes, config.train.batch, plan.rates)
    weights = config.data.get("datasets") or {}
    weight_of = {name: weights[entry] for entry, name in sources.names_of(weights).items()}
    drawn = rates.draws(
        split.label,
        split.method,
        plan.sampling,
        shares,
        domains=split.domain,
        weights=np.array([weight_of.get(name, 1.0) for name in split.of.tolist()]),
        seed=config.seed,
    )
    return sampling.strata(*drawn)


def check_input(config: ml_collections.ConfigDict, takes: Input) -> None:
    """Raises InputError where the experiment makes no input of the kind that its detector `takes`."""
    make_input(config, takes.modality)
    if (window := config.augment.get("size", 0)) > (takes.size or window):
        raise InputError(f"config.augment.size={window}: expected at most the side of the pictures, {takes.size}")


def make_input(config: ml_collections.ConfigDict, modality: str, fakes: int | None = None) -> Callable:
    """(key, examples) -> (the model's input, labels), see `inputs.make`.

    Args:
      config: the experiment.
      modality: of the detector.
      fakes: how many of the examples are made into fakes; None for as many as the experiment says of a batch.

    Raises:
      InputError: fakes cannot be made at the share that `config.augment` says.
    """
    count = inputs.made(config.augment.self_fakes, config.train.batch) if fakes is None else fakes
    words = {"seconds": config.data.get("seconds"), "mixed": _has_several_reals(config)}
    return inputs.make(config.augment.to_dict(), modality, count, **words)


def _has_several_reals(config: ml_collections.ConfigDict) -> bool:
    """Whether real examples may be drawn from several strata, see `rates.draws`."""
    sampling = config.balance.to_dict()["sampling"]
    return not isinstance(sampling, str) or sampling in ("balanced_methods", "balanced_domains")


def codec_rate(config: ml_collections.ConfigDict) -> float:
    """The share of the clips that pass through a lossy codec on the host, on their way into a feed; 0 if not named."""
    return config.augment.get("codec_rate", 0.0)


def clip_rule(config: ml_collections.ConfigDict) -> str:
    """How the experiment makes a clip's score of its frames or windows, for `clip_score.clip_scores`."""
    return config.get("score", {}).get("clip", "mean")


def make_builder(config: ml_collections.ConfigDict, bias: float = 0.0, *, training: bool = False) -> Callable:
    """Rngs -> the experiment's detector, the output bias at `bias`, a logit; see `functional.make_builder`.

    Only training computes in `config.model.dtype`. Scores are float32: those of one checkpoint are then alike on every
    device, and with them the threshold, while bfloat16 keeps two to three digits, and which ones depends on the device.
    """
    dtype = config.model.get("dtype", "float32") if training else "float32"
    words = config.model.name, config.model.kwargs.to_dict(), config.loss.name
    return functional.make_builder(*words, bias=bias, dtype=dtype)


def make_front(config: ml_collections.ConfigDict) -> Callable:
    """Waveforms (batch, time) -> (batch, statistics): the detector's front end, which learns nothing."""
    return nnx.eval_shape(lambda: make_builder(config)(Rngs(0))).statistics  # no parameter is made


def part_size(config: ml_collections.ConfigDict) -> int:
    """Examples that a step takes at once: the batch, or one of its `config.train.accumulate` equal parts.

    Raises:
      InputError: it has no such parts.
    """
    batch, parts = config.train.batch, config.train.get("accumulate", 1)
    if parts < 1 or batch % parts:
        raise InputError(
            f"config.train.accumulate={parts} must divide config.train.batch={batch}, which it splits into parts"
        )
    return batch // parts


def make_optimizer(config: ml_collections.ConfigDict):
    """(transformation, schedule) of the experiment, see `optim.build`.

    Raises:
      InputError: two averages at once, or numbers that make no schedule.
    """
    kwargs = config.optim.to_dict()
    if kwargs.pop("ema") and kwargs.get("swa"):
        raise InputError("config.optim.ema and config.optim.swa are two averages; expected one of them")
    kwargs.pop("swa", None)
    return optim.build(total_steps=config.train.steps, trainable=_trainable(config), **kwargs)


def _trainable(config: ml_collections.ConfigDict) -> Callable[[tuple], bool] | None:
    """Path of a parameter -> whether the detector trains it; None where it trains all that it has."""
    cls = models.model_class(config.model.name)
    return cls.trainable if getattr(cls, "tuned", False) else None


def make_view(config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh) -> Callable[[PyTree], PyTree]:
    """The parameters as training sees them: whole on every device, and those held back without gradient."""
    trainable, fsdp = _trainable(config), config.train.get("fsdp", False)

    def seen(params: PyTree) -> PyTree:
        params = devices.gather(mesh, params) if fsdp else params
        return params if trainable is None else optim.held(trainable, params)

    return seen


def make_penalty(config: ml_collections.ConfigDict) -> Callable | None:
    """(embeddings, labels) -> what `config.loss.uniformity` and `.alignment` add to the loss; None if nothing."""
    uniformity, alignment = (config.loss.get(name, 0.0) for name in ("uniformity", "alignment"))
    if not uniformity and not alignment:
        return None

    def penalty(embeddings, labels):
        spread, close = losses.uniformity_alignment(embeddings, labels)
        return uniformity * spread + alignment * close

    return penalty


def make_loss(plan: balance.Plan, steps: int) -> Callable:
    """(logits, labels, step) -> per-example loss of a run of `steps`; deferred re-weighting switches weights at a step.

    Raises:
      InputError: see `losses.build`.
    """
    early = losses.build(plan.loss, **plan.loss_kwargs)
    if plan.deferred_weights is None:
        return lambda logits, labels, step: early(logits, labels)
    late = losses.build(plan.loss, **{**plan.loss_kwargs, "weights": plan.deferred_weights})
    switch = plan.switch(steps)
    return lambda logits, labels, step: jnp.where(step < switch, early(logits, labels), late(logits, labels))
