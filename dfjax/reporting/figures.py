"""The figures of a report as PNG files: matplotlib's Agg canvas, no window, no global state.

Every figure is drawn from clip scores (higher = more likely fake), labels (1 fake, 0 real) and the two thresholds a
report compares: logit 0 ('0.5') and `tuned`, the tuned one, a logit or None without one. Where there is a curve it is
one of `validation` and one of `test`, on which the thresholds are marked. Colours are Okabe and Ito's, told apart by
colour-blind readers; what a colour says, a label or a line style says too.
"""

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import logit, ndtri

from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, REAL
from dfjax.reporting.report_html import axis_range

INK, SOFT, RULE = "#1b1e22", "#5f666e", "#e3e5e4"
REAL_COLOUR, FAKE_COLOUR, TUNED_COLOUR, HALF_COLOUR = "#0072B2", "#D55E00", "#007F5F", "#7d848b"
WIDE, SQUARE = (7.0, 3.9), (4.7, 4.4)  # inches; at 200 dots per inch a wide one fills 700 pixels twice
DPI = 200
STYLE: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 10.5, "axes.labelsize": 10.5}
STYLE |= {"axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 12}
STYLE |= dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), SOFT)
STYLE |= {"axes.titlecolor": INK, "grid.color": RULE, "figure.facecolor": "white", "axes.facecolor": "white"}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 9.5}
STYLE |= {"axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.8}
STYLE |= {"lines.linewidth": 2, "lines.solid_joinstyle": "round"}
STYLE |= {f"figure.constrained_layout.{side}_pad": inches for side, inches in (("w", 0.1), ("h", 0.08))}
DET_TICKS = (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8)
DET_EDGE = (0.0005, 0.9)
RELIABILITY_TICKS = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
RELIABILITY_EDGE = (0.003, 0.997)


def curve(
    scores: Float[np.ndarray, " n"], labels: Integer[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Integer[np.ndarray, " k"], Integer[np.ndarray, " k"]]:
    """Falling thresholds (the first is inf) and the true and false positives at each; ties are never cut."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, fake = scores[order], labels[order] == FAKE
    ends = np.flatnonzero(np.r_[sorted_scores[1:] != sorted_scores[:-1], True])
    tp = np.cumsum(fake)[ends]
    return np.r_[np.inf, sorted_scores[ends]], np.r_[0, tp], np.r_[0, ends + 1 - tp]


def histogram(scores: Scores, tuned: float | None) -> Figure:
    """Scores of real and fake clips, each as a share of its class, with both thresholds."""
    figure, axes = _figure(
        WIDE, "Scores of the test clips" if scores.header.get("split") == "test" else "Scores of the clips"
    )
    low, high = axis_range(scores.score, _marks(tuned))
    smaller = min(np.sum(scores.label == label) for label in (REAL, FAKE))
    edges = np.linspace(low, high, 1 + int(np.clip(4 * np.sqrt(smaller), 20, 60)))
    for label, name, colour in ((REAL, "real", REAL_COLOUR), (FAKE, "fake", FAKE_COLOUR)):
        values = np.clip(scores.score[scores.label == label].astype(np.float64), low, high)
        shares = np.histogram(values, edges)[0] / max(len(values), 1)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.45)
        axes.stairs(shares, edges, color=colour, linewidth=1.4, label=f"{name} ({len(values):,} clips)")
    axes.set(xlabel="score (logit; higher = more likely fake)", xlim=(low, high), yticks=[])
    axes.set_ylim(top=axes.get_ylim()[1] * 1.14)
    axes.spines["left"].set_visible(False)
    _threshold_lines(axes, tuned)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.9))
    return figure


def thresholds(scores: Scores, tuned: float | None) -> Figure:
    """Precision, recall, F1 and balanced accuracy against the threshold."""
    figure, axes = _figure(WIDE, "What every threshold would do")
    at, tp, fp = curve(scores.score, scores.label)
    fakes, reals = tp[-1], fp[-1]
    low, high = axis_range(scores.score, _marks(tuned))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, fpr = tp / fakes, fp / reals
        lines = (
            ("precision", tp / (tp + fp), REAL_COLOUR, "-"),
            ("recall", recall, FAKE_COLOUR, "--"),
            ("F1", 2 * tp / (tp + fp + fakes), INK, "-"),
            ("balanced accuracy", (recall + 1 - fpr) / 2, "#CC79A7", "-."),
        )
    for name, values, colour, dash in lines:
        # the value at a score holds from that score down to the next lower one
        axes.step(at[1:], 100 * values[1:], where="pre", label=name, color=colour, linestyle=dash)
    axes.set(xlabel="threshold (logit)", ylabel="%", xlim=(low, high), ylim=(0, 103))
    _threshold_lines(axes, tuned)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, columnspacing=1.6)
    return figure


def roc(validation: Scores, test: Scores, tuned: float | None) -> Figure:
    """True against false positive rate."""

    def rates(tp, fp, fakes, reals):
        return 100 * fp / reals, 100 * tp / fakes

    figure, axes = _rate_plot("ROC", validation, test, tuned, rates)
    axes.plot([0, 100], [0, 100], color=HALF_COLOUR, linewidth=1, linestyle=":")
    axes.set(xlabel="real clips called fake, %", ylabel="fakes found, %")
    axes.legend(loc="lower right")
    return figure


def precision_recall(validation: Scores, test: Scores, tuned: float | None) -> Figure:
    """Precision against recall of the fake class; the dotted line is the share of fakes in the test split."""

    def rates(tp, fp, fakes, reals):
        called = np.maximum(tp + fp, 1)
        return 100 * tp / fakes, np.where(tp + fp > 0, 100 * tp / called, np.nan)

    figure, axes = _rate_plot("Precision and recall", validation, test, tuned, rates)
    axes.axhline(100 * np.mean(test.label == FAKE), color=HALF_COLOUR, linewidth=1, linestyle=":")
    axes.set(xlabel="recall: fakes found, %", ylabel="precision: flagged that are fake, %")
    axes.legend(loc="lower left", frameon=True, edgecolor="none", framealpha=0.85)
    return figure


def det(validation: Scores, test: Scores, tuned: float | None) -> Figure:
    """Misses against false alarms on normal-deviate axes (Martin et al. 1997)."""

    def rates(tp, fp, fakes, reals):
        return ndtri(np.clip(fp / reals, 1e-9, 1 - 1e-9)), ndtri(np.clip(1 - tp / fakes, 1e-9, 1 - 1e-9))

    figure, axes = _rate_plot("DET", validation, test, tuned, rates)
    ticks, names = ndtri(DET_TICKS), [f"{100 * t:g}" for t in DET_TICKS]
    edge = ndtri(DET_EDGE)
    axes.plot(edge, edge, color=HALF_COLOUR, linewidth=1, linestyle=":")
    axes.set(xlim=edge, ylim=edge, xlabel="real clips called fake, %", ylabel="fakes missed, %")
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.legend(loc="upper right")
    return figure


def reliability(calibration: dict) -> Figure:
    """Stated probability against the share of fakes, per bin, before and after calibration, on log-odds axes.

    Where fakes are rare most probabilities are small; linear axes would press them into a corner. Bins
    without a fake or without a real clip lie on the edge.

    Args:
      calibration: `before` and `after` (or None), each with `bins`, a list of {probability, share, clips}.
    """
    figure, axes = _figure(SQUARE, "Reliability")
    edge = logit(RELIABILITY_EDGE)
    axes.plot(edge, edge, color=HALF_COLOUR, linewidth=1, linestyle=":")
    styles = (("before", "as scored", REAL_COLOUR, "s"), ("after", "calibrated", FAKE_COLOUR, "o"))
    for key, name, colour, marker in styles:
        if calibration[key]:
            bins = calibration[key]["bins"]
            x, y = (np.clip([b[field] for b in bins], *RELIABILITY_EDGE) for field in ("probability", "share"))
            axes.plot(
                logit(x), logit(y), color=colour, marker=marker, markersize=5, linewidth=1.4, label=name, clip_on=False
            )
    axes.set(xlim=edge, ylim=edge, xlabel="stated probability of fake, %", ylabel="share that is fake, %")
    ticks, names = logit(RELIABILITY_TICKS), [f"{100 * t:g}" for t in RELIABILITY_TICKS]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.legend(loc="upper left")
    return figure


def draw(validation: Scores, test: Scores, tuned: float | None, calibration: dict) -> dict[str, bytes]:
    """All figures of a report.

    Args:
      validation: clip scores of the split the threshold was tuned on.
      test: clip scores of the split reported.
      tuned: the tuned threshold, or None where there is none.
      calibration: see `reliability`.

    Returns:
      name -> PNG file.
    """
    drawings: dict[str, Callable[[], Figure]] = {
        "scores": lambda: histogram(test, tuned),
        "thresholds": lambda: thresholds(test, tuned),
        "roc": lambda: roc(validation, test, tuned),
        "precision_recall": lambda: precision_recall(validation, test, tuned),
        "det": lambda: det(validation, test, tuned),
        "reliability": lambda: reliability(calibration),
    }
    return {name: png(drawing) for name, drawing in drawings.items()}


def png(drawing: Callable[[], Figure]) -> bytes:
    """A figure in the report's style as a PNG file: the same bytes for the same numbers, without date or version."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure = drawing()
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # savefig would draw it twice
    return buffer.getvalue()


def _figure(size: tuple[float, float], title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.tick_params(length=0)
    return figure, axes


def _marks(tuned: float | None) -> list[float]:
    return [0.0] if tuned is None else [0.0, tuned]


def _threshold_lines(axes: Axes, tuned: float | None) -> None:
    """Both thresholds; their names stand on the outer sides of the lines, so that they cannot meet."""
    marks = [(0.0, "0.5", HALF_COLOUR, "--")] + ([] if tuned is None else [(tuned, "tuned", TUNED_COLOUR, "-")])
    middle = sum(axes.get_xlim()) / 2
    for at, name, colour, dash in marks:
        axes.axvline(at, color=colour, linestyle=dash, linewidth=1.6)
        others = [m[0] for m in marks if m[1] != name]
        left = at < others[0] if others else at > middle
        offset, side = (-5, "right") if left else (5, "left")
        place = {"xycoords": ("data", "axes fraction"), "xytext": (offset, -11), "textcoords": "offset points"}
        axes.annotate(name, (at, 1.0), **place, color=colour, ha=side, fontweight="bold", fontsize=9.5)


def _rate_plot(
    title: str, validation: Scores, test: Scores, tuned: float | None, rates: Callable
) -> tuple[Figure, Axes]:
    """Both curves through `rates(tp, fp, fakes, reals) -> (x, y)`, the thresholds as dots on test."""
    figure, axes = _figure(SQUARE, title)
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal" if title == "ROC" else "auto")
    for scores, name, colour, width in ((validation, "validation", "#9aa1a8", 1.2), (test, "test", INK, 2)):
        _, tp, fp = curve(scores.score, scores.label)
        axes.plot(*rates(tp, fp, max(tp[-1], 1), max(fp[-1], 1)), color=colour, linewidth=width, label=name)
    fake = test.label == FAKE
    marks = [(0.0, "at 0.5", HALF_COLOUR, "o")] + ([] if tuned is None else [(tuned, "tuned", TUNED_COLOUR, "s")])
    for at, name, colour, marker in marks:
        called = test.score >= at
        x, y = rates((called & fake).sum(), (called & ~fake).sum(), max(fake.sum(), 1), max((~fake).sum(), 1))
        axes.plot([x], [y], marker, color=colour, markersize=8, markeredgecolor="white", label=name, zorder=5)
    return figure, axes
