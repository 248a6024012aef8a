"""The report in words: verdict lines that a person can act on, and Markdown with the before/after table."""

from dfjax.decide.calibration import spread
from dfjax.reporting.markdown import escape, number, percent, points, table

SYNTHETIC = (
    "The corpus of this run is synthetic: the program made both its real and its fake clips. These numbers "
    "show that the pipeline works; they prove nothing about real deepfakes."
)
LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision (fake)",
    "recall": "Recall (fake)",
    "f1": "F1 (fake)",
}
SHARES = ("eer", "false_alarms", "misses")  # columns of left-out domains, beside the AUC
IN_USE = 0.01  # share of fakes for which the verdict states the precision: most media in use are real
SHORTCUT = 0.7  # AUC of mere file properties from which the verdict warns


def verdict(report: dict) -> list[str]:
    """What the numbers say, one sentence or two per line, the most important first."""
    split, threshold = report["split"], report["threshold"]
    half, tuned = (report["operating"][split][key] for key in ("half", "tuned"))
    chosen_on = _chosen_on(report)
    lines = [_finds(half, tuned, threshold | {"split": chosen_on})]
    if tuned:
        lines.append(_difference(report["operating"][split]["difference"]["f1"], half, tuned))
    lines += _without_verdict(report["decision"].get("band"), chosen_on)
    lines += _never_heard(report.get("left_out")) + _luck(report["decision"], chosen_on)
    if threshold["message"]:
        lines.append(f"Tuning on {chosen_on} says: {threshold['message']}.")
    auc, precision, eer = (report["ranking"][split][key] for key in ("auc", "average_precision", "eer"))
    lines.append(
        f"Whatever the threshold: AUC {number(auc)}, average precision {number(precision)}, "
        f"EER {percent(eer)}. Tuning a threshold cannot change these."
    )
    lines += _unseen(report["methods"][split]) + _in_use(tuned or half, bool(tuned)) + _shortcut(report["audit"])
    return lines


def _finds(half: dict, tuned: dict | None, threshold: dict) -> str:
    fakes = half["tp"] + half["fn"]
    text = f"At 0.5 the detector finds {percent(half['recall'])} of the fakes ({half['tp']:,} of {fakes:,})"
    text += f" at precision {percent(half['precision'])}"
    if not tuned:
        return text + "."
    chosen = f"{threshold['value']:.4g}, tuned on {threshold['split']} for {threshold['criterion']}"
    found = f"finds {percent(tuned['recall'])} at precision {percent(tuned['precision'])}"
    return f"{text}; the threshold {chosen}, {found}."


def _difference(change: dict, half: dict, tuned: dict) -> str:
    values = f"F1 of the fake class is {percent(half['f1'], False)} at 0.5 and {percent(tuned['f1'], False)} tuned"
    if change["value"] is None or change["low"] is None:
        return f"{values}; where it is undefined nothing was called fake."
    interval = f"{points(change['value'])} points, 95 % interval {points(change['low'])} to {points(change['high'])}"
    if change["low"] <= 0 <= change["high"]:
        return f"{values}: {interval}. The interval holds 0, so this run shows no difference."
    return f"{values}: {interval}."


def _chosen_on(report: dict) -> str:
    """The split of the threshold, in words."""
    return f"left-out {report['left_out']['noun']}s" if "left_out" in report else report["threshold"]["split"]


def _never_heard(found: dict | None) -> list[str]:
    """What left-out domains show of a new one."""
    if not found:
        return []
    line = f"On a {found['noun']} that it has never heard: "
    if found["mean"]["auc"] is not None:
        line += f"AUC {found['mean']['auc']:.3f} on the mean, {found['worst']['auc']:.3f} on the worst; "
    promise = found["certificate"]  # or why there is none
    told = [f"{line}{found['words']}." + (f" {promise[0].upper()}{promise[1:]}." if promise else "")]
    return told + found.get("notes", [])  # reports of earlier versions have none


def _without_verdict(band: dict | None, split: str) -> list[str]:
    """The band in which files are called uncertain, which the figures of a threshold do not know."""
    low, high = (float(band[name]) for name in ("real_below", "fake_from")) if band else (0.0, 0.0)
    if not band or not low < high:
        return []
    return [
        f"From {low:.4g} to {high:.4g} a file is called uncertain: {100 * band['undecided']:.1f} % of the clips of "
        f"{split}. Figures at the threshold are without that band."
    ]


def _luck(decision: dict, split: str) -> list[str]:
    """How much of the value that chose the threshold was luck of the clips it was chosen on."""
    if decision.get("corrected_value") is None or None in decision["confidence_interval"]:
        return []
    low, high = (float(bound) for bound in decision["confidence_interval"])
    reached, corrected = float(decision["value"]), float(decision["corrected_value"])
    held = decision.get("constrained")  # decisions of earlier versions have none
    alike = f", all {decision['domains']['noun']}s weighing alike" if decision.get("domains") else ""
    words = f" Its {held['name']} there, {held['value']:.3f}, becomes {held['corrected']:.3f}." if held else ""
    return [
        f"On {split} the chosen threshold reached {decision['criterion']} {reached:.3f}{alike}; "
        f"without the luck of having been chosen there, {corrected:.3f} ({low:.3f} to {high:.3f}).{words}"
    ]


def _unseen(methods: list[dict]) -> list[str]:
    named = [m for m in methods if m["method"]]  # of the others nobody knows
    unseen, seen = ([m for m in named if m["unseen"] is flag] for flag in (True, False))
    if not unseen:
        return []
    text = f"Generators that training never saw ({len(unseen)}): {_pooled(unseen)} of their clips are found"
    rest = f"of those it saw, {_pooled(seen)}." if seen else "training saw none of the generators here."
    return [f"{text}; {rest}"]


def _pooled(methods: list[dict]) -> str:
    clips = sum(m["clips"] for m in methods)
    return f"{100 * sum((m['recall'] or m['recall_half'])['value'] * m['clips'] for m in methods) / clips:.1f} %"


def _in_use(side: dict, tuned: bool) -> list[str]:
    """Precision where fakes are rare; from 0 false alarms no precision can be promised."""
    reals = side["fp"] + side["tn"]
    recall, alarms = side["recall"]["value"], side["fp"] / reals
    name = "the tuned threshold" if tuned else "0.5"
    if not recall or not alarms:
        return []
    precision = IN_USE * recall / (IN_USE * recall + (1 - IN_USE) * alarms)
    return [
        f"If 1 clip in {round(1 / IN_USE)} is fake where it is used, {100 * precision:.1f} % of what {name} "
        f"flags is fake: {100 * alarms:.1f} % of the real clips are flagged too."
    ]


def _shortcut(audit: dict | None) -> list[str]:
    together = (audit or {}).get("all")
    if not together or together["auc"] is None or together["auc"] < SHORTCUT:
        return []
    return [
        f"Properties of the files alone tell fake from real with AUC {together['auc']:.2f}: "
        "part of what the detector knows may be how the files were made."
    ]


def markdown(report: dict) -> str:
    """report.md: verdict, the before/after table ready to paste, and every table behind them."""
    run, split, bootstrap = report["run"], report["split"], report["bootstrap"]
    chosen = escape(_chosen_on(report))
    parts = [f"# {escape(run['name'])}", _facts(run)]
    if run["synthetic"]:
        parts.append(f"> **Synthetic data.** {SYNTHETIC}")
    parts += [
        "\n".join(f"* {escape(line)}" for line in report["verdict"]),
        "## Before and after",
        _before_after(report),
    ]
    parts.append(
        f"On the {escape(split)} split, clip level ({escape(report['clip_score'])} of windows or frames), threshold "
        f"chosen on {chosen}; in brackets the 95 % "
        f"interval of {bootstrap['replicates']:,} bootstrap replicates over {bootstrap['unit']}. "
        "The difference is paired."
    )
    if found := report.get("left_out"):
        parts += [f"## On a {found['noun']} that it has never heard", _left_out(found)]
    parts += ["## Data", _counts(report["counts"]), "## Ranking", _ranking(report["ranking"])]
    parts += ["## By generator", _methods(report["methods"][split])]
    for field, rows in report["subgroups"].items():
        parts += [f"## By {escape(field)}", _subgroups(field, rows)]
    parts += ["## Calibration", _calibration(report["calibration"], in_use(report))]
    parts += ["## Log-odds ledger", _ledger(report["ledger"])] if report["ledger"] else []
    parts += ["## Shortcut audit", _audit(report["audit"])] if report["audit"] else []
    names = ("scores", "thresholds", "precision_recall", "roc", "det", "reliability")
    parts += ["## Figures", "\n".join(f"![{name.replace('_', ' ')}](figures/{name}.png)" for name in names)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(run: dict) -> str:
    seconds = run["seconds"]
    facts = [
        run["dataset"] and f"dataset {escape(run['dataset'])}",
        run["steps"] and f"{run['steps']:,} steps",
        seconds and f"trained and scored in {f'{seconds:.0f} s' if seconds < 90 else f'{seconds / 60:.0f} min'}",
        run["hardware"] and escape(run["hardware"]),
    ]
    return ", ".join(fact for fact in facts if fact)


def _before_after(report: dict) -> str:
    sides = report["operating"][report["split"]]
    half, tuned, change = sides["half"], sides["tuned"], sides["difference"]
    if not tuned:
        return table(["", "at 0.5"], [[name, percent(half[key])] for key, name in LABELS.items()])
    rows = [[name, percent(half[key]), percent(tuned[key]), _change(change[key])] for key, name in LABELS.items()]
    for key, name in (("tp", "Fakes found"), ("fn", "Fakes missed"), ("fp", "False alarms")):
        rows.append([name, f"{half[key]:,}", f"{tuned[key]:,}", f"{tuned[key] - half[key]:+,}"])
    return table(["", "at 0.5", f"tuned ({report['threshold']['value']:.4g})", "difference, points"], rows)


def _left_out(found: dict) -> str:
    def cells(row):
        auc = "" if row["auc"] is None else f"{row['auc']:.3f}"
        shares = (row[key] if isinstance(row[key], dict) else {"value": row[key], "low": None} for key in SHARES)
        return [auc, *("" if share["value"] is None else percent(share) for share in shares)]

    rows = [
        [escape(row["domain"]) or "(unnamed)", f"{row['real']:,}", f"{row['fake']:,}", *cells(row)]
        for row in found["rows"]
    ]
    rows += [["**mean**", "", "", *cells(found["mean"])], ["**worst**", "", "", *cells(found["worst"])]]
    rows.append([f"{escape(found['in_domain']['split'])}, known to training", "", "", *cells(found["in_domain"])])
    words = [found["words"], *([found["certificate"]] if found["certificate"] else [])]
    note = (
        f"Each {found['noun']} was scored by networks trained without it; the threshold weighs every {found['noun']} "
        "alike. In brackets 95 % intervals over clips, or over groups of clips."
    )
    text = " ".join(f"{escape(line[0].upper() + line[1:])}." for line in words)
    return f"{text}\n\n{table([found['noun'], 'real', 'fake', 'AUC', 'EER', 'false alarms', 'misses'], rows)}\n\n{note}"


def _change(change: dict) -> str:
    if change["value"] is None or change["low"] is None:
        return "undefined"
    return f"{points(change['value'])} ({points(change['low'])} to {points(change['high'])})"


def _counts(counts: dict) -> str:
    rows = []
    for name, c in counts.items():
        ratio = "" if c["ratio"] is None else f"{c['ratio']:.1f} : 1 {c['majority']}"
        groups = "" if c["groups"] is None else f"{c['groups']:,}"
        rows.append([escape(name), f"{c['real']:,}", f"{c['fake']:,}", ratio, groups])
    return table(["split", "real", "fake", "imbalance", "groups"], rows)


def _ranking(ranking: dict) -> str:
    rows = [
        [escape(n), number(r["auc"]), number(r["average_precision"]), percent(r["eer"])] for n, r in ranking.items()
    ]
    return table(["split", "AUC", "average precision", "EER"], rows)


def _methods(methods: list[dict]) -> str:
    rows = []
    for m in methods:
        name = (escape(m["method"]) or "(unnamed)") + (" (unseen)" if m["unseen"] else "")
        tuned = percent(m["recall"]) if m["recall"] else ""
        eer = "undefined" if m["eer"] is None else f"{100 * m['eer']:.1f} %"
        rows.append([name, f"{m['clips']:,}", percent(m["recall_half"], False), tuned, eer])
    note = "Recall of the fake class; intervals are Wilson's over clips; EER against all real clips."
    note += " Unseen: not in training." if any(m["unseen"] for m in methods) else ""
    return table(["generator", "clips", "recall at 0.5", "recall tuned", "EER"], rows) + f"\n\n{note}"


def _subgroups(field: str, rows: list[dict]) -> str:
    lines = []
    for row in rows:
        fakes = f"{row['fake']:,}", percent(row["recall"])
        reals = f"{row['real']:,}", percent(row["false_alarms"])
        lines.append([escape(row["value"]) or "(unknown)", *fakes, *reals])
    return table([escape(field), "fakes", "found", "real", "false alarms"], lines)


def in_use(report: dict) -> float | None:
    """The share of fakes that verdicts of the report's decision are for; None: that of the data it was fitted on."""
    return (report["decision"].get("calibration") or {}).get("deploy_prior")


def _calibration(calibration: dict, deploy_prior: float | None) -> str:
    before, after, fitted = (calibration[key] for key in ("before", "after", "fitted"))
    names = (("ece", "ECE"), ("brier", "Brier score"), ("log_loss", "log loss"))
    rows = [[name, *(_plain(side[key]) for side in (before, after) if side)] for key, name in names]
    tables = table(["", "as scored", *(["calibrated"] if after else [])], rows)
    return f"{tables}\n\n{formula(fitted, deploy_prior)}" if fitted else tables


def formula(fitted: dict, deploy_prior: float | None = None) -> str:
    """What the calibration does to a score, what it was fitted on, and the share of fakes that verdicts are for."""
    z = "the score with the corrections of the ledger undone" if fitted.get("ledger") else "the score"
    if "scale" in fitted:  # see `known_real.adapt`
        z = z.replace(
            "the score", f"{fitted['scale']:.3f} times the score {fitted['offset']:+.3f} (of files known to be real)", 1
        )
    text = f"Calibrated logit = {fitted['slope']:.3f} z {fitted['intercept']:+.3f}, z being {z}; {_fitted_on(fitted)}."
    if fitted.get("domain_sd"):
        sources, sd = fitted["domains"], fitted["domain_sd"]
        text += (
            f" Over its {sources} sources the intercept has a standard deviation of {sd:.2f}; so of an unknown source "
            f"what a score adds to the prior is divided by {spread(sd):.2f}."
        )
    if deploy_prior is not None:
        text += f" Here it holds at that share; a verdict's probability is for {100 * deploy_prior:.3g} % fakes in use."
    return text


def _fitted_on(fitted: dict) -> str:
    share = f"{100 * fitted['prior']:.1f} %"
    if fitted.get("domain_sd") is None:
        return f"fitted on {fitted['clips']:,} clips of which {share} are fake"
    # decisions of earlier versions do not say how many clips the share is of
    count = f"{fitted['prior_clips']:,} clips" if "prior_clips" in fitted else "clips, those of other sources too"
    on = f"the {fitted['clips']:,} clips of the {fitted['domains']} sources with both classes"
    return f"slope and spread fitted on {on}; share of fakes {share} of all {count}"


def _plain(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _ledger(ledger: dict) -> str:
    terms = ("sampling", "class_weights", "alpha", "logit_adjustment", "total")
    rows = [[name.replace("_", " "), f"{ledger[name]:+.3f}"] for name in terms if name in ledger]
    note = ""
    if ledger.get("implied_threshold") is not None:
        note = f"\n\nSo 0.5 on the raw score is {100 * ledger['implied_threshold']:.1f} % of true probability."
    return table(["correction", "log-odds"], rows) + note


def _audit(audit: dict) -> str:
    rows = [["all together", audit["all"]]] if audit.get("all") else []
    rows += list(audit.get("features", {}).items())
    cells = [[escape(name), "" if a["auc"] is None else f"{a['auc']:.2f} ± {a['error'] or 0:.2f}"] for name, a in rows]
    notes = [escape(line) for line in [*audit.get("warnings", []), *audit.get("notes", [])]]
    return table(["property of the files alone", "AUC"], cells) + "".join(f"\n\n{line}" for line in notes)
