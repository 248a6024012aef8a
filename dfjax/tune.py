"""Chooses the threshold again, without training: from a run's validation scores or from any score file.

python -m dfjax.tune --workdir runs/audio_focal --criterion recall_at_precision --min_precision 0.95
python -m dfjax.tune --scores validation.csv --criterion youden
python -m dfjax.tune --workdir runs/audio_focal --certify --max_fpr 0.01
python -m dfjax.tune --workdir runs/audio_focal-without-domain --split left_out --certify --by_domain --max_fpr 0.1

A run of dfjax.crossval has scores of left-out sources too: a threshold for places where the detector has never been.
"""

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from etils import epath

from dfjax.decide import certify_domains, known_real, metrics, score_file, thresholds
from dfjax.decide.decision import decide, write_decision
from dfjax.decide.decision import read_decision as read_decision
from dfjax.decide.score_file import Scores
from dfjax.records import InputError
from dfjax.reporting import report
from dfjax.runtime import cli

VALIDATION = "validation"
SEAL = "manifest.json"  # of a bundle: inference.bundle, which imports JAX, has it as MANIFEST
SHOWN = ("accuracy", "precision", "recall", "f1", "balanced_accuracy")
CONSTRAINTS = {
    "beta": "of f_beta: how many times recall counts as much as precision",
    "c_fp": "cost of a real called fake",
    "c_fn": "cost of a fake called real",
    "min_precision": "of recall_at_precision",
    "min_recall": "of precision_at_recall, or of --certify",
    "max_fpr": "of recall_at_fpr, or of --certify",
}


def table(decision: Mapping[str, Any], test: Scores | None = None) -> str:
    """A few lines for people: before and after on validation, the corrected value, and test if given.

    Args:
      decision: what decision.json holds.
      test: scores of the test split.

    Raises:
      InputError: rows of a clip in `test` contradict each other.
    """
    lines = [decision["message"]] if decision["message"] else []
    clips = decision["clips"]
    lines += [f"{decision['split'] or 'scores'}: {clips['fake']} fake and {clips['real']} real clips", _heading()]
    lines.append(_row("0.5", 0.0, decision["half"]))
    if decision["tuned"]:
        lines.append(_row(decision["criterion"], float(decision["threshold"]), decision["tuned"]))
    if decision["corrected_value"] is not None:
        low, high = decision["confidence_interval"]
        what = decision["domains"]["noun"] if "domains" in decision else ""
        new, alike = (f"a new {what}", f"all {what}s weigh alike, ") if what else ("new data", "")
        lines.append(
            f"{decision['criterion']} {decision['value']:.4f} here; on {new} expect "
            f"{decision['corrected_value']:.4f} [{low:.4f}, {high:.4f}] ({alike}optimism removed, 95 %, "
            f"over {decision['bootstrap']['unit']})"
        )
        if held := decision.get("constrained"):  # decisions of earlier versions have none
            lines.append(f"{held['name']} {held['value']:.4f} here; on {new} expect {held['corrected']:.4f}")
    if found := decision.get("domains"):
        lines += [f"at this threshold: {found['words']}", *_by_domain(found)]
        if (certificate := found["certificate"]) and certificate["statement"] != decision["message"]:
            lines.append(certificate["statement"])
        lines += known_real.summary(decision)
    if not clips["fake"] or not clips["real"]:
        gone = "real" if clips["fake"] else "fake"
        lines.append(f"there is no {gone} clip, so nothing here says what a threshold does to {gone} ones; add some")
    if band := decision["band"]:
        lines.append(
            f"no verdict from {float(band['real_below']):.4f} to {float(band['fake_from']):.4f}: "
            f"{band['undecided']:.1%} of the clips"
        )
    if (prior := decision["calibration"]["deploy_prior"]) is not None:
        lines.append(f"a verdict's probability is for {100 * prior:.3g} % fakes in use; that moves no threshold")
    if test is not None and decision["tuned"]:
        test = score_file.by_clip(score_file.known(test))
        lines += ["test (not used for the choice):", _heading()]
        for name, value in (("0.5", 0.0), (decision["criterion"], float(decision["threshold"]))):
            lines.append(_row(name, value, metrics.at_threshold(test.score, test.label, value)))
    return "\n".join(lines)


def _heading():
    return f"{'':22}{'threshold':>12}" + "".join(f"{name.split('_')[0]:>11}" for name in SHOWN)


def _row(name, threshold, found):
    cells = ("-" if found[key] is None or math.isnan(found[key]) else f"{found[key]:.4f}" for key in SHOWN)
    return f"{name:22}{threshold:12.4f}" + "".join(f"{cell:>11}" for cell in cells)


def _by_domain(found):
    """A line for each domain: its clips, AUC and EER, and both errors at the threshold."""
    cell = lambda value: "-" if value is None else f"{value:.4f}"  # noqa: E731
    heads = ("real", "fake", "AUC", "EER", "alarms", "misses")
    lines = [f"{found['noun']:22}" + "".join(f"{head:>11}" for head in heads)]
    for row in found["rows"]:
        values = [row["auc"], row["eer"], row["false_alarms"]["value"], row["misses"]["value"]]
        cells = [str(row["real"]), str(row["fake"]), *map(cell, values)]
        lines.append(f"{row['domain'] or '(unnamed)':22}" + "".join(f"{text:>11}" for text in cells))
    return lines


def find_scores(workdir: str | os.PathLike, split: str, dataset: str | None = None) -> epath.Path | None:
    """The score file of a run for a split of a data set, the one it was trained on if None; None if there is none.

    The split 'left_out' is of all data sets that dfjax.crossval trained on; there `dataset` says nothing.

    Raises:
      InputError: the folder is no run.
    """
    path = epath.Path(workdir) / "config.json"
    try:
        trained_on = json.loads(path.read_text())["data"]["dataset"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{workdir} holds no run (no readable config.json); give the workdir of a dfjax.run"
        ) from error
    stem = "" if split == score_file.LEFT_OUT else f"{(dataset or trained_on).replace('/', '-')}."
    found = path.parent / "scores" / f"{stem}{split}.csv"
    return found if found.exists() else None


def choose_split(workdir: str | os.PathLike, dataset: str | None = None) -> str:
    """The split whose scores a run's threshold is to be chosen on: that of its decision, 'left_out' or 'validation'.

    Without a decision: 'left_out' where only those scores are there. Of another data set: 'validation'.

    Raises:
      InputError: the folder is no run.
    """
    if dataset or not find_scores(workdir, score_file.LEFT_OUT):
        return VALIDATION
    try:
        chosen = read_decision(epath.Path(workdir) / "decision.json").get("split")
    except InputError:
        chosen = None
    return score_file.LEFT_OUT if chosen == score_file.LEFT_OUT or not find_scores(workdir, VALIDATION) else VALIDATION


def renew_report(workdir: str | os.PathLike, decision: dict[str, Any], validation: Scores, test: Scores | None) -> str:
    """Makes the run's report again around the decision; one line that says so, or, instead of InputError, why not.

    Args:
      workdir: of the run.
      decision: the new one.
      validation: the scores that it was made on.
      test: the scores that are reported; None where there are none yet.
    """
    try:
        if test is None:
            raise InputError(f"{workdir} has no test scores yet; let dfjax.run finish")
        report.refresh(workdir, decision, validation, test)
    except InputError as error:
        return f"the report was not renewed: {error}"
    return f"report renewed: {epath.Path(workdir) / 'report.html'}"


def check_left_out(scores: Scores, test: Scores) -> None:
    """Raises InputError where test clips are among the scores of what was left out, as earlier versions wrote them."""
    # beside a method a clip's name begins with it
    pairs = zip(scores.clip.tolist(), [] if scores.domain is None else scores.domain.tolist(), strict=False)
    known = set(test.clip.tolist())
    if many := len({clip for clip, domain in pairs if clip in known or clip.removeprefix(f"{domain}: ") in known}):
        raise InputError(
            f"{many:,} test clips are among the scores of what was left out, as earlier versions wrote them; the "
            "python -m dfjax.crossval command of this workdir, given again, scores them into a file of their own"
        )


def scale(scores: Scores) -> str | None:
    """What is to be said where the scores look like probabilities, for which 0.5 is no logit of 0; else None."""
    if len(scores) and scores.score.min() >= 0 and 0 < scores.score.max() <= 1:
        return (
            "all scores lie from 0 to 1, as probabilities do, but are read as logits: the row 0.5 is the threshold 0, "
            "which calls all of them fake; the row below holds for either"
        )
    return None


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.tune", description="Choose the threshold again, without training.")
    source = result.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", help="a run; its decision.json and report are replaced")
    source.add_argument("--scores", help="any CSV with label (1 fake, 0 real) and score (higher = fake)")
    result.add_argument(
        "--dataset", help="of --workdir: tune on the validation scores of this dataset, not of the one trained on"
    )
    result.add_argument(
        "--split",
        choices=[VALIDATION, score_file.LEFT_OUT],
        help="of --workdir: choose on validation scores or on those of left-out sources (default: as its decision did)",
    )
    result.add_argument(
        "--criterion",
        help=f"one of {', '.join(thresholds.CRITERIA)} (default: f1; on left-out sources balanced_accuracy)",
    )
    for name, text in CONSTRAINTS.items():
        result.add_argument(f"--{name}", type=float, help=text)
    result.add_argument(
        "--certify",
        type=float,
        nargs="?",
        const=math.nan,
        metavar="CONFIDENCE",
        help="guarantee --min_recall or --max_fpr on new clips, instead of a criterion (default 0.95)",
    )
    result.add_argument(
        "--by_domain",
        action="store_true",
        help=f"with --certify: guarantee --max_fpr on a new source (default {certify_domains.CONFIDENCE})",
    )
    result.add_argument("--abstain", type=float, metavar="RATE", help="add a band without verdict")
    result.add_argument("--deploy_prior", type=float, metavar="P", help="share of fakes in use, for probabilities")
    result.add_argument(
        "--out", help="where the decision goes (default: decision.json of the workdir, beside its report)"
    )
    result.add_argument("--json", action="store_true", help="print the decision as one JSON line")
    return result


def main() -> None:
    """Reads scores, decides, writes the decision, prints a table."""
    flags = parser().parse_args()
    if flags.scores and (flags.split or flags.dataset):
        raise InputError(f"--{'split' if flags.split else 'dataset'} is of a --workdir; --scores is the file itself")
    if flags.certify is not None and flags.criterion:
        raise InputError("--certify takes --min_recall or --max_fpr and no --criterion; give one of the two")
    if flags.workdir and not flags.out and (epath.Path(flags.workdir) / SEAL).exists():
        raise InputError(
            f"{flags.workdir} is a bundle, which another decision.json would break; give --out FILE for the decision, "
            "or tune the run that it was made of"
        )
    split = flags.split or (choose_split(flags.workdir, flags.dataset) if flags.workdir else VALIDATION)
    path = flags.scores or find_scores(flags.workdir, split, flags.dataset)
    if path is None and split == score_file.LEFT_OUT:
        raise InputError(f"{flags.workdir} has no scores of left-out sources; make some with python -m dfjax.crossval")
    if path is None:
        raise InputError(
            f"{flags.workdir} has no validation scores{f' of {flags.dataset}' if flags.dataset else ''} yet; "
            "let dfjax.run finish, make some with python -m dfjax.evaluate --split validation, or give --scores"
        )
    constraint = {name: getattr(flags, name) for name in CONSTRAINTS if getattr(flags, name) is not None}
    certified = flags.certify
    if certified is not None and math.isnan(certified):
        certified = certify_domains.CONFIDENCE if flags.by_domain else 0.95
    scores = score_file.read(path)
    found = find_scores(flags.workdir, "test", flags.dataset) if flags.workdir else None
    test = score_file.read(found) if found else None
    if test is not None and split == score_file.LEFT_OUT:
        check_left_out(scores, test)
    decision = decide(
        scores,
        flags.criterion,
        certified=certified,
        by_domain=flags.by_domain,
        abstain=flags.abstain,
        deploy_prior=flags.deploy_prior,
        **constraint,
    )
    out = flags.out or (flags.workdir and epath.Path(flags.workdir) / "decision.json")
    met = decision["status"] == "ok"
    if out and (met or flags.out):
        write_decision(out, decision)
    note = scale(scores) if flags.scores else None
    if flags.workdir and not flags.out and met:
        own = find_scores(flags.workdir, VALIDATION) if split == score_file.LEFT_OUT else None
        note = renew_report(flags.workdir, decision, score_file.read(own) if own else scores, test)
    print(json.dumps(decision, allow_nan=False) if flags.json else table(decision, test))
    if note:
        print(note, file=sys.stderr if flags.json else sys.stdout)
    if not met:
        stays = "; the run's decision stays as it was" if flags.workdir and not flags.out else ""
        raise InputError(f"{decision['message']}{stays}")


if __name__ == "__main__":
    cli.main(main)
