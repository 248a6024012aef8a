"""Where a step's examples come from: the whole split on the devices, or batches read ahead. Chosen by size.

Both feeds have one form, so that the training loop has one too: outside the step `take` gives what the compiled step
needs, inside it `examples` turns that into the batch. Both draw the strata at the same rates and hand over the same
compact examples, int16 or uint8; cut, augmentation and normalisation follow inside the step.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from dfjax.data import precomputed, resident, sampling, sources, streaming
from dfjax.data.sources import Split
from dfjax.records import InputError
from dfjax.runtime import devices, process

RESIDENT_SHARE = 0.4  # of a device's free memory that a split may take; the rest is for the step
FEEDS = ("auto", "resident", "streaming")
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Feed:
    """The source of the training batches."""

    kind: str  # 'resident', 'streaming' or 'precomputed'
    take: Callable[[int], PyTree]  # step -> data on the devices, for the compiled step
    # (key, data) -> {'audio', 'length'}, {'image'} or {'image', 'audio'}, and 'label'; (batch, ...). The precomputed
    # feed has no batches: it gives all that `precomputed.rows` has made
    examples: Callable[[jax.Array, PyTree], dict]


def check(wanted: str, codec_rate: float | int = 0.0, copies: int = 0) -> None:
    """Raises InputError where the feed `wanted` cannot do what is asked of it; the arguments are those of `make`."""
    if copies and wanted == "streaming":
        raise InputError(f"config.data.copies={copies} keeps the split on the device; use config.data.feed='auto'")
    if codec_rate and wanted == "resident" and not copies:
        raise InputError(f"config.augment.codec_rate={codec_rate} works on the host; use config.data.feed='streaming'")


def choose(wanted: str, rows: int, example_bytes: int, batch: int, free: int) -> str:
    """'resident' or 'streaming', from sizes alone: nothing has been read or allocated yet.

    Args:
      wanted: config.data.feed.
      rows: examples of the split.
      example_bytes: of one example in compact form.
      batch: examples per device and step.
      free: bytes that one device can take.

    Raises:
      InputError: not even one batch fits.
    """
    whole, ahead = rows * example_bytes, (streaming.AHEAD + 2) * batch * example_bytes
    if wanted == "resident" and whole > free:
        raise InputError(
            f"config.data.feed='resident' needs {whole / GIB:.1f} GiB on each device, {free / GIB:.1f} GiB are "
            "free; use 'streaming' in a new run, or free some"
        )
    if wanted == "resident" or (wanted == "auto" and whole <= RESIDENT_SHARE * free):
        return "resident"
    if ahead > free:
        raise InputError(
            f"batches of {batch} per device need {ahead / GIB:.1f} GiB, {free / GIB:.1f} GiB are free; lower "
            "config.train.batch"
        )
    return "streaming"


def make(
    wanted: str,
    split: Split,
    strata: sampling.Strata,
    batch: int,
    *,
    model: Any,
    mesh: jax.sharding.Mesh,
    seed: int,
    first: int,
    codec_rate: float | int = 0.0,
    copies: int = 0,
    front: tuple[Callable, Callable] | None = None,
    fakes: tuple[float, Callable] | None = None,
    memory: precomputed.Memory | None = None,
) -> Feed:
    """The feed of a run, ready for step `first`.

    Args:
      wanted: config.data.feed.
      split: the training split.
      strata: its rows by class and the rates of the classes.
      batch: examples of a global batch.
      model: the detector's class: its modality and picture size.
      mesh: the devices.
      seed: of the run.
      first: the step to continue from.
      codec_rate: share of the clips that pass through a lossy codec on the host; 'auto' is 'streaming' then.
      copies: random cuts of each clip of which `front` makes statistics once, to train on, the last of several not
        altered; 0 trains on the media.
      front: for `copies`: `make_x` and `front` of `precomputed.statistics`.
      fakes: for `copies`: share of what is drawn that is made of real clips, and what makes them, as `front`'s first.
      memory: statistics that runs on parts of the same data share.

    Raises:
      InputError: see `choose`, `check`, `resident.load` and `sources.check_media`.
    """
    check(wanted, codec_rate, copies)
    wanted = "streaming" if codec_rate and not copies else wanted
    sources.check_media(split, model.modality)
    size = None if model.modality == "audio" else model.size
    bytes_each = streaming.example_bytes(model.modality, size)
    free = int(devices.least(process.free_memory()))  # or processes might choose apart
    kind = choose(wanted, len(split), bytes_each, batch // mesh.size, free)
    spread = devices.split_batch(mesh)

    if copies or kind == "resident":
        arrays = resident.load(split, model.modality, size=size) | {"label": sources.labels(split, model.modality)}

    if copies:
        assert front is not None, "copies need a front end"
        rates = sampling.row_rates(strata, len(split))
        words = {"copies": copies, "seed": seed, "mesh": mesh, "codec_rate": codec_rate, "memory": memory}
        data = devices.put(precomputed.rows(arrays, split.id, rates, front, fakes, **words), devices.replicated(mesh))
        return Feed(kind="precomputed", take=lambda step: data, examples=lambda key, data: data)

    if kind == "resident":
        data = devices.put({"examples": arrays, "strata": strata}, devices.replicated(mesh))

        def examples(key: jax.Array, data: PyTree) -> dict:
            rows = jax.lax.with_sharding_constraint(sampling.draw(key, data["strata"], batch), spread)
            return jax.tree.map(lambda array: array[rows], data["examples"])

        return Feed(kind, lambda step: data, examples)

    part = {"process": jax.process_index(), "processes": jax.process_count()}
    put = functools.partial(jax.tree.map, functools.partial(jax.make_array_from_process_local_data, spread))
    words = {"size": size, "modality": model.modality, "seed": seed, "first": first, "codec_rate": codec_rate}
    source = streaming.batches(split, strata, batch, place=put, **words, **part)
    following = [first]

    def take(step: int) -> PyTree:
        assert step == following[0], f"batches come in order: {following[0]} is next, {step} was asked for"
        following[0] += 1
        return next(source)

    return Feed(kind, take, lambda key, data: data)
