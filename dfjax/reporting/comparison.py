"""Paired comparison of runs on the same test clips, with intervals over clips and seeds. NumPy only.

Every run is judged on the same bootstrap draws of clips (or of groups of clips), so what two runs find
equally hard cancels in their difference. Seeds are redrawn too: an interval covers both another test set of
this kind and another start of training.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dfjax.decide import metrics, operating_points
from dfjax.decide.redrawn import draws, over_seeds, ranking
from dfjax.decide.score_file import Scores
from dfjax.imbalance.ledger import Ledger
from dfjax.records import FAKE, InputError
from dfjax.reporting.markdown import aligned_table
from dfjax.runtime.strict_json import plain

# of the fake class, at probability 0.5 and at the tuned threshold
AT = ("accuracy", "precision", "recall", "f1")
SIDES = (("half", "{} at 0.5"), ("tuned", "tuned {}"))
RANKING = ("average_precision", "auc", "eer")
PROBABILITY = ("log_loss", "log_loss_corrected", "ece")
NAMES = (*(f"{name}_{at}" for at, _ in SIDES for name in AT), *RANKING, *PROBABILITY)
TOLD = ("f1_half", "f1_tuned", *RANKING, *PROBABILITY)  # whose differences are shown and put into words
LOWER_IS_BETTER = ("eer", *PROBABILITY)
TITLES = {
    "average_precision": "AP",
    "auc": "AUC",
    "eer": "EER",
    "log_loss": "log loss",
    "log_loss_corrected": "corrected log loss",
    "ece": "ECE",
} | {f"{name}_{at}": text.format(name.replace("f1", "F1")) for name in AT for at, text in SIDES}
REPLICATES = 1_000
BINS = 15  # of the expected calibration error, equally wide in probability


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run: test scores by clip, tuned threshold (None if undefined), ledger, seconds."""

    clips: Scores
    threshold: float | None
    ledger: Ledger
    seconds: float


def compare(runs: dict[str, list[Run]], *, seed: int = 0) -> dict[str, Any]:
    """Every metric of every experiment and its difference from the first, as plain Python for strict JSON.

    Args:
      runs: experiment -> one run per seed, the same seeds for all.
      seed: of the bootstrap.

    Returns:
      baseline (the first's name), clips, fakes, unit (what the bootstrap redraws), replicates, seeds; and experiments,
      name -> seconds (mean over seeds), metrics (name -> value, low, high, sd and seeds) and difference from the
      baseline (name -> value, low, high, exceeds, whether 0 lies outside, and better; None of the baseline).

    Raises:
      InputError: the runs were not tested on the same clips.
    """
    reference = next(iter(runs.values()))[0].clips
    for name, of in runs.items():
        for one in of:
            if not (
                np.array_equal(one.clips.clip, reference.clip) and np.array_equal(one.clips.label, reference.label)
            ):
                raise InputError(
                    f"{name} was tested on other clips than {next(iter(runs))}; compare needs one test split"
                )
    groups, unit = operating_points.units(reference)
    replicates = min(REPLICATES, operating_points.replicates(len(reference)))
    rng = np.random.default_rng(seed)
    seeds = len(next(iter(runs.values())))
    drawn = rng.integers(0, seeds, (replicates, seeds))
    values = {name: np.empty((seeds, replicates + 1, len(NAMES))) for name in runs}
    for rows, copies in draws(len(reference), groups, replicates, rng):
        for name, of in runs.items():
            for s, one in enumerate(of):
                measured = measure(one, copies)
                values[name][s, rows] = np.stack([measured[key] for key in NAMES], -1)
    means = {name: over_seeds(value, drawn) for name, value in values.items()}
    baseline = next(iter(runs))
    return {
        "baseline": baseline,
        "clips": len(reference),
        "fakes": int((reference.label == FAKE).sum()),
        "unit": unit,
        "replicates": replicates,
        "seeds": seeds,
        "experiments": {
            name: {
                "seconds": round(float(np.mean([one.seconds for one in runs[name]])), 1),
                "metrics": _summary(mean, values[name][:, 0], _resting_on(runs[name], groups)),
                "difference": None if name == baseline else _difference(mean - means[baseline]),
            }
            for name, mean in means.items()
        },
    }


def measure(run: Run, copies: Int[np.ndarray, "draws clips"]) -> dict[str, Float[np.ndarray, " draws"]]:
    """Name -> value on each draw, of NAMES; a draw is given as copies of each clip. NaN where undefined."""
    score, fake = run.clips.score, run.clips.label == FAKE
    result: dict[str, np.ndarray] = {}
    for suffix, threshold in (("half", 0.0), ("tuned", run.threshold)):
        counts = copies @ operating_points.confusion(run.clips, np.inf if threshold is None else threshold)
        at = operating_points.metrics(counts)
        result |= {
            f"{name}_{suffix}": at[name] if threshold is not None else np.full(len(copies), np.nan) for name in AT
        }
    result |= ranking(score, fake, copies)
    total = copies.sum(1)
    corrected = run.ledger.correct(score)
    for name, z in (("log_loss", score.astype(np.float64)), ("log_loss_corrected", corrected)):
        result[name] = copies @ np.logaddexp(0.0, np.where(fake, -z, z)) / total
    probability = metrics.probabilities(score)
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gap = np.zeros((len(score), BINS))
    gap[np.arange(len(score)), bins] = fake - probability
    result["ece"] = np.abs(copies @ gap).sum(1) / total
    return result


def _resting_on(of: list[Run], groups: np.ndarray | None) -> dict[str, int]:
    """Metric -> how many units it rests on in the run where they are fewest, see `operating_points.at_an_end`."""
    found = dict.fromkeys(RANKING, operating_points.fewest(of[0].clips.label == FAKE, groups))
    for side, _ in SIDES:
        at = [0.0 if side == "half" else np.inf if one.threshold is None else one.threshold for one in of]
        each = [operating_points.resting_on(one.clips, t, groups) for one, t in zip(of, at, strict=True)]
        found |= {f"{name}_{side}": min(rests[name] for rests in each) for name in AT}
    return found


def _summary(
    mean: Float[np.ndarray, "draws names"], seeds: Float[np.ndarray, "seeds names"], rests: dict[str, int]
) -> dict[str, dict]:
    """Per metric: mean over seeds, interval, standard deviation over seeds, each seed's value."""
    return {
        name: plain(operating_points.at_an_end(operating_points.interval(mean[:, k]), rests.get(name, 0)))
        | plain({"sd": seeds[:, k].std(ddof=1) if len(seeds) > 1 else np.nan})
        | {"seeds": [plain(value) for value in seeds[:, k]]}
        for k, name in enumerate(NAMES)
    }


def _difference(mean: Float[np.ndarray, "draws names"]) -> dict[str, dict]:
    """Per metric: the difference from the baseline, its interval, and whether that leaves out 0."""
    found = {}
    for k, name in enumerate(NAMES):
        of = plain(operating_points.interval(mean[:, k]))
        low, high = of["low"], of["high"]
        beyond = low is not None and high is not None and (low > 0 or high < 0)
        better = (low is not None and low > 0) != (name in LOWER_IS_BETTER) if beyond else None
        found[name] = of | {"exceeds": beyond, "better": better}
    return found


def markdown(result: dict[str, Any]) -> str:
    """The comparison as Markdown: what it says, then values and differences, one row per experiment."""
    seeds, fakes = result["seeds"], result["fakes"]
    half, tuned = ([f"{name}_{side}" for name in AT] for side, _ in SIDES)
    what, of_seeds, not_in = ("Means over seeds; in", " and of seeds", "")
    if seeds == 1:
        what, of_seeds, not_in = "In", "", "; what another seed would change is not in them"
    lines = [
        f"# {len(result['experiments'])} experiments, {seeds} seed{'s' * (seeds > 1)}, "
        f"{result['clips']:,} test clips, {fakes:,} of them fake",
        "",
        *words(result),
        "",
        f"{what} brackets 95 % intervals of {result['replicates']:,} bootstrap draws of {result['unit']}{of_seeds}, "
        f"the same draws for all{not_in}. Fake is the positive class. Tuned thresholds come from validation data; "
        "corrected: scores moved back to the natural prior by the ledger.",
        "",
        _table(result, [*RANKING, *PROBABILITY], _value, cost=True),
        "",
        _table(result, half, _value),
        "",
        _table(result, tuned, _value),
        "",
    ]
    if len(result["experiments"]) > 1:
        lines += [f"Differences from {result['baseline']}; **bold** where the interval leaves out 0:", ""]
        lines += [_table(result, TOLD, _change)]
    return "\n".join(lines).rstrip() + "\n"


def words(result: dict[str, Any]) -> list[str]:
    """One sentence per experiment: which metrics differ from the baseline by more than their interval."""
    sentences = []
    for name, of in result["experiments"].items():
        if of["difference"] is None:
            continue
        moved: dict[bool, list[str]] = {True: [], False: []}
        for metric in TOLD:
            change = of["difference"][metric]
            if change["exceeds"]:
                moved[change["better"]].append(f"{TITLES[metric]} {change['value']:+.3f}")
        sides = (("better", moved[True]), ("worse", moved[False]))
        parts = [f"{side}: {', '.join(titles)}" for side, titles in sides if titles]
        sentences.append(f"* {name}: {'; '.join(parts) or 'nothing beyond its interval'}.")
    if not sentences:
        return []
    tests = len(sentences) * len(TOLD)
    chance = f"Of {tests} intervals about {tests / 20:.{int(tests < 20)}f} leave out 0 by chance alone."
    return [f"Against {result['baseline']}:", "", *sentences, "", chance]


def _table(result: dict[str, Any], names, cell, *, cost: bool = False) -> str:
    heads, rows = ["experiment", *(TITLES[name] for name in names), *(["seconds"] if cost else [])], []
    for name, of in result["experiments"].items():
        if cell is _change and of["difference"] is None:
            continue
        seconds = [f"{of['seconds']:.0f}"] if cost else []
        rows.append([name, *(cell(of, metric) for metric in names), *seconds])
    return aligned_table(heads, rows)


def _value(of: dict[str, Any], name: str) -> str:
    at = of["metrics"][name]
    if at["value"] is None:
        return "-"
    interval = "" if at["low"] is None else f" ({_short(at['low'])}, {_short(at['high'])})"
    return _short(at["value"]) + interval


def _change(of: dict[str, Any], name: str) -> str:
    at = of["difference"][name]
    if at["value"] is None:
        return "-"
    text = _short(at["value"], "+")
    interval = "" if at["low"] is None else f" ({_short(at['low'], '+')}, {_short(at['high'], '+')})"
    return (f"**{text}**" if at["exceeds"] else text) + interval


def _short(value: float, sign: str = "") -> str:
    """Three digits, without the 0 before the point: tables of many columns stay narrow."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:{sign}.3f}"
