"""What `dfjax.stats` shows: a table in text, and a bar chart with one panel per dataset."""

import pathlib
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfjax.reporting import audit
from dfjax.reporting.figures import FAKE_COLOUR, REAL_COLOUR, SOFT, png
from dfjax.reporting.markdown import ratio
from dfjax.runtime import files

REASONS = 5  # for which files were skipped, or dropped, that are told
BAR = 0.38  # of the distance between two splits


def describe(facts: dict[str, Any]) -> str:
    """One dataset's statistics as text: the table, what was left out, the audit, the advice."""
    lines = [f"{facts['dataset']}/{facts['config']}, {facts['stage']} {facts['path']}"]
    if facts["variant"]:
        lines.append(f"  layout: {facts['variant']}")
    head = ("split", "method", "real", "fake", "total", "fake:real", "imbalance", "groups of the minority")
    lines += _table([head, *_rows(facts)])
    for kind in ("skipped", "dropped"):
        reasons = [f"  {kind} {n}: {reason}" for reason, n in facts[kind].items()]
        lines += reasons[:REASONS]
        if (more := len(reasons) - REASONS) > 0:
            lines.append(f"  more reasons for which files were {kind}: {more}")
    lines += [f"  warning: {text}" for text in facts["warnings"]]
    if result := facts["audit"]:
        best = list(result["features"].items())[:3]
        words = [f"{name} {row['auc']:.2f}" for name, row in best if row["auc"] is not None]
        lines.append(f"  shortcut audit (AUC of file properties alone): {', '.join([audit.together(result), *words])}")
        lines += [f"  warning: {text}" for text in result["warnings"]]
    if facts["recommendation"]:
        lines.append(f"  {facts['recommendation']['text']}")
    return "\n".join(lines)


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for split, row in facts["splits"].items():
        groups = f"{row['minority_groups']:,} ({row['minority']})"
        whole = [f"{row[name]:,}" for name in ("real", "fake", "total")]
        yield (split, "", *whole, ratio(row["fake_to_real"]), ratio(row["imbalance"]), groups)
        for method, n in row["methods"].items() if len(row["methods"]) > 1 else ():
            of_reals = ratio(n / row["real"] if row["real"] else None)
            yield ("", method, "", f"{n:,}", "", of_reals, "", "")


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligns = ("<", "<", ">", ">", ">", ">", ">", "<")
    return [
        "  " + "  ".join(f"{x:{a}{w}}" for x, a, w in zip(row, aligns, widths, strict=True)).rstrip() for row in rows
    ]


def bar_chart(found: list[dict[str, Any]]) -> Figure:
    """One panel per dataset of `survey.collect`, each with a count axis of its own.

    Args:
      found: at least one dataset's statistics.
    """
    rows = [len(_shown(facts)) for facts in found]
    figure = Figure(figsize=(7.0, 0.9 + sum(0.62 * n + 0.75 for n in rows)), layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=[n + 0.8 for n in rows])[:, 0]
    for axes, facts in zip(panels, found, strict=True):
        _panel(axes, facts)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=2)
    panels[-1].set_xlabel("clips (files of the user)")
    return figure


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    """The splits, top to bottom; all together only where there are several."""
    return {name: row for name, row in facts["splits"].items() if name != "all" or len(facts["splits"]) > 2}


def _panel(axes: Axes, facts: dict[str, Any]) -> None:
    rows = _shown(facts)
    axes.set_title(f"{facts['dataset']}/{facts['config']}, {facts['stage']}")
    highest = max(max(row["real"], row["fake"]) for row in rows.values())
    for at, row in enumerate(rows.values()):
        for shift, name, colour in ((-0.5, "real", REAL_COLOUR), (0.5, "fake", FAKE_COLOUR)):
            axes.barh(at + shift * BAR, row[name], BAR, color=colour, label=name if at == 0 else None)
            text = f" {row[name]:,}"
            if name == "fake" and row["imbalance"] is not None:
                text += f"   fake : real = {row['fake_to_real']:.2f}"
            axes.text(row[name], at + shift * BAR, text, va="center", fontsize=9, color=SOFT)
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), xlim=(0, 1.35 * max(highest, 1)))
    axes.invert_yaxis()  # train on top
    axes.grid(axis="y", visible=False)
    axes.tick_params(length=0)
    axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))


def write(found: list[dict[str, Any]], path: str | pathlib.PurePath) -> None:
    """The chart as a PNG file."""
    files.write(path, png(lambda: bar_chart(found)))
