"""A network and its compiled functions, and a split through them: every record exactly once, in record order."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Float, PyTree

from dfjax.data import audio
from dfjax.data.sources import READ_AHEAD, Split
from dfjax.inference import scoring
from dfjax.models import functional
from dfjax.records import Input
from dfjax.runtime import devices


@dataclasses.dataclass(frozen=True)
class Network:
    """What a detector computes, as a checkpoint holds it, and what it is given."""

    graphdef: nnx.GraphDef
    params: PyTree
    model_state: PyTree  # running statistics
    takes: Input
    batch: int  # examples of a step of training; a device scores no more at once, see `score_split`
    step: int | None = None  # of the checkpoint; None where there is none, as of a detector that comes with dfjax


@functools.lru_cache(maxsize=4)
def make_scorer(graphdef: nnx.GraphDef, mesh: Mesh):
    """The compiled function (params, model_state, batch) -> (batch,) float32 logits, in evaluation mode.

    The same one for the same detector and devices: a run validates and scores with what was compiled once.
    """

    def score(params: PyTree, model_state: PyTree, batch: dict):
        model = functional.evaluation_model(graphdef, params, model_state)
        return model(input_of(batch, model))

    return devices.each_alone(score, mesh)


@functools.lru_cache(maxsize=4)
def make_embedder(graphdef: nnx.GraphDef, mesh: Mesh):
    """The compiled function (params, model_state, batch) -> (batch, dim) embeddings, in evaluation mode."""

    def embed(params: PyTree, model_state: PyTree, batch: dict):
        model = functional.evaluation_model(graphdef, params, model_state)
        return model.embed(input_of(batch, model))

    return devices.each_alone(embed, mesh)


def make_judge(graphdef: nnx.GraphDef, mesh: Mesh, *, embedding: bool):
    """The compiled function (params, model_state, batch) -> all that a verdict needs, from one pass over the batch.

    Its result is that of `judged`.
    """

    def judge(params: PyTree, model_state: PyTree, batch: dict) -> dict[str, jax.Array]:
        return judged(functional.evaluation_model(graphdef, params, model_state), batch, embedding=embedding)

    return devices.each_alone(judge, mesh)


def judged(model: Any, batch: dict, *, embedding: bool) -> dict[str, jax.Array]:
    """What a verdict needs to know of a batch: `score`, (batch,) float32 logits.

    Beside it `embedding`, (batch, dim), where that is asked for, of a detector of modality 'av' `parts`, (batch, 2)
    logits of picture and sound, and of one that looks for lines of upsampling its `marks`: `lines`, (batch, 3), and
    perhaps `levels`, (batch, 2).
    """
    x, marks = input_of(batch, model), {}
    if getattr(model, "lines", False):
        marks = model.marks(x)
        x = x | marks
    embedded = model.embed(x)
    found = {"score": model.head(embedded)} | ({"embedding": embedded} if embedding else {}) | marks
    return found | ({"parts": model.parts(x)} if model.modality == "av" else {})


def input_of(batch: dict, model: Any):
    """What the model takes of a batch in compact form: waveforms in [-1, 1), pictures in [0, 1].

    Waveforms begin again until the buffer is full; a model that looks for lines is told after how many samples.
    """
    if model.modality != "audio":
        picture = batch["image"].astype(jnp.float32) / 255
        return picture if model.modality == "image" else {"image": picture, "audio": audio.to_float(batch["audio"])}
    samples = batch["audio"].shape[1]
    heard = audio.cut(batch["audio"], batch["length"], jnp.zeros_like(batch["length"]), samples)
    return {"audio": heard, "length": batch["length"]} if getattr(model, "lines", False) else heard


def score_split(scorer, network: Network, split: Split, mesh: Mesh) -> Float[np.ndarray, "rows ..."]:
    """One score (a logit), or embedding, per record of the split, in record order; a damaged one raises InputError.

    A device takes as many records at once as a step of training did, but not more than `scoring.EACH`, however many
    devices there are: sums are taken in an order that depends on this number, and scores are to be the same bits
    everywhere.

    Args:
      scorer: from `make_scorer` or `make_embedder`, of this network.
      network: what is scored with.
      split: an opened split.
      mesh: devices to spread the records over.
    """
    examples = (scoring.example(record, network.takes) for record in records(split))
    size = min(network.batch, scoring.EACH) * mesh.size
    return scoring.score_examples(scorer, network.params, network.model_state, examples, batch=size, mesh=mesh)


def records(split: Split, rows: Sequence[int] | None = None) -> Iterator[dict]:
    """The records of a split, or those of `rows`, in order, read in blocks: memory stays flat."""
    rows = range(len(split)) if rows is None else rows
    for start in range(0, len(rows), READ_AHEAD):
        yield from split.records.__getitems__(list(rows[start : start + READ_AHEAD]))
