"""The model card of a bundle: what the detector is, what it was decided on, how well it did, what nobody knows."""

from collections.abc import Mapping
from typing import Any

from dfjax.decide import known_real
from dfjax.reporting.markdown import escape, table


def card(about: Mapping[str, Any], decision: Mapping[str, Any], basis: str | None) -> str:
    """Markdown, of facts alone.

    Args:
      about: what `detector.json` of the bundle holds.
      decision: the run's.
      basis: what typicality was learnt of, in words; None where it is not known.
    """
    dataset = decision.get("dataset") or about["dataset"]
    counts = decision.get("clips")
    lines = [
        f"# Model card: {escape(about['model'])}",
        f"A detector of deepfakes in {_media(about['input']['modality'])}, exported by dfjax {about['dfjax']}. It has "
        f"{about['parameters']:,} parameters and was trained on `{escape(about['dataset'])}`. "
        "Label 1 is fake, 0 is real; a score is a logit, higher is more likely fake.",
        "## Decision",
        f"Fake from a score of {decision['threshold']:.4g} on; criterion {escape(decision['criterion'])}, status "
        f"{escape(decision['status'])}.",
    ]
    band = decision.get("band")
    low, high = (float(band[name]) for name in ("real_below", "fake_from")) if band else (0.0, 0.0)
    if low < high:
        lines.append(f"From {low:.4g} to {high:.4g} there is no verdict: such a file is called `uncertain`.")
    if counts:
        lines.append(
            f"Chosen on the split `{escape(decision.get('split'))}` of `{escape(dataset)}`: {counts['fake']:,} fake "
            f"and {counts['real']:,} real clips."
        )
    moved, domains = known_real.told(decision), decision.get("domains")
    if moved:  # the rest was measured without them
        lines.append(f"For one place: {moved}; {known_real.worth(decision)}.")
    elif tuned := decision.get("tuned"):
        names = [name for name in ("accuracy", "precision", "recall", "fpr", "f1") if tuned.get(name) is not None]
        lines.append(table(["at the threshold, on these clips", ""], [[n, f"{tuned[n]:.3f}"] for n in names]))
        lines.append("These are the clips that the threshold was chosen on: expect less of others.")
    else:
        lines.append("Nothing was measured at this threshold: tune it on clips like yours before you rely on it.")
    calibrated = decision["calibration"]
    probability = "a probability was fitted on the same clips"
    if calibrated["method"] == "none":
        probability = "nothing was fitted, the sigmoid of the score is no probability that was checked"
    lines += [f"Calibration: {probability}.", "## Limits"]
    lines.append(
        f"A file unlike the training data is called `uncertain`; what is typical was learnt of {escape(basis)}."
        if basis
        else "It does not know what it was trained on: a file of another kind gets a verdict all the same."
    )
    if domains and not moved:
        lines.append(f"On a {escape(domains['noun'])} that it has never met: {escape(domains['words'])}.")
        if known := known_real.summary(decision):
            lines.append(f"What files given to dfjax.predict --known_real change: {escape('; '.join(known))}.")
    unknown = "generators, sources or channels that it has not met"
    lines.append(
        f"Nothing {'else ' if domains else ''}here says how well it does on {unknown}; experience says worse. "
        "Do not decide about a person by it alone."
    )
    return "\n\n".join(lines) + "\n"


def _media(modality: str) -> str:
    return {"audio": "recordings", "image": "pictures and videos", "av": "videos with sound"}[modality]
