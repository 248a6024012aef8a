"""Checkpoint and split to scores: every record exactly once, in record order, on any number of devices.

A clip is scored at the length of its bucket, tiled up to it: the smallest of BUCKETS that holds it. So there
are at most four compiled shapes, and a clip's score depends on its own samples alone, never on its neighbours
in the batch.
"""

import collections
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, PyTree

from dfjax.data import audio
from dfjax.data.resident import compact
from dfjax.data.sources import READ_AHEAD, Split
from dfjax.models import functional
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE
from dfjax.runtime import devices

BUCKETS = (SAMPLE_RATE, 2 * SAMPLE_RATE, 3 * SAMPLE_RATE, MAX_SAMPLES)  # samples

EACH = 32  # records that a device scores at once


@functools.lru_cache(maxsize=4)
def make_scorer(graphdef: nnx.GraphDef, modality: str):
    """The compiled function (params, model_state, batch) -> (batch,) float32 logits, in evaluation mode.

    The same one for the same detector: a run validates and scores with what was compiled once.
    """

    @jax.jit
    def score(params: PyTree, model_state: PyTree, batch: dict):
        return functional.evaluation_model(graphdef, params, model_state)(_input(batch, modality))

    return score


def make_embedder(graphdef: nnx.GraphDef, modality: str):
    """The compiled function (params, model_state, batch) -> (batch, dim) embeddings, in evaluation mode."""

    @jax.jit
    def embed(params: PyTree, model_state: PyTree, batch: dict):
        return functional.evaluation_model(graphdef, params, model_state).embed(_input(batch, modality))

    return embed


def make_part_scorer(graphdef: nnx.GraphDef):
    """The compiled function (params, model_state, batch) -> (batch, 2) logits of picture and sound, if audio-visual."""

    @jax.jit
    def parts(params: PyTree, model_state: PyTree, batch: dict):
        return functional.evaluation_model(graphdef, params, model_state).parts(_input(batch, "av"))

    return parts


def clip_rule(config: Any) -> str:
    """How the experiment makes a clip's score of its frames or windows, for `clip_score.clip_scores`."""
    return config.get("score", {}).get("clip", "mean")


def _input(batch: dict, modality: str):
    if modality != "audio":
        picture = batch["image"].astype(jnp.float32) / 255
        return picture if modality == "image" else {"image": picture, "audio": audio.to_float(batch["audio"])}
    samples = batch["audio"].shape[1]
    return audio.cut(batch["audio"], batch["length"], jnp.zeros_like(batch["length"]), samples)


def score_split(
    scorer, params: PyTree, model_state: PyTree, split: Split, *, model: Any, batch: int, mesh
) -> Float[np.ndarray, "rows ..."]:
    """One score (or embedding) per record of the split, in record order.

    Args:
      scorer: from `make_scorer` or `make_embedder`.
      params: parameters to evaluate with.
      model_state: running statistics.
      split: an opened split.
      model: the detector's input: its modality, its picture size, or the one length it accepts.
      batch: of training; a device takes as many at once, but not more than EACH, however many devices there are: sums
        are taken in an order that depends on this number, and scores are to be the same bits everywhere.
      mesh: devices to spread the records over.
    """
    examples = (example(record, model) for record in records(split))
    size = min(batch, EACH) * mesh.size
    return score_examples(scorer, params, model_state, examples, batch=size, mesh=mesh)


def score_examples(scorer, params, model_state, examples: Iterable[dict], *, batch: int, mesh) -> np.ndarray:
    """As `score_split`, for any stream of examples; order is kept."""
    sharding = devices.split_batch(mesh)
    rows, values = [], []
    for positions, block in _batches(examples, -(-batch // mesh.size) * mesh.size):
        result = devices.fetch(scorer(params, model_state, devices.put(block, sharding)))
        rows.append(positions)
        values.append(result[: len(positions)])  # not fetched yet: the next batch is read meanwhile
    if not rows:
        return np.zeros((0,), np.float32)
    stacked = np.concatenate([np.asarray(value) for value in values])
    ordered = np.empty_like(stacked)
    ordered[np.concatenate(rows)] = stacked
    return ordered


def records(split: Split) -> Iterator[dict]:
    """The records of a split in order, read in blocks: memory stays flat."""
    for start in range(0, len(split), READ_AHEAD):
        yield from split.records.__getitems__(list(range(start, min(start + READ_AHEAD, len(split)))))


def example(record: dict, model: Any) -> dict[str, np.ndarray]:
    """What the scorer takes of a record: {'audio', 'length'}, {'image'} or {'image', 'audio'}."""
    if model.modality != "audio":
        return compact(record, model.modality, model.size)
    return audio_example(record["audio"], getattr(model, "samples", None))


def audio_example(samples: np.ndarray, fixed: int | None = None) -> dict[str, np.ndarray]:
    """A waveform in the buffer of its bucket, or of the one length that the model accepts."""
    size = fixed or next((size for size in BUCKETS if len(samples) <= size), BUCKETS[-1])
    samples = samples[:size]
    return {"audio": np.pad(samples, (0, size - len(samples))), "length": np.int32(len(samples))}


def _batches(examples: Iterable[dict], size: int) -> Iterator[tuple[list[int], dict]]:
    """Batches of one shape each, with the positions of their examples; the last of each shape is padded."""
    waiting = collections.defaultdict(list)
    for position, example in enumerate(examples):
        group = waiting[next(iter(example.values())).shape]
        group.append((position, example))
        if len(group) == size:
            yield _stack(group, size)
            group.clear()
    for group in waiting.values():
        if group:
            yield _stack(group, size)


def _stack(group: list[tuple[int, dict]], size: int) -> tuple[list[int], dict]:
    positions = [position for position, _ in group]
    padded = [example for _, example in group] + [group[0][1]] * (size - len(group))
    return positions, {name: np.stack([example[name] for example in padded]) for name in padded[0]}
