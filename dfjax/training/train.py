"""The whole run from prepared records to the best checkpoint, top to bottom.

Order of events that must not change: a batch is a function of the step alone; the state is evaluated and saved after
the update that ends an interval; metrics.jsonl is cut back to the restored step before new lines are appended.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
from etils import epath

from dfjax import models
from dfjax.data import feeds, inputs, precomputed, sources
from dfjax.inference.validation import Values, make_validation
from dfjax.models import functional
from dfjax.records import Diverged
from dfjax.runtime import checkpoint, devices, process
from dfjax.runtime.progress import Journal, journal, trace
from dfjax.training import pretrained, recipe, snapshots, train_step

SCAN = 10  # updates per dispatch on an accelerator; on CPU one: XLA runs convolutions inside a loop on one thread
PROFILED = 10  # steps that --profile traces, after as many where there are


def train(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    directory: sources.Directory,
    *,
    progress: bool = True,
    profile: bool = False,
    tensorboard: bool = False,
    memory: precomputed.Memory | None = None,
) -> dict[str, Any]:
    """Trains, or continues training, and leaves the newest and the best checkpoint in the workdir.

    On SIGTERM it saves the state and leaves with exit code 0; the same call continues.

    Args:
      config: the experiment.
      workdir: where checkpoints and metrics.jsonl go.
      directory: the prepared dataset, or name -> folder of several.
      progress: whether to show a progress bar.
      profile: whether to leave a trace of PROFILED steps in the workdir, of a short training of fewer.
      tensorboard: whether to show losses and validation there, from workdir/tensorboard.
      memory: of a front end's statistics, which runs on parts of the same data share.

    Returns:
      A summary: steps, examples, seconds, examples_per_second, waiting (share of the time, for data), peak_memory
      (bytes), feed, first_step_seconds, judged (seconds of each validation), best_step, resumed_from, seconds_before
      (that earlier calls took until there), parameters (their number). Examples, seconds and what depends on them are
      of this call alone.

    Raises:
      InputError: the data or the experiment cannot be trained on.
      FloatingPointError: loss or gradient is not finite; the message names the steps.
    """
    workdir = epath.Path(workdir)
    began = time.perf_counter()
    batch, total, interval = config.train.batch, config.train.steps, config.train.eval_every
    mesh = devices.make_mesh(recipe.part_size(config))
    everywhere = devices.replicated(mesh)
    place = functools.partial(devices.part_of, mesh) if config.train.get("fsdp", False) else everywhere

    # data
    train_split, validation = (sources.open_data(config.data, directory, name) for name in ("train", "validation"))
    takes = models.input_of(config.model.name, config.model.kwargs)
    plan = recipe.make_plan(config, *recipe.tally(train_split))
    strata = recipe.make_strata(config, plan, train_split)
    copies = config.data.get("copies", 0)
    make_input = recipe.make_input(config, takes.modality, 0 if copies else None)
    # of a batch's examples; without copies the step makes them
    made = inputs.made(config.augment.self_fakes, batch) / batch if copies else 0.0

    # optimiser, loss, evaluation
    tx, schedule = recipe.make_optimizer(config)
    loss, penalty, seen = recipe.make_loss(plan, total), recipe.make_penalty(config), recipe.make_view(config, mesh)
    root = jax.random.key(config.seed)
    ema, swa = config.optim.ema, config.optim.get("swa", False)
    graph, rule = functional.graph(recipe.make_builder(config)), recipe.clip_rule(config)
    validate = make_validation(graph, validation, mesh, takes=takes, batch=batch, rule=rule)

    with checkpoint.manager(workdir) as checkpoints:
        # state
        first, before = checkpoint.latest_step(checkpoints) or 0, checkpoint.seconds_spent(checkpoints)
        build = recipe.make_builder(config, plan.initial_bias, training=True)
        words = {"ema": ema > 0, "swa": swa, "sharding": place, "shapes_only": first > 0}
        graphdef, state = train_step.create(build, tx, root, **words)
        if first:
            state = checkpoint.restore(checkpoints, first, state)
        elif weights := config.model.get("weights", ""):
            state = pretrained.start(state, config.model.name, weights)
        # what 'auto' chose is kept: the memory that is free may be another now, and the other feed draws other batches
        wanted = (config.data.feed == "auto" and first and checkpoint.feed_kept(checkpoints)) or config.data.feed
        feed = feeds.make(
            wanted,
            train_split,
            strata,
            batch,
            model=takes,
            mesh=mesh,
            seed=config.seed,
            first=first,
            codec_rate=recipe.codec_rate(config),
            copies=copies,
            front=(make_input, recipe.make_front(config)) if copies else None,
            fakes=(made, recipe.make_input(config, takes.modality, 1)) if made else None,
            memory=memory,
        )

        newton = hasattr(models.model_class(config.model.name), "newton")
        if newton and not first:
            begin = functools.partial(train_step.start, graphdef=graphdef)
            state = jax.jit(begin, out_shardings=everywhere)(state, feed.take(0), root)

        # step
        @devices.shared_by(mesh)
        def batch_of(data, key):
            key_draw, key_input, key_model = jax.random.split(key, 3)
            examples = feed.examples(key_draw, data)
            return *make_input(key_input, examples), key_model

        @devices.shared_by(mesh)
        def one_step(state, data, key):
            if newton:
                return train_step.newton(state, data, graphdef=graphdef, loss=loss)
            # noted by the step itself: by the host it takes a third of a second of little programs
            rate = {"learning_rate": schedule(state.step)}
            x, labels, key_model = batch_of(data, key)
            state, values = train_step.update(
                state,
                x,
                labels,
                key_model,
                graphdef=graphdef,
                tx=tx,
                loss=loss,
                ema=ema,
                accumulate=config.train.get("accumulate", 1),
                seen=seen,
                penalty=penalty,
            )
            return state, values | rate

        programs: dict[int, Callable] = {}  # updates per dispatch -> compiled step
        per_dispatch = 1 if jax.default_backend() == "cpu" or feed.kind == "streaming" else SCAN

        # loop
        step, first_step_seconds, stopped, tracing = first, None, False, False
        judged: list[float] = []  # seconds of each judgement
        traced = first + min(PROFILED, max(total - first - PROFILED, 1))  # the first of them; the very first compiles
        hidden = not (progress and process.first_process())
        about = functools.partial(_about, began - before, feed.kind)
        told = {"first": first, "total": total, "hidden": hidden, "tensorboard": tensorboard}
        with process.termination() as asked_to_stop, journal(workdir, **told) as notes:
            while step < total and not stopped:
                # never past an evaluation or the end, and the remainder in single steps
                left = min(total, step + interval - step % interval) - step
                count = per_dispatch if per_dispatch <= left else 1
                if profile and tracing != (0 <= step - traced < PROFILED):
                    tracing = trace(workdir / "profile", start=not tracing, wait=state)
                with notes.waiting():
                    data = feed.take(step)
                if count not in programs:
                    programs[count] = _compile(one_step, count, state, data, root, batch, everywhere)
                state, values = programs[count](state, data, root)
                notes.took(step, count, values)
                step += count
                first_step_seconds = first_step_seconds or time.perf_counter() - began
                stopped = asked_to_stop(step)
                at_interval = step % interval == 0 or step == total
                if at_interval or stopped or notes.steps_pending * per_dispatch >= config.train.log_every:
                    notes.write_steps()
                if at_interval:
                    began_judging = time.perf_counter()
                    state = judge(state, step, validate, checkpoints, notes, snapshot=swa, about=about)
                    judged.append(round(time.perf_counter() - began_judging, 3))
                elif stopped:
                    checkpoint.save(checkpoints, state, {"average_precision": None} | about())
            if swa and step == total and not stopped and state.snapshots["count"]:
                more = ((feed.take(n), jax.random.fold_in(root, n)) for n in range(total, total + interval))
                state = snapshots.finish(state, graphdef, more, lambda *of: batch_of(*of)[::2], everywhere)
                state = judge(state, total + 1, validate, checkpoints, notes, snapshot=False, about=about)
            stopped = stopped or asked_to_stop(step)  # after the last step, or where there was none left
        if tracing:
            trace(workdir / "profile", start=False, wait=state)
        best = checkpoint.best_step(checkpoints)
    if stopped:
        print(f"stopped by SIGTERM after step {step}, which is saved; the same command continues", file=sys.stderr)
        raise SystemExit(0)

    seconds = time.perf_counter() - began
    examples = max(total - first, 0) * batch
    return {
        "steps": total,
        "resumed_from": first,
        "seconds_before": round(before, 2),
        "examples": examples,
        "seconds": round(seconds, 2),
        "examples_per_second": round(examples / seconds, 1),
        "waiting": round(notes.waited / seconds, 4),
        "peak_memory": process.peak_memory(),
        "feed": feed.kind,
        "first_step_seconds": first_step_seconds and round(first_step_seconds, 2),
        "judged": judged,
        "best_step": best,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def judge(
    state: checkpoint.State,
    step: int,
    validate: Callable[..., Values],
    checkpoints: Any,
    notes: Journal,
    *,
    snapshot: bool,
    about: Callable[[], Values],
) -> checkpoint.State:
    """Evaluates the state after `step`, notes and saves it; if `snapshot`, one as good as the best joins their mean.

    `about` says what the checkpoint is saved with beside what validation says of it.

    Raises:
      FloatingPointError: a score is not finite; the message names the step.
    """
    try:
        scored = validate(checkpoint.eval_params(state), state.model_state)
    except FloatingPointError as error:
        raise Diverged(
            f"training diverged at step {step}: {error}; lower config.optim.learning_rate, in another --workdir"
        ) from error
    if snapshot:
        longer = snapshots.add(state.snapshots, state.params, scored["average_precision"])
        state = dataclasses.replace(state, snapshots=longer)
    notes.write_validation(step, scored)
    checkpoint.save(checkpoints, state, scored | about())
    return state


def _about(clock: float, feed: str) -> Values:
    """What a checkpoint says of its training: how long it took until now, and of what kind its feed is.

    `clock` is when training began, by `time.perf_counter`, had no call of it been stopped.
    """
    kept: Values = {} if feed == "precomputed" else {checkpoint.RESIDENT: float(feed == "resident")}
    return kept | {"seconds": time.perf_counter() - clock}


def _compile(one_step: Callable, count: int, state, data, root: jax.Array, batch: int, everywhere) -> Callable:
    """`count` steps as one program for arguments like these, refused where the device has too little memory."""
    placed = jax.tree.map(lambda leaf: leaf.sharding, state), everywhere
    program = train_step.compile_steps(one_step, count, placed).lower(state, data, root)
    program = program.compile(process.compiler_options())
    process.check_memory(program, f"config.train.batch={batch}")
    return program
