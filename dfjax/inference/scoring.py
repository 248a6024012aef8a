"""Examples to scores: what a scorer takes of a record or a file, in batches of few shapes, in order, on any devices.

A clip is scored at the length of its bucket, tiled up to it: the smallest of BUCKETS that holds it. So there
are at most four compiled shapes, and a clip's score depends on its own samples alone, never on its neighbours
in the batch.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from dfjax.media.decoding import compact
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE, Input
from dfjax.runtime import devices

BUCKETS = (SAMPLE_RATE, 2 * SAMPLE_RATE, 3 * SAMPLE_RATE, MAX_SAMPLES)  # samples

EACH = 32  # records that a device scores at once
EACH_OF_FILES = 8  # windows or faces of files that a CPU scores at once: one file has few, the rest would be padding
AHEAD = 1  # batches that are computed while the next is gathered
PATIENCE = 64  # batches for which an example waits until its own is full


def score_examples(scorer, params, model_state, examples: Iterable[dict], *, batch: int, mesh) -> np.ndarray:
    """What the scorer gives of each example of a stream, (examples, ...), in order.

    Args:
      scorer: (params, model_state, batch) -> (batch, ...).
      params: parameters to evaluate with.
      model_state: running statistics.
      examples: from `example` or `audio_example`.
      batch: examples at once, on all devices together.
      mesh: devices to spread them over.
    """
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


def shapes(takes: Input) -> tuple[int, ...]:
    """The lengths in samples that clips are scored at, or the sides in pixels of pictures: what is compiled."""
    if takes.modality != "audio":
        return (takes.size,)
    return (takes.samples,) if takes.samples else BUCKETS


def example(record: dict, model: Any) -> dict[str, np.ndarray]:
    """What the scorer takes of a record: see `audio_example`, or `decoding.compact` of a picture."""
    if model.modality != "audio":
        return compact(record, model.modality, model.size)
    return audio_example(record["audio"], getattr(model, "samples", None))


def audio_example(samples: np.ndarray, fixed: int | None = None) -> dict[str, np.ndarray]:
    """{'audio', 'length'} of a waveform in the buffer of its bucket, or of `fixed`, the one length of a model.

    Samples beyond the buffer are cut off.
    """
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
    return [position for position, _ in group], stack([example for _, example in group], size)


def stack(examples: list[dict[str, np.ndarray]], size: int) -> dict[str, np.ndarray]:
    """Examples of one shape as a batch of `size`, filled up with the first of them."""
    padded = examples + examples[:1] * (size - len(examples))
    return {name: np.stack([example[name] for example in padded]) for name in padded[0]}


@dataclasses.dataclass
class _Open:
    """A group that is not complete: what is known of each of its examples."""

    key: Any
    found: list[dict[str, np.ndarray] | None]
    missing: int


def across_groups(
    run: Callable[[list[dict]], Mapping[str, Any]], groups: Iterable[tuple[Any, list[dict]]], batch: int
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """What `run` says of every group of examples, its batches filled across groups: a group is a file.

    A file of one window would otherwise be scored in a batch of padding. While a batch is computed the next one is
    gathered. Where a batch does not fill, because other groups have examples of other shapes, it waits for PATIENCE
    batches and is then padded: what is held in memory does not grow with the number of groups.

    Args:
      run: up to `batch` examples of one shape -> name -> array whose first rows are theirs; it need not wait for what
        it starts, as compiled functions of JAX do not.
      groups: (key, examples) each; one without examples comes back with nothing.
      batch: examples that are run at once.

    Yields:
      (key, name -> (examples, ...) of the group), each as soon as it is complete.
    """
    waiting: dict[tuple, list[tuple[_Open, int, dict]]] = {}
    since: dict[tuple, int] = {}  # shape -> batches started before the oldest example that waits
    running: collections.deque[tuple[list[tuple[_Open, int, dict]], Mapping[str, Any]]] = collections.deque()
    started = 0

    def start(shape: tuple) -> None:
        nonlocal started
        places = waiting.pop(shape)
        running.append((places, run([example for _, _, example in places])))
        started += 1

    def finish() -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
        places, result = running.popleft()
        values = {name: np.asarray(value) for name, value in result.items()}
        for row, (group, at, _) in enumerate(places):
            group.found[at] = {name: value[row] for name, value in values.items()}
            group.missing -= 1
            if not group.missing:
                yield group.key, {name: np.stack([one[name] for one in group.found]) for name in values}

    for key, examples in groups:
        if not examples:
            yield key, {}
            continue
        group = _Open(key, [None] * len(examples), len(examples))
        for at, example in enumerate(examples):
            shape = tuple(value.shape for value in example.values())
            if not waiting.setdefault(shape, []):
                since[shape] = started
            waiting[shape].append((group, at, example))
            if len(waiting[shape]) == batch:
                start(shape)
                for other in [other for other in waiting if started - since[other] > PATIENCE]:
                    start(other)
            while len(running) > AHEAD:
                yield from finish()
    for shape in list(waiting):
        start(shape)
    while running:
        yield from finish()
