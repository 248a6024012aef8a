"""The summary of a cross-validation over domains: mean, worst and every one, with intervals over clips and seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfjax.decide import domains, operating_points, redrawn
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, InputError
from dfjax.runtime.strict_json import plain


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
    clips = [domains.known_clips(scores) for scores in runs]
    first = clips[0]
    for other in clips[1:]:
        if not all(np.array_equal(getattr(first, name), getattr(other, name)) for name in ("clip", "label", "domain")):
            raise InputError("the seeds scored different clips; a summary needs one file per seed, of the same records")
    replicates = max(200, min(domains.REPLICATES, operating_points.replicates(len(first) * len(runs))))
    rng = np.random.default_rng(seed)
    names, index = domains.numbered(first)
    count = len(names)
    parts = [np.flatnonzero(index == k) for k in range(count)] + [np.arange(len(first))]  # domains, and all together
    values = np.full((count + 1, len(runs), replicates + 1, 2), np.nan)  # AUC and EER
    fake = first.label == FAKE
    if domains.of_methods(first):
        units, strata, unit = domains.shared_units(first)
    else:
        units, strata = domains.own_units(first), index
        unit = f"{domains.redrawn_in_words(first)} within {count} {domains.noun(first, count)}"
    for rows, copies in redrawn.draws(len(first), units, replicates, rng, strata):
        for s, one in enumerate(clips):
            for part, of in enumerate(parts):
                if len(np.unique(fake[of])) == 2:
                    found = redrawn.ranking(one.score[of], fake[of], copies[:, of])
                    values[part, s, rows] = np.stack([found["auc"], found["eer"]], -1)
    seeds = rng.integers(0, len(runs), (replicates, len(runs)))
    means = np.stack([redrawn.over_seeds(value, seeds) for value in values])
    table: list[dict[str, Any]] = []
    few = [operating_points.fewest(fake[of], units[of]) for of in parts]
    for k, name in enumerate(names):
        row = {"domain": name, "real": int((~fake[parts[k]]).sum()), "fake": int(fake[parts[k]].sum())}
        for m, metric in enumerate(("auc", "eer")):
            row[metric] = operating_points.at_an_end(operating_points.interval(means[k, :, m]), few[k]) | {
                "seeds": values[k, :, 0, m].tolist()
            }
        table.append(row)
    judged = np.flatnonzero(np.isfinite(means[:count, 0, 0]))
    # what the mean rests on: all weigh alike, so one of few clips counts for much; methods may share their reals
    rests = min(round(len(judged) ** 2 / sum(1 / few[k] for k in judged)), few[count]) if len(judged) else 0
    over = means[judged].mean(0) if len(judged) else np.full((replicates + 1, 2), np.nan)
    table = plain(table)
    worst = {metric: domains.spread(table, metric, high_is_worse=metric == "eer")["worst"] for metric in ("auc", "eer")}
    of_worst = {metric: _row(table, name, metric) for metric, name in worst.items()}
    result = {
        "seeds": len(runs),
        "clips": len(first),
        "real": int((~fake).sum()),
        "fake": int(fake.sum()),
        "domains": count,
        "noun": domains.noun(first, 1),
        "unit": unit,
        "replicates": replicates,
        "mean_auc": operating_points.at_an_end(operating_points.interval(over[:, 0]), rests),
        "worst_auc": of_worst["auc"],
        "worst_domain": worst["auc"],
        "mean_eer": operating_points.at_an_end(operating_points.interval(over[:, 1]), rests),
        "worst_eer": of_worst["eer"],
        "pooled": {
            name: operating_points.at_an_end(operating_points.interval(means[count, :, k]), few[count])
            for k, name in enumerate(("auc", "eer"))
        },
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
    where, (mean_eer, worst_eer) = found["worst_domain"], (found[key]["value"] for key in ("mean_eer", "worst_eer"))
    return (
        f"AUC {mean:.3f} on the mean over {domains.in_words(judged)} {what}, {worst:.3f} on the worst ({where}); "
        f"EER {domains.percent(mean_eer)} % on the mean, {domains.percent(worst_eer)} % at worst"
    )
