"""report.html: one file in which a person moves the threshold and sees what changes. No network, no JAX.

The page's own HTML, style and script lie in `report_page/` and are put together here with the report and the
clip scores. What came from a user (file names, generators, the experiment's name) travels as JSON and enters
the page as text; a content security policy allows this page's own script and nothing else.
"""

import base64
import hashlib
import html
import json
import pathlib
import re

import numpy as np
from jaxtyping import Float

from dfjax.decide import calibration
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, REAL
from dfjax.reporting.report_text import formula, in_use

PAGE = pathlib.Path(__file__).parent / "report_page"
MAX_CLIPS = 20_000  # per split; more are thinned, which keeps the page below about 2 MB
MISTAKES = 50  # of each kind, the most confident first

Subgroups = dict[str, dict[str, str]]


def page(report: dict, validation: Scores, test: Scores, subgroups: Subgroups | None = None) -> str:
    """The text of report.html.

    Args:
      report: what `report.build` returned.
      validation: clip scores of the split the threshold was tuned on.
      test: clip scores of the split reported.
      subgroups: field (gender, language, ...) -> clip -> value; clips that are missing there are 'unknown'.
    """
    splits = {report["split"]: test, validation.header.get("split", "validation"): validation}
    methods = sorted({str(m) for s in splits.values() for m in s.method[s.label == FAKE]})
    tuned, fitted = report["threshold"]["value"], report["calibration"]["fitted"]
    every = np.concatenate([validation.score, test.score])
    low, high = axis_range(every, [] if tuned is None else [tuned])
    payload = {
        "report": report,
        "range": [low, high],
        "calibrated": calibration.logits(np.linspace(low, high, 401), fitted).tolist() if fitted else None,
        "formula": formula(fitted, in_use(report)) if fitted else None,
        "methods": methods,
        "splits": {name: columns(scores, methods, subgroups or {}) for name, scores in splits.items()},
    }
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    left_out = "left_out" in report
    scripts = ("plots.js", "page.js", *(["left_out.js"] if left_out else []))
    script = "".join((PAGE / name).read_text(encoding="utf-8") for name in scripts)
    script = f'"use strict";\n{script}'
    parts = {
        "TITLE": html.escape(str(report["run"]["name"])),
        "STYLE": style,
        "STYLE_HASH": csp_hash(style),
        "SCRIPT": script,
        "SCRIPT_HASH": csp_hash(script),
        "DATA": embed(payload),
        "CLIP_SCORE": html.escape(clip_score(report["clip_score"])),
        "LEFT_OUT": (PAGE / "left_out.html").read_text(encoding="utf-8") if left_out else "",
    }
    # one pass, so that a part which happens to contain '@DATA@' is left alone
    template = (PAGE / "page.html").read_text(encoding="utf-8")
    return re.sub("@([A-Z_]+)@", lambda match: parts[match[1]], template)


def clip_score(rule: str) -> str:
    """What the score of a clip is, in words; `rule` is 'mean', 'median' or 'top3' (or another number)."""
    if rule.startswith("top"):
        return f"the mean of the {rule.removeprefix('top')} highest of its windows or frames"
    return f"the {rule} over its windows or frames"


def embed(value: dict) -> str:
    """JSON that may stand inside a <script> element: without '<', '>' and '&' no tag can begin or end."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def columns(scores: Scores, methods: list[str], subgroups: Subgroups) -> dict:
    """One split as columns for the page.

    Above MAX_CLIPS each (label, method) is thinned to evenly spaced ranks: its clips are sorted by score
    and cut into runs, and the middle clip of a run stands for all of it (`weight`), so that the count of each
    is within one run of the truth.

    Returns:
      score, label, method (index into `methods`, -1 for real), weight (None where every clip is there),
      fields {name: {names, index}} and the most confident mistakes of all clips.
    """
    rows, weight = (np.arange(len(scores)), None) if len(scores) <= MAX_CLIPS else thin(scores, MAX_CLIPS)
    number = {name: k for k, name in enumerate(methods)}
    finite = np.finfo(np.float32).max
    fields = {}
    for field, values in subgroups.items():
        known = [values.get(str(clip), "") for clip in scores.clip[rows]]
        names = sorted(set(known))
        fields[field] = {"names": names, "index": [names.index(v) for v in known]}
    return {
        # float64 of a float32 is exact, so the page's comparisons are the detector's
        "score": np.clip(scores.score[rows], -finite, finite).astype(np.float64).tolist(),
        "label": scores.label[rows].tolist(),
        "method": [
            number[str(m)] if y == FAKE else -1 for m, y in zip(scores.method[rows], scores.label[rows], strict=True)
        ],
        "weight": None if weight is None else weight.tolist(),
        "fields": fields,
        "mistakes": {"alarms": _extreme(scores, REAL), "misses": _extreme(scores, FAKE)},
    }


def axis_range(scores: Float[np.ndarray, " n"], thresholds: list[float]) -> tuple[float, float]:
    """(low, high) of what a threshold axis shows, in logits.

    These are the finite scores but for the outermost thousandth at either end, the thresholds and 0, with a margin.
    """
    finite = scores[np.isfinite(scores)].astype(np.float64)
    low, high = np.quantile(finite, (0.001, 0.999)) if len(finite) else (0.0, 0.0)
    inside = [t for t in thresholds if np.isfinite(t)]
    low, high = min(low, *inside, 0.0), max(high, *inside, 0.0)
    margin = 0.04 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def thin(scores: Scores, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, weights): about `limit` rows that stand for all, and how many each stands for; see `columns`.

    The weights sum to the number of clips.
    """
    strata: dict[tuple[int, str], list[int]] = {}
    for i, key in enumerate(zip(scores.label.tolist(), scores.method.tolist(), strict=True)):
        strata.setdefault(key, []).append(i)
    rows, weights = [], []
    budget = max(limit // len(strata), 1)
    for members in strata.values():
        order = np.array(members)[np.argsort(scores.score[members], kind="stable")]
        runs = np.array_split(order, min(budget, len(order)))
        rows += [run[len(run) // 2] for run in runs]
        weights += [len(run) for run in runs]
    return np.array(rows), np.array(weights)


def _extreme(scores: Scores, label: int) -> list[dict]:
    """The real clips with the highest scores, or the fakes with the lowest."""
    rows = np.flatnonzero(scores.label == label)
    sign = -1 if label == REAL else 1
    rows = rows[np.argsort(sign * scores.score[rows], kind="stable")][:MISTAKES]
    finite = np.finfo(np.float32).max
    return [
        {
            "clip": str(scores.clip[i]),
            "method": str(scores.method[i]),
            "score": float(np.clip(scores.score[i], -finite, finite)),
        }
        for i in rows
    ]


def csp_hash(text: str) -> str:
    """What a content security policy allows a style or script of this text by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
