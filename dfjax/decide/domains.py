"""What scores of left-out domains say of a domain that nobody has met: spread, threshold, summary.

A domain is where a record was recorded or published: a source, a corpus, a data set. The scores judged here are of
networks that were trained without the domain that they score (`python -m dfjax.crossval`), one per clip. Every
domain weighs alike, however many clips it has: the next one is one more domain, not some more clips. NumPy and SciPy.
"""

import dataclasses
import fractions
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dfjax.decide import criteria, operating_points, redrawn, score_file, thresholds
from dfjax.decide.cuts import Number
from dfjax.decide.metrics import eer, roc_auc
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, REAL, InputError
from dfjax.runtime.strict_json import plain

Fraction = fractions.Fraction

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
    names, index = _numbered(scores)
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
    groups, _ = operating_points.units(scores)
    if groups is None:
        return operating_points.wilson(int(wrong.sum()), len(wrong))
    if wrong.all() or not wrong.any():  # a bootstrap would see no spread
        count = len(np.unique(groups))
        return operating_points.wilson(count * bool(wrong.all()), count)
    table = np.stack([wrong, np.ones(len(wrong))], 1).astype(np.int64)
    sums = np.concatenate([table.sum(0)[None], operating_points.draws(table, groups, n=n, seed=seed)])
    return operating_points.interval(sums[:, 0] / sums[:, 1])


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
        low, high, mean = (_percent(of[key]) for key in ("low", "high", "mean"))
        reach = f"{high} %" if low == high else f"{low} to {high} %"
        parts.append(f"{title} {reach} over {over}, {mean} % on the mean")
    return "; ".join(parts)


def in_words(number: int) -> str:
    """A count up to twelve as a word, a greater one in figures."""
    return WORDS[number] if number < len(WORDS) else f"{number:,}"


def _percent(share):
    """Per cent in few digits: 14, 2.1, 0.3."""
    return f"{100 * share:.0f}" if 100 * share >= 9.95 or share == 0 else f"{100 * share:.1f}".removesuffix(".0")


@dataclasses.dataclass(frozen=True)
class Travel:
    """What a threshold search is worth on a domain that took no part in it.

    Attributes:
      thresholds: domain -> the threshold that the other domains choose; None where they choose none.
      corrected: the criterion's value when each domain is judged at that threshold, every domain weighing alike.
      interval: 95 %, of a bootstrap of domains and, in each, of groups of clips; the thresholds stay.
      replicates: those that were defined.
      unit: what was redrawn, in words.
      constrained_corrected: as `corrected`, of the quantity under a constraint (precision, recall or specificity); None
        without one.
    """

    thresholds: dict[str, float | None]
    corrected: float
    interval: tuple[float, float]
    replicates: int
    unit: str
    constrained_corrected: float | None


def travel(
    scores: Scores, criterion: str, *, n: int = REPLICATES, seed: int = 0, **constraint: Number
) -> Travel | None:
    """Searches the threshold without each domain in turn and judges that domain at it.

    This is what replaces the bootstrap of `optimism` where domains differ: the luck of a threshold lies in the
    domains that chose it, and only a domain that did not choose shows it.

    Args:
      scores: one row per clip, with domains.
      criterion: a key of `thresholds.CRITERIA`.
      n: replicates of the bootstrap.
      seed: of the bootstrap.
      **constraint: the criterion's numbers.

    Returns:
      None where fewer than two domains can be judged so, or the criterion is undefined.
    """
    found: dict[str, float | None] = {}
    tables, drawn = [], []
    for k, (name, own) in enumerate(each(scores)):
        others = score_file.select(scores, np.flatnonzero(scores.domain != name))
        chosen = None
        if len(others):
            weights = equal_weights(others)
            chosen = thresholds.search(others.score, others.label, criterion, weights=weights, **constraint).value
        found[name] = chosen
        if chosen is None:
            continue
        table = operating_points.confusion(own, chosen)
        tables.append(table.sum(0))
        if not _is_method(scores):
            drawn.append(operating_points.draws(table, operating_points.units(own)[0], n=n, seed=seed + k))
    if len(tables) < 2:
        return None
    corrected = _weighed(np.array(tables)[None], len(scores), criterion, constraint)[0]
    if math.isnan(corrected):
        return None
    rng, count = np.random.default_rng(seed), len(tables)
    who, which = rng.integers(0, count, (n, count)), rng.integers(0, n, (n, count))
    if _is_method(scores):  # a draw of their real clips is the same for all
        drawn, which = _drawn_together(scores, found, n, rng), np.arange(n)[:, None]
    values = _weighed(np.array(drawn)[who, which], len(scores), criterion, constraint)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    unit = f"{count} {noun(scores, count)} and, within them, {_unit(scores)}"
    if _is_method(scores):
        unit = f"{count} {noun(scores, count)} and {_shared(scores)[2]}"
    _, (recalls, alarms) = _rates(np.array(tables)[None])
    held = criteria.held(criterion, float(recalls[0]), float(alarms[0]), 1.0, 1.0)
    interval = float(low), float(high)
    return Travel(found, corrected, interval, len(values), unit, None if math.isnan(held) else held)


def _drawn_together(scores, chosen, n, rng):
    """Counts (domains, n, 4) of tp, fp, fn and tn of each domain with a threshold in `chosen`, in the same draws."""
    units, strata, _ = _shared(scores)
    parts = [(np.flatnonzero(scores.domain == name), at) for name, at in chosen.items() if at is not None]
    tables = [operating_points.confusion(score_file.select(scores, rows), at) for rows, at in parts]
    found = np.empty((len(parts), n + 1, 4), np.int64)
    for draws, copies in redrawn.draws(len(scores), units, n, rng, strata):
        for k, ((rows, _), table) in enumerate(zip(parts, tables, strict=True)):
            found[k, draws] = copies[:, rows] @ table
    return found[:, 1:]


def _rates(counts):
    """Of draws of domains (draws, domains, 4: tp, fp, fn, tn): which have both classes, and their mean rates.

    Returns:
      (draws,) mask; recall and false positive rate of those, each the mean over the domains that have one.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore"):
        recall, alarm = tp / (tp + fn), fp / (fp + tn)
    has = np.isfinite(recall), np.isfinite(alarm)
    both = has[0].any(1) & has[1].any(1)
    means = [np.where(h, r, 0)[both].sum(1) / h[both].sum(1) for h, r in zip(has, (recall, alarm), strict=True)]
    return both, means


def _weighed(counts, clips, criterion, constraint):
    """The criterion of draws of domains, as `_rates` takes them, with `equal_weights`; NaN if undefined."""
    both, means = _rates(counts)
    values = np.full(len(both), np.nan)
    whole, unit = 1 << 40, Fraction(clips, 2 << 40)  # rates to 1e-12
    values[both] = [
        criteria.value_of(criterion, round(whole * t), round(whole * f), whole, whole, constraint, unit)
        for t, f in zip(*(mean.tolist() for mean in means), strict=True)
    ]
    return values


def _unit(scores):
    """What a bootstrap within domains redraws, in words."""
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


def summary(runs: Sequence[Scores], *, seed: int = 0) -> dict[str, Any]:
    """Left-out scores of several seeds: mean, worst, and every domain, with intervals over clips and seeds.

    The bootstrap draws groups of clips within each domain, and seeds; real clips that stand beside every method are
    drawn once for all. The domains stay the same: what another choice of domains would change, the spread between them
    shows. The worst domain's interval is that of its own figure.

    Args:
      runs: one per seed, by record or by clip, of the same clips, with domains; unknown labels are left out.
      seed: of the bootstrap.

    Returns:
      For crossval.json, strict: seeds, clips, real, fake, domains (their number), noun, unit, replicates;
      mean_auc, worst_auc, mean_eer, worst_eer, each {value, low, high}, and worst_domain (the lowest AUC's);
      pooled {auc, eer}, of all clips together; rows, one per domain: domain, real, fake, auc, eer as {value, low,
      high, seeds (each seed's value)}; words, one sentence. Undefined figures are None.

    Raises:
      InputError: no runs, no domains, other clips from run to run.
    """
    if not runs:
        raise InputError("a summary needs the scores of at least one seed; got none")
    clips = [known_clips(scores) for scores in runs]
    first = clips[0]
    for other in clips[1:]:
        if not all(np.array_equal(getattr(first, name), getattr(other, name)) for name in ("clip", "label", "domain")):
            raise InputError("the seeds scored different clips; a summary needs one file per seed, of the same records")
    replicates = max(200, min(REPLICATES, operating_points.replicates(len(first) * len(runs))))
    rng = np.random.default_rng(seed)
    names, index = _numbered(first)
    count = len(names)
    parts = [np.flatnonzero(index == k) for k in range(count)] + [np.arange(len(first))]  # domains, and all together
    values = np.full((count + 1, len(runs), replicates + 1, 2), np.nan)  # AUC and EER
    fake = first.label == FAKE
    units, strata, unit = _groups(first), index, f"{_unit(first)} within {count} {noun(first, count)}"
    if _is_method(first):
        units, strata, unit = _shared(first)
    for rows, copies in redrawn.draws(len(first), units, replicates, rng, strata):
        for s, one in enumerate(clips):
            for part, of in enumerate(parts):
                if len(np.unique(fake[of])) == 2:
                    found = redrawn.ranking(one.score[of], fake[of], copies[:, of])
                    values[part, s, rows] = np.stack([found["auc"], found["eer"]], -1)
    seeds = rng.integers(0, len(runs), (replicates, len(runs)))
    means = np.stack([redrawn.over_seeds(value, seeds) for value in values])
    table: list[dict[str, Any]] = []
    for k, name in enumerate(names):
        row = {"domain": name, "real": int((~fake[parts[k]]).sum()), "fake": int(fake[parts[k]].sum())}
        for m, metric in enumerate(("auc", "eer")):
            row[metric] = operating_points.interval(means[k, :, m]) | {"seeds": values[k, :, 0, m].tolist()}
        table.append(row)
    judged = np.flatnonzero(np.isfinite(means[:count, 0, 0]))
    over = means[judged].mean(0) if len(judged) else np.full((replicates + 1, 2), np.nan)
    table = plain(table)
    worst = {metric: spread(table, metric, high_is_worse=metric == "eer")["worst"] for metric in ("auc", "eer")}
    of_worst = {metric: _row(table, name, metric) for metric, name in worst.items()}
    result = {
        "seeds": len(runs),
        "clips": len(first),
        "real": int((~fake).sum()),
        "fake": int(fake.sum()),
        "domains": count,
        "noun": noun(first, 1),
        "unit": unit,
        "replicates": replicates,
        "mean_auc": operating_points.interval(over[:, 0]),
        "worst_auc": of_worst["auc"],
        "worst_domain": worst["auc"],
        "mean_eer": operating_points.interval(over[:, 1]),
        "worst_eer": of_worst["eer"],
        "pooled": {name: operating_points.interval(means[count, :, k]) for k, name in enumerate(("auc", "eer"))},
        "rows": table,
    }
    result = plain(result)
    return result | {"words": _told(result)}


def _row(rows, name, metric):
    for row in rows:
        if row["domain"] == name:
            return {key: row[metric][key] for key in ("value", "low", "high")}
    return {"value": None, "low": None, "high": None}


def _told(found):
    """The summary's sentence."""
    mean, worst = found["mean_auc"]["value"], found["worst_auc"]["value"]
    judged = sum(row["auc"]["value"] is not None for row in found["rows"])
    what = found["noun"] + "s" * (judged != 1)
    if mean is None:
        return f"no {found['noun']} has both real and fake clips, so none can be judged on its own"
    where = found["worst_domain"]
    return (
        f"AUC {mean:.3f} on the mean over {in_words(judged)} {what}, {worst:.3f} on the worst ({where}); "
        f"EER {_percent(found['mean_eer']['value'])} % on the mean, {_percent(found['worst_eer']['value'])} % at worst"
    )


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
    names, index = _numbered(scores)
    for k, name in enumerate(names):
        yield name, score_file.select(scores, index == k)


def _numbered(scores: Scores) -> tuple[list[str], np.ndarray]:
    """Names of the domains, and the number of each row's."""
    names, index = np.unique(np.asarray(scores.domain), return_inverse=True)
    return names.tolist(), index


def _is_method(scores):
    """Whether methods were left out, beside each of which the same real clips are judged."""
    return noun(scores, 1) == "method"


def _shared(scores):
    """What is redrawn where methods were left out: the real clips once for all, the fakes within each method.

    Returns:
      (n,) units, (n,) strata, and what is redrawn in words. Units are groups, or clips where groups are too few.
    """
    names, index = _numbered(scores)
    fake = scores.label == FAKE
    strata = np.where(fake, index, -1)
    # crossval puts the method before the name of a clip
    own = np.array(
        [c.removeprefix(f"{d}: ") for c, d in zip(scores.clip.tolist(), scores.domain.tolist(), strict=True)]
    )
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


def _groups(scores):
    """(n,) what is redrawn within domains: a clip's group, or the clip itself where its domain has too few."""
    names, index = _numbered(scores)
    unit = np.arange(len(scores))
    for k in range(len(names)):
        rows = np.flatnonzero(index == k)
        groups, _ = operating_points.units(score_file.select(scores, rows))
        if groups is not None:
            unit[rows] = len(scores) + np.unique(groups, return_inverse=True)[1]
    return unit
