"""Which rows training draws and how often each class and method comes; under- and oversampling by index. NumPy only.

Counts are (real, fake) pairs, or {(label, method): count}.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Shaped

from dfjax.records import FAKE, LABEL_NAMES, REAL, InputError

Counts = Sequence[int] | Mapping[tuple[int, str], int] | np.ndarray
Pair = tuple[float, float]
Mode = str | Mapping[str, float | int]  # a name out of MODES, or relative rates by name
MODES = ("natural", "balanced", "balanced_methods", "balanced_domains", "sqrt", "undersample", "oversample")


def class_counts(counts: Counts) -> tuple[int, int]:
    """(real, fake) of any form of counts; a class without examples raises InputError."""
    if isinstance(counts, Mapping):
        real, fake = (sum(n for (label, _), n in counts.items() if label == wanted) for wanted in (REAL, FAKE))
    else:
        real, fake = counts
    if real < 1 or fake < 1:
        raise InputError(f"training needs examples of both classes, got {real} real and {fake} fake")
    return int(real), int(fake)


def cell_counts(labels: Shaped[np.ndarray, " n"], methods: Shaped[np.ndarray, " n"]) -> dict[tuple[int, str], int]:
    """Rows of each (label, method), reals first; unknown labels are left out."""
    labels, methods = np.asarray(labels), np.asarray(methods)
    known = [labels == label for label in (REAL, FAKE)]
    found = [np.unique(methods[rows], return_counts=True) for rows in known]
    return {
        (label, str(method)): int(n)
        for label, of in zip((REAL, FAKE), found, strict=True)
        for method, n in zip(*of, strict=True)
    }


def minority_groups(labels: Shaped[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> int:
    """Independent groups of the smaller class."""
    return len(np.unique(np.asarray(groups)[_by_size(labels)[0]]))


def cell_rates(counts: Mapping[tuple[int, str], int], mode: Mode) -> dict[tuple[int, str], float]:
    """How often each (label, method) is drawn; the rates sum to 1.

    Args:
      counts: examples of each (label, method).
      mode: 'natural' draws every example alike; 'balanced', 'undersample' and 'oversample' draw the classes
        alike and the methods within a class by their counts; 'balanced_methods' draws those alike too, and
        'balanced_domains' the domains within a class (see `draws`); 'sqrt' draws classes by the square root of
        their counts. Or relative rates by name: 'real', 'fake', 'fake/METHOD'; a class's rate is shared, by their
        counts, among its methods that are not named.

    Raises:
      InputError: unknown mode or name, a negative rate, or a class that would never be drawn.
    """
    real, fake = class_counts(counts)
    cells = {cell: n for cell, n in counts.items() if cell[0] in (REAL, FAKE) and n > 0}
    if isinstance(mode, Mapping):
        rates = _named_rates(cells, mode)
    elif mode in MODES:
        power = {"natural": 1.0, "sqrt": 0.5}.get(mode, 0.0)
        of_class = {REAL: real**power, FAKE: fake**power}
        methods = {label: sum(1 for cell in cells if cell[0] == label) for label in (REAL, FAKE)}
        total = {REAL: real, FAKE: fake}
        rates = {
            cell: of_class[cell[0]] * (1 / methods[cell[0]] if mode == "balanced_methods" else n / total[cell[0]])
            for cell, n in cells.items()
        }
    else:
        raise InputError(f"Unknown sampling mode {mode!r}; expected one of {list(MODES)} or rates by name")
    whole = sum(rates.values())
    return {cell: float(rate / whole) for cell, rate in rates.items()}


def _named_rates(cells, mode) -> dict[tuple[int, str], float]:
    names = {LABEL_NAMES[label] + (f"/{method}" if method else ""): (label, method) for label, method in cells}
    valid = sorted({*names, *LABEL_NAMES})
    for name in mode:
        if name not in valid:
            raise InputError(f"Unknown sampling rate {name!r}; expected one of {valid}")
    if not all(np.isfinite(rate) and rate >= 0 for rate in mode.values()):
        raise InputError(f"sampling rates must be finite and not negative, got {dict(mode)}")
    rates = {names[name]: float(rate) for name, rate in mode.items() if name in names and name not in LABEL_NAMES}
    for label, name in enumerate(LABEL_NAMES):
        rest = {cell: n for cell, n in cells.items() if cell[0] == label and cell not in rates}
        if rest and name not in mode:
            raise InputError(f"no sampling rate for {name!r}, needed by its method {min(rest)[1]!r}")
        if name in mode and not rest:
            raise InputError(f"the rate of {name!r} covers nothing: every method of it has its own")
        rates |= {cell: mode[name] * n / sum(rest.values()) for cell, n in rest.items()}
        if not sum(rate for cell, rate in rates.items() if cell[0] == label) > 0:
            raise InputError(f"sampling would never draw {name!r}; give it a positive rate")
    return rates


def sampling_rates(counts: Counts, mode: Mode = "balanced") -> Pair:
    """The share (real, fake) of each class in a batch under `mode`; see `cell_rates`, which raises the same."""
    if not isinstance(counts, Mapping):
        real, fake = class_counts(counts)
        counts = {(REAL, ""): real, (FAKE, ""): fake}
    rates = cell_rates(counts, mode)
    real_rate = sum(rate for (label, _), rate in rates.items() if label == REAL)
    return real_rate, 1.0 - real_rate


def draws(
    labels: Shaped[np.ndarray, " n"],
    methods: Shaped[np.ndarray, " n"],
    mode: Mode,
    class_rates: Mapping[int, float],
    *,
    domains: Shaped[np.ndarray, " n"] | None = None,
    weights: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[Shaped[np.ndarray, " m"], dict[str, float], Int[np.ndarray, " m"]]:
    """The strata of the rows that a run draws from, how often each stratum is drawn, and the rows.

    Strata are classes, or methods or domains within classes where `mode` sets their rates. Within a stratum
    rows are alike.

    Args:
      labels: 1 fake, 0 real; rows of unknown label are never drawn.
      methods: generators, empty for reals.
      mode: see `cell_rates`. 'undersample' draws from as many rows of the larger class as the smaller one
        has, chosen once by `seed`, and never from the rest; 'oversample' from a list in which rows of the
        smaller class are repeated until the classes are equally long.
      class_rates: label -> the share of a batch drawn from its stored rows.
      domains: where each row was recorded or published (the same for all if None), for 'balanced_domains': the
        domains of a class are drawn alike, however many rows they have.
      weights: of the dataset of each row, where several are trained on; how often a domain of it is drawn beside
        others of weight 1. Only 'balanced_domains' takes weights that differ.
      seed: of the choice.

    Returns:
      strata of the rows by name, rates by name (real before fake; they sum to 1), rows.

    Raises:
      InputError: as `cell_rates`, `undersample` and `oversample`; weights that differ under another mode than
        'balanced_domains', or under it no weight above 0 for a class.
    """
    labels, methods = np.asarray(labels), np.asarray(methods)
    if mode == "balanced_domains":
        known = np.full(len(labels), "all") if domains is None else np.asarray(domains)
        return _domain_draws(labels, known, weights, class_rates)
    if weights is not None and len(set(np.asarray(weights).tolist())) > 1:
        raise InputError(
            f"datasets of different weights need config.balance.sampling='balanced_domains', got {mode!r}; "
            "with it each domain is drawn by the weight of its dataset"
        )
    if mode == "undersample":
        rows = undersample(labels, seed=seed)
    elif mode == "oversample":
        rows = oversample(labels, seed=seed)
    else:
        rows = np.flatnonzero((labels == REAL) | (labels == FAKE))
    names = np.array(LABEL_NAMES)[labels[rows]]
    if mode != "balanced_methods" and not isinstance(mode, Mapping):
        return names, {LABEL_NAMES[label]: float(class_rates[label]) for label in (REAL, FAKE)}, rows
    cells = cell_rates(cell_counts(labels, methods), mode)
    of_class = {label: sum(rate for cell, rate in cells.items() if cell[0] == label) for label in (REAL, FAKE)}
    rates = {
        f"{LABEL_NAMES[label]}/{method}": class_rates[label] * rate / of_class[label]
        for (label, method), rate in sorted(cells.items())
    }
    return np.char.add(np.char.add(names, "/"), methods[rows].astype(str)), rates, rows


def _domain_draws(labels, domains, weights, class_rates):
    """As `draws`: strata are the domains of each class, drawn by the weight of their dataset."""
    rows = np.flatnonzero((labels == REAL) | (labels == FAKE))
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    rates: dict[str, float] = {}
    for label in (REAL, FAKE):
        of_class = labels == label
        share = {str(d): weights[of_class & (domains == d)].mean() for d in np.unique(domains[of_class])}
        whole = sum(share.values())
        if not whole > 0:
            raise InputError(f"no dataset with a positive weight has {LABEL_NAMES[label]} examples")
        rates |= {f"{LABEL_NAMES[label]}/{d}": float(class_rates[label] * w / whole) for d, w in share.items()}
    names = np.char.add(np.char.add(np.array(LABEL_NAMES)[labels[rows]], "/"), domains[rows].astype(str))
    return names, rates, rows


def stand_in(mode: Mode) -> dict[tuple[int, str], int]:
    """Counts on which `mode` can be checked before there are data: 10:1, with the methods that it names."""
    named = [name.partition("/")[::2] for name in mode] if isinstance(mode, Mapping) else []
    cells = [(LABEL_NAMES.index(label), method) for label, method in named if label in LABEL_NAMES]
    cells += [(label, "") for label in (REAL, FAKE) if label not in dict(cells)]
    return {(label, method): 1 if label == FAKE else 10 for label, method in cells}


def undersample(labels: Shaped[np.ndarray, " n"], *, ratio: float | int = 1.0, seed: int = 0) -> Int[np.ndarray, " m"]:
    """Sorted indices of the smaller class and of `ratio` times as many of the larger, none twice; `seed` draws them.

    A class without rows raises InputError.
    """
    small, large = _by_size(labels)
    rng = np.random.default_rng(seed)
    keep = min(len(large), max(1, round(ratio * len(small))))
    return np.sort(np.concatenate([small, rng.choice(large, keep, replace=False)]))


def oversample(labels: Shaped[np.ndarray, " n"], *, ratio: float | int = 1.0, seed: int = 0) -> Int[np.ndarray, " m"]:
    """Sorted indices of every row, the smaller class repeated until the larger is `ratio` times as many.

    Whole rounds first, then a part of a round drawn by `seed`, so that no row is used more than once more than another.
    A class without rows raises InputError.
    """
    small, large = _by_size(labels)
    rounds, rest = divmod(max(len(small), round(len(large) / ratio)), len(small))
    extra = np.random.default_rng(seed).choice(small, rest, replace=False)
    return np.sort(np.concatenate([large, np.tile(small, rounds), extra]))


def _by_size(labels) -> tuple[np.ndarray, np.ndarray]:
    real, fake = np.flatnonzero(np.asarray(labels) == REAL), np.flatnonzero(np.asarray(labels) == FAKE)
    class_counts((len(real), len(fake)))
    return (fake, real) if len(fake) <= len(real) else (real, fake)
