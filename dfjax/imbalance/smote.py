"""Decoupled training: resample the embeddings of a trained backbone, on which its head is then fitted again.

That is classifier re-training (Kang et al., "Decoupling representation and classifier for long-tailed recognition",
ICLR 2020) on rows made by SMOTE (Chawla et al. 2002), Borderline-SMOTE (Han et al. 2005), SVM-SMOTE (Nguyen et al.
2011), ADASYN (He et al. 2008), or SMOTE and a cleaning by neighbours (Batista et al. 2004).

For embeddings of the training split only. Interpolated pixels or waveforms are no images or sounds, and a
neighbour taken from validation data leaks it: labels that are pure noise reach AUC 0.99 when SMOTE runs
before the split.

In many dimensions expect little: SMOTE's rows have two thirds of the variance of real ones (Blagus and Lusa
2013, https://doi.org/10.1186/1471-2105-14-106) and edited neighbours (SMOTEENN) may delete the larger class
altogether.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Shaped

from dfjax.imbalance.ledger import Ledger
from dfjax.imbalance.rates import class_counts, oversample, undersample
from dfjax.records import FAKE, REAL, InputError
from dfjax.runtime import workers

BY_INDEX = ("random_over", "random_under")
# these look at neighbours of all rows: 20,000 rows take about a minute, 100,000 twenty
QUADRATIC = ("smote_enn", "smote_tomek")
METHODS = (*BY_INDEX, "smote", "borderline_smote", "svm_smote", "adasyn", *QUADRATIC)


@dataclasses.dataclass(frozen=True)
class Resampled:
    """A resampled training set, what it did to the class ratio, and what a reader should know."""

    embeddings: Float[np.ndarray, "n dim"]
    labels: Int[np.ndarray, " n"]
    ledger: Ledger
    notes: tuple[str, ...]


def resample(
    embeddings: Float[np.ndarray, "n dim"],
    labels: Shaped[np.ndarray, " n"],
    method: str,
    *,
    ratio: float | int = 1.0,
    k_neighbors: int = 5,
    seed: int = 0,
    memory: int | None = None,
) -> Resampled:
    """Embeddings and labels after `method`, one of METHODS.

    Args:
      embeddings: of the training split, finite.
      labels: 1 fake, 0 real.
      method: imbalanced-learn's resampler of that name; 'random_over' and 'random_under' draw indices.
      ratio: smaller over larger class afterwards (before cleaning, for the two hybrids).
      k_neighbors: neighbours to interpolate with; lowered, and said so, where the smaller class has no more
        rows than that.
      seed: of all draws.
      memory: bytes that may be used; None is what the system has free.

    Raises:
      InputError: unknown method, one class, not enough rows or memory, or a result that has lost or inverted
        a class.
    """
    if method not in METHODS:
        raise InputError(f"Unknown resampler {method!r}; expected one of {list(METHODS)}")
    embeddings, labels = np.asarray(embeddings), np.asarray(labels).astype(np.int32)
    if not np.isfinite(embeddings).all():
        raise InputError("embeddings must be finite; there are NaN or infinite values")
    before = class_counts(np.bincount(labels, minlength=2))
    check(before, method, ratio)
    small, large = sorted(before)
    _check_memory(embeddings, method, round(ratio * large) - small, memory)
    if method in BY_INDEX:
        draw = oversample if method == "random_over" else undersample
        chosen = draw(labels, ratio=1 / ratio, seed=seed)
        return _resampled(embeddings[chosen], labels[chosen], before, method, [])
    notes = []
    if small <= k_neighbors:
        notes.append(f"k_neighbors lowered from {k_neighbors} to {small - 1}: the smaller class has {small} rows")
        k_neighbors = small - 1
    try:
        after = _resampler(method, ratio, k_neighbors, len(labels), seed).fit_resample(embeddings, labels)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{method} cannot resample {before[0]} real and {before[1]} fake rows: {error}") from error
    return _resampled(after[0].astype(embeddings.dtype), after[1], before, method, notes)


def check(counts: tuple[int, int], method: str, ratio: float | int = 1.0) -> None:
    """Raises InputError where there is nothing to resample, or too little.

    Args:
      counts: rows of real and of fake.
      method: one of METHODS.
      ratio: as `resample` takes it.
    """
    small, large = sorted(counts)
    if small == large:
        raise InputError(f"{counts[0]} real and {counts[1]} fake rows are balanced already; {method} has nothing to do")
    if not small / large < ratio <= 1:
        raise InputError(f"ratio must lie between the present {small / large:.3g} (excluded) and 1, got {ratio}")
    if small == 1 and method not in BY_INDEX:
        raise InputError(f"{method} interpolates between rows of the smaller class, which has one; use random_over")


def _resampler(method: str, ratio: float, k: int, n: int, seed: int):
    """Imbalanced-learn's object; imported here, because it takes a second that most runs need not spend."""
    from imblearn import combine, over_sampling

    common = {"sampling_strategy": float(ratio), "random_state": seed}
    around = min(10, n - 1)  # neighbours among all rows, which say whether a row is at the border
    if method == "smote":
        return over_sampling.SMOTE(k_neighbors=k, **common)
    if method == "borderline_smote":
        return over_sampling.BorderlineSMOTE(k_neighbors=k, m_neighbors=around, **common)
    if method == "svm_smote":
        return over_sampling.SVMSMOTE(k_neighbors=k, m_neighbors=around, **common)
    if method == "adasyn":
        return over_sampling.ADASYN(n_neighbors=k, **common)
    combined = combine.SMOTEENN if method == "smote_enn" else combine.SMOTETomek
    return combined(smote=over_sampling.SMOTE(k_neighbors=k, **common), **common)


def _resampled(embeddings, labels, before, method, notes) -> Resampled:
    """The result, unless a class was lost or the imbalance turned round."""
    after = np.bincount(labels, minlength=2)
    larger = int(before[FAKE] > before[REAL])
    if after.min() == 0 or 2 * after[larger] < after[1 - larger]:
        raise InputError(
            f"{method} left {after[0]} real and {after[1]} fake rows of {before}: it lost or "
            "inverted a class, as cleaning by neighbours does in many dimensions; use smote or random_under"
        )
    if after.sum() == sum(before) and method not in BY_INDEX:
        notes = [*notes, f"{method} changed nothing: it found no row to work on"]
    ratio = float(np.log(after[FAKE] / after[REAL]) - np.log(before[FAKE] / before[REAL]))
    return Resampled(embeddings, labels.astype(np.int32), Ledger(sampling=ratio), tuple(notes))


def estimated_bytes(n: int, dim: int, itemsize: int, method: str, new_rows: int) -> int:
    """Peak bytes beside the input: the result, three arrays of new rows in the making, and distances.

    Args:
      n: rows of the input.
      dim: of the embeddings.
      itemsize: bytes of one number.
      method: one of METHODS.
      new_rows: that are added.
    """
    if method == "random_under":
        return n * dim * itemsize
    rows = n + new_rows
    made = 0 if method == "random_over" else 3 * new_rows
    distances = min(2**30, 8 * rows * rows) if method in QUADRATIC else min(2**30, 8 * n * n)
    return (rows + made) * dim * itemsize + (0 if method in BY_INDEX else distances)


def _check_memory(embeddings: np.ndarray, method: str, new_rows: int, memory: int | None) -> None:
    memory = workers.free_memory() if memory is None else memory
    n, dim = embeddings.shape
    needed = estimated_bytes(n, dim, embeddings.itemsize, method, new_rows)
    if needed > memory:
        raise InputError(
            f"{method} of {len(embeddings):,} rows needs about {needed / 1e9:.2g} GB, "
            f"{memory / 1e9:.2g} GB are free; use balanced sampling or random_under, which copy nothing"
        )
