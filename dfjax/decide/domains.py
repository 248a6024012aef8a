"""Left-out domains: each one's figures, their spread, weights that make them count alike, what a bootstrap redraws.

A domain is where a record was recorded or published: a source, a corpus, a data set. The scores judged here are of
networks that were trained without the domain that they score (`python -m dfjax.crossval`), one per clip. Every
domain weighs alike, however many clips it has: the next one is one more domain, not some more clips. NumPy and SciPy.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dfjax.decide import operating_points, score_file
from dfjax.decide.cuts import Number
from dfjax.decide.metrics import eer, roc_auc
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, REAL, InputError

REPLICATES = 1_000  # of the bootstrap, at most
NOUNS = {"method": "method", "dataset": "dataset"}  # what is left out, in words; a domain is a 'source'
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
RATES = {"false_alarms": REAL, "misses": FAKE}  # the class of which each is a share


def noun(scores: Scores, count: int = 2) -> str:
    """What was left out, in words: 'source', 'method' or 'dataset', with an s unless `count` is 1."""
    return NOUNS.get(str(scores.header.get("left_out_by")), "source") + "s" * (count != 1)


def equal_weights(scores: Scores) -> np.ndarray:
    """Clip weights under which both classes weigh alike, and within each class every domain that has it.

    Args:
      scores: one row per clip, with domains.

    Returns:
      (n,) fractions, exact as `thresholds.search` wants them. They sum to the number of clips; a clip of class c in
      domain d weighs clips / (classes * domains with c * clips of c in d).
    """
    names, index = numbered(scores)
    cell = 2 * index + (scores.label == FAKE)
    sizes = np.bincount(cell, minlength=2 * len(names)).tolist()
    having = [sum(1 for size in sizes[c::2] if size) for c in (0, 1)]
    classes = sum(1 for h in having if h)
    weight = np.array(
        [
            Fraction(len(scores), classes * having[k % 2] * size) if size else Fraction(0)
            for k, size in enumerate(sizes)
        ],
        object,
    )
    return weight[cell]


def by_domain(scores: Scores, threshold: Number | None, *, n: int = REPLICATES, seed: int = 0) -> list[dict[str, Any]]:
    """Every domain on its own, by name.

    Args:
      scores: by record or by clip, with domains; unknown labels are left out.
      threshold: fake iff score >= threshold; None if there is none.
      n: replicates of the bootstrap, where a domain has groups of clips.
      seed: of the bootstrap.

    Returns:
      Per domain: domain, real, fake (clips), auc, eer (None with one class), false_alarms (share of its real clips
      called fake) and misses (share of its fakes called real), each {value, low, high}: 95 % intervals over clips
      (Wilson's) or over groups of clips (bootstrap); None without such clips or without a threshold.

    Raises:
      InputError: no domains, or no clip with a known label.
    """
    rows = []
    for name, own in each(known_clips(scores)):
        both = len(np.unique(own.label)) > 1
        row: dict[str, Any] = {"domain": name, "real": int((own.label == REAL).sum())}
        row["fake"] = len(own) - row["real"]
        row["auc"] = roc_auc(own.score, own.label) if both else None
        row["eer"] = eer(own.score, own.label)[0] if both else None
        for rate, label in RATES.items():
            of = score_file.select(own, own.label == label)
            row[rate] = _rate(of, threshold, label, n, seed)
        rows.append(row)
    return rows


def _rate(scores, threshold, label, n, seed):
    """Share of the clips, all of one label, that are called the other, with its interval."""
    if threshold is None or not len(scores):
        return {"value": None, "low": None, "high": None}
    wrong = (scores.score >= np.float32(threshold)) != (label == FAKE)
    return operating_points.share(wrong, operating_points.units(scores)[0], n=n, seed=seed)


def spread(rows: Sequence[Mapping[str, Any]], name: str, *, high_is_worse: bool = True) -> dict[str, Any]:
    """Mean, lowest and highest value over domains, and the worst one.

    Args:
      rows: of `by_domain` or `summary`.
      name: 'auc', 'eer', 'false_alarms' or 'misses'.
      high_is_worse: whether the highest is the worst.

    Returns:
      mean, low, high (None where no domain has a value), worst (the domain's name) and domains (how many have one).
    """
    found = {row["domain"]: value for row in rows if (value := _value(row[name])) is not None}
    if not found:
        return {"mean": None, "low": None, "high": None, "worst": None, "domains": 0}
    low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    mean = math.fsum(found.values()) / len(found)
    worst = high if high_is_worse else low
    return {"mean": mean, "low": found[low], "high": found[high], "worst": worst, "domains": len(found)}


def _value(cell):
    return cell["value"] if isinstance(cell, Mapping) else cell


def words(rows: Sequence[Mapping[str, Any]], what: str = "sources") -> str:
    """The spread of both errors: 'false alarms 2 to 14 % over seven sources, 6 % on the mean; misses ...'."""
    parts = []
    for name in RATES:
        of = spread(rows, name)
        title = name.replace("_", " ")
        if of["mean"] is None:
            parts.append(f"{title} unknown")
            continue
        over = f"{in_words(of['domains'])} {what if of['domains'] > 1 else what.removesuffix('s')}"
        low, high, mean = (percent(of[key]) for key in ("low", "high", "mean"))
        reach = f"{high} %" if low == high else f"{low} to {high} %"
        parts.append(f"{title} {reach} over {over}, {mean} % on the mean")
    return "; ".join(parts)


def in_words(number: int) -> str:
    """A count up to twelve as a word, a greater one in figures."""
    return WORDS[number] if number < len(WORDS) else f"{number:,}"


def percent(share: float) -> str:
    """Per cent in few digits: 14, 2.1, 0.3."""
    return f"{100 * share:.0f}" if 100 * share >= 9.95 or share == 0 else f"{100 * share:.1f}".removesuffix(".0")


def redrawn_in_words(scores: Scores) -> str:
    """What a bootstrap within domains redraws, `own_units`, in words."""
    several, drawn, few = False, 0, 0
    for _, own in each(scores):
        groups, count = operating_points.units(own)[0], len(np.unique(own.group))
        if groups is None and count < len(own):  # too few groups: their clips are redrawn instead
            few += len(own)
        else:
            several, drawn = several or groups is not None, drawn + count
    narrow = f"{few:,} clips whose groups are too few to redraw (there the spread is understated)"
    if not drawn:
        return narrow
    whole = f"{drawn:,} {'groups of ' * several}clips"
    return f"{whole} and {narrow}" if few else whole


def known_clips(scores: Scores) -> Scores:
    """Clips with known labels and domains.

    Raises:
      InputError: there are no domains, or no known labels.
    """
    if scores.domain is None:
        raise InputError("these scores have no column 'domain'; python -m dfjax.crossval writes such")
    clips = score_file.by_clip(score_file.known(scores))
    if not len(clips):
        raise InputError("no clip has a known label; expected scores of labelled clips")
    return clips


def each(scores: Scores) -> Iterator[tuple[str, Scores]]:
    """(name, its rows) of every domain, by name."""
    names, index = numbered(scores)
    for k, name in enumerate(names):
        yield name, score_file.select(scores, index == k)


def numbered(scores: Scores) -> tuple[list[str], np.ndarray]:
    """Names of the domains, and the number of each row's."""
    names, index = np.unique(np.asarray(scores.domain), return_inverse=True)
    return names.tolist(), index


def of_methods(scores: Scores) -> bool:
    """Whether methods were left out, beside each of which the same real clips are judged."""
    return noun(scores, 1) == "method"


def shared_units(scores: Scores) -> tuple[np.ndarray, np.ndarray, str]:
    """What is redrawn where methods were left out: the real clips once for all, the fakes within each method.

    Returns:
      (n,) units, (n,) strata, and what is redrawn in words. Units are groups, or clips where groups are too few.
    """
    names, index = numbered(scores)
    fake = scores.label == FAKE
    strata = np.where(fake, index, -1)
    # crossval puts the method before the name of a clip
    own = np.array([c.removeprefix(f"{names[k]}: ") for c, k in zip(scores.clip.tolist(), index.tolist(), strict=True)])
    units = np.empty(len(scores), np.int64)
    counts, few = {True: 0, False: 0}, 0
    for stratum in np.unique(strata):
        rows = strata == stratum
        clips, groups = (np.unique(column[rows], return_inverse=True)[1] for column in (own, scores.group))
        enough = groups.max() + 1 >= operating_points.MIN_GROUPS or groups.max() == clips.max()
        units[rows] = groups if enough else clips
        counts[bool(stratum >= 0)] += int(units[rows].max()) + 1
        few += 0 if enough else int(clips.max()) + 1
    words = f"{counts[False]:,} groups of real clips, the same beside each method, and {counts[True]:,} of fakes"
    narrow = f" ({few:,} of all these are clips whose groups are too few to redraw: the spread is understated)"
    return units, strata, f"{words} within {len(names)} {noun(scores, len(names))}{narrow if few else ''}"


def own_units(scores: Scores) -> np.ndarray:
    """(n,) what is redrawn within domains: a clip's group, or the clip itself where its domain has too few."""
    names, index = numbered(scores)
    unit = np.arange(len(scores))
    for k in range(len(names)):
        rows = np.flatnonzero(index == k)
        groups, _ = operating_points.units(score_file.select(scores, rows))
        if groups is not None:
            unit[rows] = len(scores) + np.unique(groups, return_inverse=True)[1]
    return unit
