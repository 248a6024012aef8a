"""Left-out domains beside the in-domain figures: for the report, and the summary of `dfjax.crossval` as Markdown."""

from typing import Any

from dfjax.decide import known_real, operating_points
from dfjax.reporting.markdown import escape, number, percent, table

METRICS = ("auc", "eer", "false_alarms", "misses")


def beside(decision: dict[str, Any], report: dict[str, Any]) -> dict:
    """The report's section: what the detector does on domains it was trained without, and on the split reported.

    Args:
      decision: with `domains`, as `decide` makes it of left-out scores.
      report: with `split`, that is reported, and its `ranking` and `operating`, see `report.build`.

    Returns:
      noun, rows (per domain: domain, real, fake and METRICS), in_domain (split, and the METRICS there), mean and worst
      (METRICS over domains), words, certificate (a sentence or None), notes (sentences). auc and eer are numbers,
      false_alarms and misses {value, low, high}; over domains all are numbers; None where undefined.
    """
    found, split = decision["domains"], report["split"]
    ranking, tuned = report["ranking"][split], report["operating"][split]["tuned"]
    here = {name: ranking[name]["value"] for name in ("auc", "eer")}
    shares = (("false_alarms", "fp", "tn"), ("misses", "fn", "tp"))
    for name, wrong, right in shares:
        here[name] = operating_points.wilson(*((tuned[wrong], tuned[wrong] + tuned[right]) if tuned else (0, 0)))
    certificate = found["certificate"]
    return {
        "noun": found["noun"],
        "rows": [{key: row[key] for key in ("domain", "real", "fake", *METRICS)} for row in found["rows"]],
        "in_domain": {"split": split} | here,
        "mean": {name: found[name]["mean"] for name in METRICS},
        "worst": {name: found[name]["low" if name == "auc" else "high"] for name in METRICS},
        "words": found["words"],
        "certificate": certificate and certificate["statement"],
        "notes": _notes(decision),
    }


def _notes(decision: dict[str, Any]) -> list[str]:
    """What of the figures must be known before they are compared with others."""
    notes = []
    if (seeds := len(decision.get("seeds") or [])) > 1:
        notes.append(
            f"A left-out clip's score is the mean of {seeds} trainings; the detector is one, and less steady. "
            "What one does on the mean is in crossval.md."
        )
    if known := known_real.summary(decision):
        notes.append(f"What files given to dfjax.predict --known_real change: {'; '.join(known)}.")
    return notes


def markdown(summary: dict[str, Any]) -> str:
    """The summary of left-out scores as Markdown.

    Args:
      summary: what `decide.domains_summary.summary` returned; `name` and `by`, where given, stand in the heading.
    """
    seeds, noun = summary["seeds"], summary["noun"]
    name = f"{escape(summary['name'])}: " if summary.get("name") else ""
    rows = [
        [
            escape(row["domain"]) or "(unnamed)",
            f"{row['real']:,}",
            f"{row['fake']:,}",
            number(row["auc"]),
            percent(row["eer"]),
        ]
        for row in summary["rows"]
    ]
    rows += [
        ["**mean**", "", "", number(summary["mean_auc"]), percent(summary["mean_eer"])],
        ["**worst**", "", "", number(summary["worst_auc"]), percent(summary["worst_eer"])],
        ["all together", f"{summary['real']:,}", f"{summary['fake']:,}", *_pooled(summary["pooled"])],
    ]
    parts = [
        f"# {name}each {noun} judged by a training without it",
        f"{escape(summary['words'])}.",
        table([noun, "real", "fake", "AUC", "EER"], rows),
        f"{seeds} seed{'s' * (seeds > 1)}; in brackets 95 % intervals of {summary['replicates']:,} bootstrap draws of "
        f"{summary['unit']}" + (" and of seeds." if seeds > 1 else "."),
    ]
    if noun == "method":
        parts.append("The same real clips stand beside each method; all together counts them once for each.")
    return "\n\n".join(parts) + "\n"


def _pooled(pooled: dict[str, Any]) -> list[str]:
    return [number(pooled["auc"]), percent(pooled["eer"])]
