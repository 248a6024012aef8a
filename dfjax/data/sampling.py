"""Class-weighted resampling as a pure function of a key: which rows make up a batch.

Rows are sorted by stratum (class, or class and method). A batch takes its strata by systematic resampling, so that
every batch holds each stratum at its rate to within one example, and its rows uniformly within the stratum, with
replacement.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from dfjax.records import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Strata:
    """Rows grouped by stratum, and the rate at which each stratum is drawn."""

    order: PyTree  # (rows,) int32, row numbers sorted by stratum
    start: PyTree  # (strata,) int32, first position of each stratum in `order`
    count: PyTree  # (strata,) int32
    cumulative: PyTree  # (strata,) float32, cumulative rates, last is 1


def strata(keys: np.ndarray, rates: dict, rows: np.ndarray | None = None) -> Strata:
    """Groups rows by key and attaches the rates.

    Args:
      keys: the stratum of each row: labels, or any hashable per-row key.
      rates: stratum -> rate, not negative; normalised to sum to one. Strata without a rate are never drawn.
      rows: (keys,) row numbers that may be drawn, a repeated one as often as it stands there; None is all rows.

    Raises:
      InputError: a stratum with a positive rate has no rows, a rate is too small to tell from 0 in float32, or none is
        positive.
    """
    names = [name for name, rate in rates.items() if rate > 0]
    if not names:
        raise InputError(f"sampling rates must have a positive entry, got {rates}")
    rows = np.arange(len(keys)) if rows is None else rows
    rows = [rows[keys == name] for name in names]
    if empty := [name for name, found in zip(names, rows, strict=True) if not len(found)]:
        raise InputError(f"sampling rates name strata without examples: {empty}; present: {sorted(set(keys.tolist()))}")
    rate = np.array([rates[name] for name in names], np.float64)
    cumulative = np.cumsum(rate / rate.sum())
    cumulative[-1] = 1.0
    single = cumulative.astype(np.float32)
    if (lost := np.diff(single, prepend=np.float32(0)) <= 0).any():
        rare = names[int(np.argmax(lost))]
        raise InputError(
            f"the sampling rate of {rare!r} is {rates[rare] / rate.sum():.1g} of all, which is never drawn; expected "
            "at least 1e-6 of all, or 0"
        )
    count = np.array([len(found) for found in rows], np.int32)
    return Strata(
        order=np.concatenate(rows).astype(np.int32),
        start=(np.cumsum(count) - count).astype(np.int32),
        count=count,
        cumulative=single,
    )


def row_rates(groups: Strata, rows: int) -> Float[np.ndarray, " rows"]:
    """How often each of `rows` rows is drawn, on the mean over batches; the rates sum to 1."""
    rates = np.diff(np.asarray(groups.cumulative, np.float64), prepend=0) / np.asarray(groups.count)
    found = np.zeros(rows)
    np.add.at(found, np.asarray(groups.order), np.repeat(rates, np.asarray(groups.count)))
    return found


def draw(key: jax.Array, groups: Strata, batch: int) -> Int[Array, " batch"]:
    """Row numbers of one batch, a function of `key`; they come stratum by stratum."""
    # drawn together, and strata compared without a loop, since XLA compiles both sooner
    of_strata, of_rows = jax.vmap(lambda key: jax.random.uniform(key, (batch,)))(jax.random.split(key))
    position = (jnp.arange(batch) + of_strata[0]) / batch
    stratum = jnp.searchsorted(groups.cumulative, position, side="right", method="compare_all")
    stratum = jnp.minimum(stratum, groups.count.shape[0] - 1)
    count = groups.count[stratum]
    offset = jnp.minimum((of_rows * count).astype(jnp.int32), count - 1)
    return groups.order[groups.start[stratum] + offset]
