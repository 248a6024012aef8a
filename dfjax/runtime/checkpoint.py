"""Checkpoints: the newest and the best by validation average precision. The only importer of orbax.

Parts of a checkpoint are stored apart ('params', 'model_state', 'opt_state', ...), so that scoring reads what it needs.
"""

import contextlib
import dataclasses
import errno
import logging
import math
import os
from collections.abc import Iterator

import absl.logging
import jax
import numpy as np
from etils import epath
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from dfjax.records import InputError
from dfjax.runtime import files, process

_POLICIES = ocp.training.preservation_policies
PARTS = ("params", "model_state", "opt_state", "average", "snapshots")
RESIDENT = "resident"  # name of a metric: 1 where the split was kept on the devices, 0 where batches were read ahead
ENDING = "cannot schedule new futures after"  # shutdown, or interpreter shutdown: Python's own words


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """All that changes in training. Fields are typed PyTree because jax also builds States of shapes, specs or None."""

    step: PyTree  # () int32, completed updates
    params: PyTree
    model_state: PyTree  # running statistics of normalisation
    opt_state: PyTree
    average: PyTree  # exponential moving average of params; None when off
    snapshots: PyTree = None  # mean of the best so far, see `training.snapshots`; None when off


def eval_params(state: State) -> PyTree:
    """The parameters to evaluate with: their average where one is kept."""
    return state.params if state.average is None else state.average


def _metric(metrics) -> float:
    """What 'best' means; undefined values rank last instead of evicting the true best."""
    value = (metrics or {}).get("average_precision")
    return value if value is not None and math.isfinite(value) else -1.0


@contextlib.contextmanager
def manager(workdir: epath.PathLike, *, reading: bool = False) -> Iterator[ocp.training.Checkpointer]:
    """The checkpointer of a run; use as a context manager. Left-overs of a killed save are removed first.

    Args:
      workdir: of the run.
      reading: whether nothing will be saved; then nothing is made or removed, for a training may be saving right now.

    Raises:
      InputError: there is nothing to read.
      OSError: within it, where the disk is full, whatever orbax makes of that.
    """
    directory = epath.Path(workdir)
    directory = directory if files.remote(directory) else directory.resolve()  # orbax takes absolute paths only
    directory = directory / "checkpoints"
    if reading and not directory.exists():
        raise InputError(f"{workdir} has no complete checkpoint; run the experiment first")
    if process.first_process() and not reading:
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.iterdir():
            if "orbax-checkpoint-tmp" in path.name:
                path.rmtree(missing_ok=True)
    process.barrier("checkpoints")
    keep = _POLICIES.AnyPreservationPolicy(
        [_POLICIES.LatestN(1), _POLICIES.BestN(get_metric_fn=_metric, reverse=False, n=1)]
    )
    with _plain_words(directory), ocp.training.Checkpointer(directory, preservation_policy=keep) as checkpointer:
        yield checkpointer


@contextlib.contextmanager
def _plain_words(directory: epath.Path):
    """Within it a full disk is an OSError, not what the array store makes of it while saving or closing."""
    absl.logging.get_absl_logger().addFilter(_news)  # for good: orbax's threads log even after the end
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:
        if not _says_full(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory)) from error


def _says_full(error: BaseException) -> bool:
    return any(word in str(error) for word in ("No space left", "ENOSPC", "quota exceeded"))


def _news(record: logging.LogRecord) -> bool:
    """Whether a record of orbax is worth showing.

    That the disk is full is said once, by the OSError; and a thread that outlives the process has failed because of
    its end, whose reason is said by then.
    """
    error = record.exc_info and record.exc_info[1]
    return not (error and (_says_full(error) or ENDING in str(error)))


def save(checkpointer: ocp.training.Checkpointer, state: State, metrics: dict[str, float | None]) -> None:
    """Writes the state under its step; complete or absent, never half.

    The feed has no state of its own: the step says which batch comes next. `metrics` are those of validation, of which
    `average_precision` says which checkpoint is the best, `seconds` (see `seconds_spent`) and RESIDENT (see
    `feed_kept`).
    """
    # orbax takes no empty part
    parts = {name: getattr(state, name) for name in PARTS if jax.tree.leaves(getattr(state, name))}
    checkpointer.save_checkpointables(int(state.step), parts, metrics=metrics, force=True)


def latest_step(checkpointer: ocp.training.Checkpointer) -> int | None:
    """The newest complete step, or None."""
    return checkpointer.latest.step if checkpointer.latest else None


def seconds_spent(checkpointer: ocp.training.Checkpointer) -> float:
    """How long all calls together trained until the newest step; 0 without one."""
    newest = checkpointer.latest
    return float(((newest and newest.metrics) or {}).get("seconds") or 0.0)


def feed_kept(checkpointer: ocp.training.Checkpointer) -> str | None:
    """The kind of feed that the newest step was trained with, 'resident' or 'streaming'; None if that is not known."""
    newest = checkpointer.latest
    resident = ((newest and newest.metrics) or {}).get(RESIDENT)
    return None if resident is None else "resident" if resident else "streaming"


def best_step(checkpointer: ocp.training.Checkpointer) -> int:
    """The step with the highest validation average precision; of equals the newest is kept."""
    return max(checkpointer.checkpoints, key=lambda found: (_metric(found.metrics), -found.step)).step


def restore(checkpointer: ocp.training.Checkpointer, step: int, like: State, *, parts=PARTS) -> State:
    """The state of a step, with the shapes and shardings of `like`; parts not asked for stay as in `like`.

    Raises:
      InputError: files are missing or altered, or the checkpoint is of another model.
    """
    wanted = {name: _abstract(getattr(like, name)) for name in parts if jax.tree.leaves(getattr(like, name))}
    try:
        found = checkpointer.load_checkpointables(step, wanted)
        _check_shapes(wanted, found)
    except InputError:
        raise
    except Exception as error:  # orbax raises many kinds for a damaged or foreign checkpoint
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"checkpoint {epath.Path(checkpointer.directory) / str(step)} cannot be read ({reason[:200]}); "
            "delete that folder to fall back to an earlier one, or use another --workdir"
        ) from error
    count = jax.device_put(np.int32(step), like.step.sharding)
    return State(step=count, **{name: found.get(name, getattr(like, name)) for name in PARTS})


def _abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


def _check_shapes(wanted, found) -> None:
    expected = {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(wanted)}
    given = {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(found)}
    for name in expected.keys() | given.keys():
        if expected.get(name) != given.get(name):
            raise InputError(
                f"the checkpoint's {name} has shape {given.get(name)}; the experiment's model has {expected.get(name)}"
            )
