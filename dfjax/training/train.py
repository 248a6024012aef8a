"""The whole run from prepared records to the best checkpoint, top to bottom.

Order of events that must not change: a batch is a function of the step alone; the state is evaluated and saved after
the update that ends an interval; metrics.jsonl is cut back to the restored step before new lines are appended.
"""

import dataclasses
import functools
import json
import sys
import time
from typing import Any

import jax
import ml_collections
import numpy as np
import optax
from etils import epath

from dfjax import models
from dfjax.data import feeds, inputs, sources
from dfjax.decide import metrics
from dfjax.decide.score_file import by_clip, known
from dfjax.inference import scoring
from dfjax.records import InputError
from dfjax.runtime import devices, process
from dfjax.runtime.devices import make_mesh
from dfjax.runtime.progress import board, cut_log, progress_bar, trace, write_steps
from dfjax.training import checkpoint, pretrained, snapshots, train_step
from dfjax.training.recipe import (
    make_builder,
    make_loss,
    make_optimizer,
    make_penalty,
    make_plan,
    make_strata,
    make_view,
    part_size,
    tally,
)

SCAN = 10  # updates per dispatch on an accelerator; on CPU one: XLA runs convolutions inside a loop on one thread
PROFILED = range(10, 20)  # steps of this process that --profile traces


def train(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    directory: epath.PathLike,
    *,
    progress: bool = True,
    profile: bool = False,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Trains, or continues training, and leaves the newest and the best checkpoint in the workdir.

    On SIGTERM it saves the state and leaves with exit code 0; the same call continues.

    Args:
      config: the experiment.
      workdir: where checkpoints and metrics.jsonl go.
      directory: the prepared dataset.
      progress: whether to show a progress bar.
      profile: whether to leave a trace of ten steps in the workdir.
      tensorboard: whether to show losses and validation there, from workdir/tensorboard.

    Returns:
      A summary: steps, examples, seconds, examples_per_second, waiting (share of the time, for data), peak_memory
      (bytes), feed, first_step_seconds, best_step, resumed_from.

    Raises:
      InputError: the data or the experiment cannot be trained on.
      FloatingPointError: loss or gradient is not finite; the message names the steps.
    """
    workdir = epath.Path(workdir)
    began = time.perf_counter()
    batch, total, interval = config.train.batch, config.train.steps, config.train.eval_every
    parts = config.train.get("accumulate", 1)
    mesh = make_mesh(part_size(config))
    everywhere = devices.replicated(mesh)
    place = functools.partial(devices.part_of, mesh) if config.train.get("fsdp", False) else everywhere

    # ------------------------------------------------------------------ data
    train_split = sources.open_split(directory, "train")
    validation = sources.open_split(directory, "validation")
    takes = models.input_of(config.model.name, config.model.kwargs)
    plan = make_plan(config, *tally(train_split))
    strata = make_strata(config, plan, train_split)
    make_input = inputs.make(config, takes.modality)

    # ------------------------------------------------------------------ model, optimiser, state
    tx, schedule = make_optimizer(config)
    root = jax.random.key(config.seed)
    ema, swa = config.optim.ema, config.optim.get("swa", False)
    loss, penalty, seen = make_loss(plan, total), make_penalty(config), make_view(config, mesh)

    with checkpoint.manager(workdir) as checkpoints, process.termination() as asked_to_stop:
        first = checkpoint.latest_step(checkpoints) or 0
        graphdef, state = train_step.create(
            make_builder(config, plan.initial_bias, training=True), tx, root,
            ema=ema > 0, swa=swa, sharding=place, shapes_only=first > 0,
        )  # fmt: skip
        if first:
            state = checkpoint.restore(checkpoints, first, state)
        elif weights := config.model.get("weights", ""):
            state = pretrained.start(state, config.model.name, weights)
        feed = feeds.make(
            config.data.feed, train_split, strata, batch, model=takes, mesh=mesh, seed=config.seed, first=first,
            codec_rate=inputs.codec_rate(config),
        )  # fmt: skip

        # -------------------------------------------------------------- step
        def one_step(state, data, key):
            key_draw, key_input, key_model = jax.random.split(key, 3)
            examples = feed.examples(key_draw, data)
            x, labels = make_input(key_input, examples)
            return train_step.update(
                state,
                x,
                labels,
                key_model,
                graphdef=graphdef,
                tx=tx,
                loss=loss,
                ema=ema,
                accumulate=parts,
                seen=seen,
                penalty=penalty,
            )

        @functools.cache
        def compiled(
            count: int,
        ):  # each number of steps per dispatch once, for the arguments of the first call
            placed = jax.tree.map(lambda leaf: leaf.sharding, state), everywhere
            step = train_step.compile_steps(one_step, count, placed).lower(state, data, root)
            step = step.compile(process.compiler_options())
            process.require(step, f"config.train.batch={batch}")
            return step

        per_dispatch = 1 if jax.default_backend() == "cpu" or feed.kind == "streaming" else SCAN
        scorer = scoring.make_scorer(train_step.graph(make_builder(config)), takes.modality)

        def evaluate(state: train_step.State) -> dict[str, float | None]:
            scores = scoring.score_split(
                scorer,
                train_step.eval_params(state),
                state.model_state,
                validation,
                model=takes,
                batch=batch,
                mesh=mesh,
            )
            rule = {"clip_score": scoring.clip_rule(config)}
            clips = by_clip(known(sources.as_scores(validation, scores, rule)))
            values = {
                "average_precision": metrics.average_precision(clips.score, clips.label),
                "auc": metrics.roc_auc(clips.score, clips.label),
                "eer": metrics.eer(clips.score, clips.label)[0],
            }
            return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}

        @functools.partial(jax.jit, out_shardings=everywhere)
        def more_statistics(params, mean, count, data, key):
            key_draw, key_input, key_model = jax.random.split(key, 3)
            x, _ = make_input(key_input, feed.examples(key_draw, data))
            return snapshots.statistics(graphdef, params, mean, count, x, key_model)

        def finish(state: train_step.State) -> train_step.State:
            """One step beyond the last: the mean of the snapshots with statistics of its own."""
            params, seen = state.snapshots["mean"], state.model_state
            for count in range(interval):
                key = jax.random.fold_in(root, total + count)
                seen = more_statistics(params, seen, np.int32(count), feed.take(total + count), key)
            return dataclasses.replace(state, step=state.step + 1, params=params, model_state=seen)

        def judge(state: train_step.State, step: int) -> tuple[train_step.State, dict]:
            """Evaluates the state after `step`, logs and saves it; a snapshot as good as the best joins their mean."""
            scored = evaluate(state)
            if swa and step <= total:
                longer = snapshots.add(state.snapshots, state.params, scored["average_precision"])
                state = dataclasses.replace(state, snapshots=longer)
            print(json.dumps({"step": step, "validation": scored}), file=log, flush=True)
            show(step, {f"validation/{name}": value for name, value in scored.items()})
            checkpoint.save(checkpoints, state, scored)
            return state, scored

        # -------------------------------------------------------------- loop
        bar = progress_bar(total, first, hidden=not (progress and process.first_process()))
        step, first_step_seconds, waited, pending, stopped, tracing = first, None, 0.0, [], False, False
        looping = time.perf_counter()

        def so_far(**values: float) -> str:
            """Share of the time that the device had data, and values."""
            busy = 1 - waited / (time.perf_counter() - looping)
            return ", ".join([f"busy={busy:.0%}", *(f"{name}={value:.4f}" for name, value in values.items())])

        with (
            cut_log(workdir / "metrics.jsonl", first) as log,
            board(workdir, first, wanted=tensorboard) as show,
        ):
            while step < total and not stopped:
                # never past an evaluation or the end, and the remainder in single steps
                count = per_dispatch if per_dispatch <= min(total, step + interval - step % interval) - step else 1
                if profile and tracing != (step - first in PROFILED):
                    tracing = trace(workdir / "profile", start=not tracing, wait=state)
                waited -= time.perf_counter()
                data = feed.take(step)
                waited += time.perf_counter()
                state, values = compiled(count)(state, data, root)
                pending.append((step, values))
                jax.block_until_ready(pending[-2:][0])  # the host stays one dispatch ahead, not a whole interval
                step += count
                first_step_seconds = first_step_seconds or time.perf_counter() - began
                bar.update(count)
                stopped = asked_to_stop(step)
                at_interval = step % interval == 0 or step == total
                if at_interval or stopped or len(pending) * per_dispatch >= config.train.log_every:
                    mean = write_steps(pending, log, schedule, show)
                    pending = []
                    bar.set_postfix_str(so_far(loss=mean), refresh=False)
                if at_interval:
                    state, scored = judge(state, step)
                    words = so_far(loss=mean, val_ap=scored["average_precision"] or 0)
                    bar.set_postfix_str(words, refresh=False)
                elif stopped:
                    checkpoint.save(checkpoints, state, {"average_precision": None})
            if swa and step == total and not stopped and state.snapshots["count"]:
                judge(finish(state), total + 1)
        if tracing:
            trace(workdir / "profile", start=False, wait=state)
        bar.close()
        best = checkpoint.best_step(checkpoints)
    if stopped:
        print(
            f"stopped by SIGTERM after step {step}, which is saved; the same command continues",
            file=sys.stderr,
        )
        raise SystemExit(0)

    seconds = time.perf_counter() - began
    return {
        "steps": total,
        "resumed_from": first,
        "examples": max(total - first, 0) * batch,
        "seconds": round(seconds, 2),
        "examples_per_second": round(max(total - first, 0) * batch / seconds, 1),
        "waiting": round(waited / seconds, 4),
        "peak_memory": process.peak_memory(),
        "feed": feed.kind,
        "first_step_seconds": first_step_seconds and round(first_step_seconds, 2),
        "best_step": best,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def restore_model(config: ml_collections.ConfigDict, workdir: epath.PathLike, step: int | None = None):
    """(graphdef, params, model_state, step) of a run's checkpoint, ready to evaluate; the best one by default."""
    graphdef, like = train_step.create(
        make_builder(config), optax.identity(), jax.random.key(0),
        ema=config.optim.ema > 0, sharding=devices.replicated(make_mesh()), shapes_only=True,
    )  # fmt: skip
    with checkpoint.manager(workdir) as checkpoints:
        if checkpoint.latest_step(checkpoints) is None:
            raise InputError(f"{workdir} has no complete checkpoint; run the experiment first")
        step = checkpoint.best_step(checkpoints) if step is None else step
        weights = "params" if like.average is None else "average"
        state = checkpoint.restore(checkpoints, step, like, parts=(weights, "model_state"))
    return graphdef, train_step.eval_params(state), state.model_state, step
