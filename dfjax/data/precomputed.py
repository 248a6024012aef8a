"""The precomputed feed: what a front end without parameters makes of the training split, kept on the device.

Of each clip the front end sees some random cuts, augmented as in the step, once and for all; the last of several is as
it is, not augmented. A step trains on all of them, each weighed by the rate at which it would be drawn. It suits
detectors whose front end costs far more than their head. What is made of a clip depends on its id, the copy and the
seed alone, so that runs on parts of the same data can share it.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, PyTree, Shaped

from dfjax.media import codecs
from dfjax.records import FAKE, REAL, UNKNOWN
from dfjax.runtime import devices

ROWS = 32  # examples that a device takes at once


@dataclasses.dataclass(frozen=True)
class Memory:
    """What trainings of one experiment share that differ in seed and in what they leave out, and in nothing else."""

    # (seed, copy, made) -> id -> statistics
    found: dict[tuple[int, int, bool], dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    programs: dict[bool, Callable] = dataclasses.field(default_factory=dict)  # made -> what is compiled

    def forget(self, seed: int) -> None:
        """Drops the statistics of a seed."""
        for key in [key for key in self.found if key[0] == seed]:
            del self.found[key]


def statistics(
    arrays: dict[str, np.ndarray],
    ids: Shaped[np.ndarray, " rows"],
    make_x: Callable[[jax.Array, PyTree, jax.Array], tuple[jax.Array, jax.Array]],
    front: Callable[[jax.Array], jax.Array],
    *,
    copies: int,
    seed: int,
    mesh: Mesh,
    codec_rate: float | int = 0.0,
    made: bool = False,
    memory: Memory | None = None,
) -> Float[np.ndarray, "copies rows features"]:
    """What the front end makes of every example.

    Args:
      arrays: the split as `resident.load` returns it, with 'label'; leading axis rows.
      ids: of the records.
      make_x: (key, examples, whether they are altered) -> the model's input and labels; called for one example at a
        time, inside vmap.
      front: the model's input -> (batch, features).
      copies: random cuts of each example; the last of several is not altered.
      seed: of the cuts and the augmentation.
      mesh: the devices that share the work.
      codec_rate: share of the altered cuts whose clip passes through a lossy codec first.
      made: whether `make_x` makes fakes of the examples; a fake has the cut and the channel of its source's copy.
      memory: statistics that are not made again; those that are made now join them.
    """
    size, spread, root = ROWS * mesh.size, devices.split_batch(mesh), jax.random.key(seed)
    numbers = np.array([_number(name) for name in ids.tolist()], np.uint32)
    memory = memory or Memory()

    def compute(root: jax.Array, copy: jax.Array, altered: jax.Array, batch: tuple[jax.Array, PyTree]) -> jax.Array:
        def one(number: jax.Array, example: PyTree) -> jax.Array:
            key = jax.random.fold_in(jax.random.fold_in(root, copy), number)
            return make_x(key, jax.tree.map(lambda array: array[None], example), altered)[0][0]

        return front(jax.vmap(one)(*batch))

    program = memory.programs.setdefault(made, devices.each_alone(compute, mesh))
    for copy in range(copies):
        altered = copies == 1 or copy < copies - 1
        known = memory.found.setdefault((seed, copy, made), {})
        missing = np.array([row for row, name in enumerate(ids.tolist()) if name not in known], np.int64)
        for first in range(0, len(missing), size):
            wanted = missing[first : first + size]
            at = np.resize(wanted, size)  # the last batch is filled up, so that there is one shape
            block = {name: array[at] for name, array in arrays.items()}
            for i in range(len(wanted)) if codec_rate and altered else ():
                rng = np.random.default_rng([seed, copy, numbers[wanted[i]]])
                if rng.random() < codec_rate:
                    length = block["length"][i]
                    block["audio"][i, :length] = codecs.random_recode(rng, block["audio"][i, :length])
            batch = devices.put((numbers[at], block), spread)
            found = np.asarray(devices.fetch(program(root, np.int32(copy), np.bool_(altered), batch)))
            known.update(zip(ids[wanted].tolist(), found[: len(wanted)], strict=True))
    return np.stack([[memory.found[seed, copy, made][name] for name in ids.tolist()] for copy in range(copies)])


def rows(
    arrays: dict[str, np.ndarray],
    ids: Shaped[np.ndarray, " rows"],
    rates: Float[np.ndarray, " rows"],
    front: tuple[Callable, Callable],
    fakes: tuple[float, Callable] | None = None,
    **words,
) -> dict[str, np.ndarray]:
    """All that a step sees: the stored clips, and behind them a fake made of each real one, if there are to be any.

    Clips of unknown label are left out.

    Args:
      arrays: the split as `resident.load` returns it, with 'label'; leading axis rows.
      ids: of the records.
      rates: how often each row is drawn, the real ones as much more often as fakes are made; they sum to 1.
      front: `make_x` and `front` of `statistics`.
      fakes: share of what is drawn that is made of real clips, and the `make_x` that makes them.
      words: the rest that `statistics` takes.

    Returns:
      statistics (copies, clips, features), label (clips,), kind (clips,), which is 1 where the run made the clip and
      else 0, and weight (clips,), which sums to 1.
    """
    make_x, front_end = front
    known = np.flatnonzero(arrays["label"] != UNKNOWN)  # the others have no loss that a weight of 0 could hide
    if len(known) < len(ids):
        arrays, ids, rates = {name: array[known] for name, array in arrays.items()}, ids[known], rates[known]
    found, labels = statistics(arrays, ids, make_x, front_end, **words), arrays["label"]
    if fakes is not None:
        share, make_fake = fakes
        real = np.flatnonzero(labels == REAL)
        turned = share / rates[real].sum()
        of_real = {name: array[real] for name, array in arrays.items()}
        made = statistics(of_real, ids[real], make_fake, front_end, made=True, **words)
        found = np.concatenate([found, made], axis=1)
        labels = np.append(labels, np.full(len(real), FAKE, labels.dtype))
        rates = np.append(np.where(arrays["label"] == REAL, (1 - turned) * rates, rates), turned * rates[real])
    kinds = (np.arange(len(labels)) >= len(ids)).astype(np.int32)  # what is made lies behind what is stored
    return {"statistics": found, "label": labels, "kind": kinds, "weight": rates.astype(np.float32)}


def _number(name: str) -> int:
    """32 bits that stand for an id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
