"""The whole run from prepared records to the best checkpoint, top to bottom.

Order of events that must not change: a batch is a function of the step alone; the state is evaluated and saved after the update that ends
an interval; metrics.jsonl is cut back to the restored step before new lines are appended.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tqdm
from etils import epath
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dfjax import balance, checkpoint, losses, metrics, models, optim, scoring, train_step
from dfjax.data import inputs, resident, sampling, sources
from dfjax.models import heads
from dfjax.records import FAKE, REAL, InputError
from dfjax.score_file import by_clip, known

SCAN = 10  # updates per dispatch on an accelerator; on CPU one: XLA runs convolutions inside a loop on one thread


def make_mesh() -> jax.sharding.Mesh:
    """All devices of all processes along one axis, 'data'."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def class_counts(split: sources.Split) -> tuple[int, int]:
    """(real, fake) records of a split, unknown labels left out."""
    return int((split.label == REAL).sum()), int((split.label == FAKE).sum())


def make_plan(config: ml_collections.ConfigDict, counts: tuple[int, int]) -> balance.Plan:
    """What the experiment's words about balance mean for a training split of so many (real, fake) records."""
    return balance.plan(
        counts,
        sampling=config.balance.sampling,
        loss=config.loss.name,
        loss_kwargs=config.loss.kwargs.to_dict(),
        allow_stacking=config.balance.allow_stacking,
    )


def make_builder(config: ml_collections.ConfigDict, bias: float) -> Callable:
    """rngs -> the experiment's detector, its output bias at the log-odds of what it will see."""

    def build(rngs):
        model = models.build(config.model.name, rngs=rngs, **config.model.kwargs.to_dict())
        heads.start_at(model.head, bias)
        return model

    return build


def make_optimizer(config: ml_collections.ConfigDict):
    """(transformation, schedule) of the experiment."""
    kwargs = config.optim.to_dict()
    kwargs.pop("ema")
    return optim.build(total_steps=config.train.steps, **kwargs)


def make_loss(plan: balance.Plan, steps: int) -> Callable:
    """(logits, labels, step) -> per-example loss; deferred re-weighting switches its weights at a step."""
    early = losses.build(plan.loss, **plan.loss_kwargs)
    if plan.deferred_weights is None:
        return lambda logits, labels, step: early(logits, labels)
    late = losses.build(plan.loss, **{**plan.loss_kwargs, "weights": plan.deferred_weights})
    switch = int(plan.reweight_from * steps)
    return lambda logits, labels, step: jnp.where(step < switch, early(logits, labels), late(logits, labels))


def train(
    config: ml_collections.ConfigDict, workdir: epath.PathLike, directory: epath.PathLike, *, progress: bool = True
) -> dict[str, Any]:
    """Trains, or continues training, and leaves the newest and the best checkpoint in the workdir.

    Args:
      config: the experiment.
      workdir: where checkpoints and metrics.jsonl go.
      directory: the prepared dataset.
      progress: whether to show a progress bar.

    Returns:
      A summary: steps, examples, seconds, examples_per_second, first_step_seconds, best_step, resumed_from.

    Raises:
      InputError: the data or the experiment cannot be trained on.
      FloatingPointError: loss or gradient is not finite; the message names the steps.
    """
    workdir = epath.Path(workdir)
    began = time.perf_counter()

    # ------------------------------------------------------------------ devices
    mesh = make_mesh()
    batch = config.train.batch
    if batch % mesh.size:
        raise InputError(f"config.train.batch={batch} must be divisible by the number of devices, {mesh.size}")
    replicated = NamedSharding(mesh, PartitionSpec())

    # ------------------------------------------------------------------ data
    train_split = sources.open_split(directory, "train")
    validation = sources.open_split(directory, "validation")
    model_class = models.model_class(config.model.name)
    plan = make_plan(config, class_counts(train_split))
    groups = sampling.strata(train_split.label, {REAL: plan.rates[REAL], FAKE: plan.rates[FAKE]})
    arrays = resident.load(train_split, model_class.modality, size=getattr(model_class, "size", None))
    data = jax.device_put({"examples": arrays | {"label": train_split.label}, "strata": groups}, replicated)
    del arrays  # on the device now
    make_input = inputs.make(config, model_class.modality)

    # ------------------------------------------------------------------ model, optimiser, state
    tx, schedule = make_optimizer(config)
    root = jax.random.key(config.seed)
    graphdef, state = train_step.create(make_builder(config, plan.initial_bias), tx, root, ema=config.optim.ema > 0)
    state = jax.device_put(state, replicated)
    loss = make_loss(plan, config.train.steps)

    # ------------------------------------------------------------------ step
    def one_step(state, data, key):
        key_draw, key_input, key_model = jax.random.split(key, 3)
        rows = sampling.draw(key_draw, data["strata"], batch)
        rows = jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, PartitionSpec("data")))
        examples = jax.tree.map(lambda array: array[rows], data["examples"])
        return train_step.update(
            state, make_input(key_input, examples), examples["label"], key_model,
            graphdef=graphdef, tx=tx, loss=loss, ema=config.optim.ema,
        )  # fmt: skip

    per_dispatch = 1 if jax.default_backend() == "cpu" else SCAN
    run_steps = train_step.compile_steps(one_step, per_dispatch)
    scorer = scoring.make_scorer(graphdef, model_class.modality)

    def evaluate(state: train_step.State) -> dict[str, float | None]:
        scores = scoring.score_split(
            scorer, train_step.eval_params(state), state.model_state, validation, model=model_class, batch=batch, mesh=mesh
        )
        clips = by_clip(known(sources.as_scores(validation, scores, {})))
        values = {
            "average_precision": metrics.average_precision(clips.score, clips.label),
            "auc": metrics.roc_auc(clips.score, clips.label),
            "eer": metrics.eer(clips.score, clips.label)[0],
        }
        return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}

    # ------------------------------------------------------------------ resume
    log_path = workdir / "metrics.jsonl"
    with checkpoint.manager(workdir) as checkpoints:
        first = checkpoint.latest_step(checkpoints) or 0
        if first:
            state = checkpoint.restore(checkpoints, first, state)
        log = _cut_log(log_path, first)

        # -------------------------------------------------------------- loop
        total, interval = config.train.steps, config.train.eval_every
        bar = tqdm.tqdm(total=total, initial=first, unit="step", disable=not progress, dynamic_ncols=True, desc="train")
        step, first_step_seconds, pending = first, None, []
        with log:
            while step < total:
                # never past an evaluation or the end, and the remainder in single steps: the step compiles once
                count = per_dispatch if per_dispatch <= min(total, step + interval - step % interval) - step else 1
                runner = run_steps if count == per_dispatch else train_step.compile_steps(one_step, 1)
                state, values = runner(state, data, root)
                if first_step_seconds is None:
                    jax.block_until_ready(values)
                    first_step_seconds = time.perf_counter() - began
                step += count
                bar.update(count)
                pending.append((step - count, values))
                if step % interval == 0 or step == total:
                    mean = _fetch(pending, log, schedule)
                    pending = []
                    scored = evaluate(state)
                    print(json.dumps({"step": step, "validation": scored}), file=log, flush=True)
                    checkpoint.save(checkpoints, state, scored)
                    bar.set_postfix(loss=f"{mean:.4f}", val_ap=f"{scored['average_precision'] or 0:.3f}")
                elif len(pending) * per_dispatch >= config.train.log_every:
                    bar.set_postfix(loss=f"{_fetch(pending, log, schedule):.4f}")
                    pending = []
        bar.close()
        best = checkpoint.best_step(checkpoints)

    seconds = time.perf_counter() - began
    return {
        "steps": total,
        "resumed_from": first,
        "examples": (total - first) * batch,
        "seconds": round(seconds, 2),
        "examples_per_second": round((total - first) * batch / seconds, 1),
        "first_step_seconds": first_step_seconds and round(first_step_seconds, 2),
        "best_step": best,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def restore_model(config: ml_collections.ConfigDict, workdir: epath.PathLike, step: int | None = None):
    """(graphdef, params, model_state, step) of a run's checkpoint, ready to evaluate; the best one by default."""

    def build(rngs):
        return models.build(config.model.name, rngs=rngs, **config.model.kwargs.to_dict())

    tx, _ = make_optimizer(config)
    graphdef, like = train_step.create(build, tx, jax.random.key(0), ema=config.optim.ema > 0)
    like = jax.device_put(like, NamedSharding(make_mesh(), PartitionSpec()))
    with checkpoint.manager(workdir) as checkpoints:
        if checkpoint.latest_step(checkpoints) is None:
            raise InputError(f"{workdir} has no complete checkpoint; run the experiment first")
        step = checkpoint.best_step(checkpoints) if step is None else step
        weights = "params" if like.average is None else "average"
        state = checkpoint.restore(checkpoints, step, like, parts=(weights, "model_state"))
    return graphdef, train_step.eval_params(state), state.model_state, step


def _cut_log(path: epath.Path, step: int):
    """metrics.jsonl open for appending, without lines of steps after `step`."""
    kept = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                break  # a line half-written by a killed run
    path.write_text("".join(kept))
    return path.open("a")


def _fetch(pending: list, log, schedule) -> float:
    """Writes the waiting metrics, one line per step; returns the mean loss. Stops on anything not finite."""
    values = []
    for start, metric in pending:
        fetched = {name: np.atleast_1d(np.asarray(value)) for name, value in metric.items()}
        for offset in range(len(fetched["loss"])):
            row = {name: float(value[offset]) for name, value in fetched.items()}
            if not all(np.isfinite(list(row.values()))):
                raise FloatingPointError(f"training diverged at step {start + offset + 1}: {row}; lower config.optim.learning_rate")
            rate = float(schedule(start + offset))
            print(json.dumps({"step": start + offset + 1, **row, "learning_rate": rate}), file=log)
            values.append(row["loss"])
    return float(np.mean(values))
