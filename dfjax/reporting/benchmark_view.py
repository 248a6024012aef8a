"""The one report of `dfjax.benchmark`: Markdown, and a page without a script that needs no network and prints well."""

import html
from collections.abc import Iterator
from typing import Any

from dfjax.reporting.comparison import TITLES
from dfjax.reporting.markdown import aligned_table, escape
from dfjax.reporting.static_page import bar, document, heat, table_of

COUNTS = ["dataset", "modality", "split", "real", "fake", "fake : real", "groups", "shortcuts"]
CHANGES = [
    "dataset",
    "strategy",
    "F1 plain at 0.5",
    "F1 tuned",
    "change",
    "AP",
    "change from plain",
    "AUC",
    "shortcuts",
]
WORTH = ["remedy", "metric", "datasets", "mean change", "tau", "I²"]
REASONS = 5  # of a dataset's files that were not used, each told by itself
SHARED = "†"  # marks a figure of two datasets that share recordings
NOTES = (
    "Changes are paired: the same clips, bootstrap draws of groups and seeds; in brackets 95 % intervals. Fake is the "
    "positive class. Thresholds were tuned on validation data and are frozen.",
    "Shortcuts: the AUC that properties of the files alone (duration, loudness, size, ...) reach on the same clips. "
    "A figure that is not above it shows nothing about fakes.",
)


# ---- Rows ---------------------------------------------------------------------------------------------------


def _shortcut(dataset: dict[str, Any] | None) -> str:
    found = (dataset or {}).get("shortcuts")
    return "-" if not found or found["auc"] is None else f"{found['auc']:.2f}"


def counts(result: dict[str, Any]) -> Iterator[tuple[list[str], tuple[int, int] | None]]:
    """A row under COUNTS per dataset and split, and its (real, fake) clips; None where it is not prepared."""
    for dataset in result["datasets"]:
        name, modality, shortcut = dataset["key"], dataset["modality"], _shortcut(dataset)
        if dataset["splits"] is None:
            yield [name, modality, "not prepared", "-", "-", "-", "-", "-"], None
            continue
        for split, of in dataset["splits"].items():
            ratio = "-" if of["fake_to_real"] is None else f"{of['fake_to_real']:.2f}"
            numbers = [f"{of['real']:,}", f"{of['fake']:,}", ratio, f"{of['groups']:,}"]
            yield [name, modality, split, *numbers, shortcut], (of["real"], of["fake"])
            name = modality = shortcut = ""


def changes(result: dict[str, Any]) -> Iterator[tuple[list[str], list[str]]]:
    """A row under CHANGES per dataset and strategy, and the pages of its runs."""
    by_key = {dataset["key"]: dataset for dataset in result["datasets"]}
    for key, of in result["before_after"].items():
        before, after = of["before"]["experiments"], of["after"]["experiments"]
        plain_at_half = before[of["before"]["baseline"]]["metrics"]["f1_tuned"]
        for strategy, found in after.items():
            advised = " (advised)" if strategy == of["advised"] else ""
            from_plain = found["difference"]["average_precision"] if found["difference"] else None
            row = [
                key,
                strategy + advised,
                _value(plain_at_half),
                _value(found["metrics"]["f1_tuned"]),
                _change(before[strategy]["difference"]["f1_tuned"]),
                _value(found["metrics"]["average_precision"]),
                _change(from_plain) if from_plain else "",
                _value(found["metrics"]["auc"]),
                _shortcut(by_key[key]),
            ]
            yield row, of["pages"][strategy]


def worth(result: dict[str, Any]) -> list[list[str]]:
    """A row per remedy and metric: its mean change over all datasets."""
    return [
        [
            row["remedy"],
            TITLES[row["metric"]],
            str(row["datasets"]),
            _change(row),
            "-" if row["tau"] is None else f"{row['tau']:.3f}",
            "-" if row["i2"] is None else f"{100 * row['i2']:.0f} %",
        ]
        for row in result["remedies"]
    ]


def _value(of: dict[str, Any]) -> str:
    if of["value"] is None:
        return "-"
    return f"{of['value']:.3f}" + ("" if of["low"] is None else f" ({of['low']:.3f} to {of['high']:.3f})")


def _change(of: dict[str, Any]) -> str:
    if of["value"] is None:
        return "-"
    return f"{of['value']:+.3f}" + ("" if of["low"] is None else f" ({of['low']:+.3f} to {of['high']:+.3f})")


def matrix(found: dict[str, Any], metric: str) -> Iterator[tuple[list[str], list[float | None], list[str], list[str]]]:
    """A row per detector: its name and strategy, values, marks of each cell, pages. Last what shortcuts reach."""
    for row in [*found["rows"], *([found["left_out"]] if found["left_out"] else [])]:
        cells = [row["cells"][key] for key in found["tested"]]
        marks = [("*" if cell["seen"] else "") + (SHARED if cell["shares"] else "") for cell in cells]
        yield [row["trained"], row["strategy"]], [cell[metric] for cell in cells], marks, row["pages"]
    if metric == "auc":
        values = [found["shortcuts"].get(key) for key in found["tested"]]
        yield ["properties of the files alone", ""], values, [""] * len(values), []


def shared(result: dict[str, Any]) -> list[str]:
    """A line per pair of datasets that share recordings."""
    found = set()
    for dataset in result["datasets"]:
        for other, what in dataset["shares"].items():
            found.add((*sorted((dataset["key"], other)), ", ".join(what)))
    return [f"{one} and {other} share {what}" for one, other, what in sorted(found)]


MATRICES = {"auc": "AUC", "balanced_accuracy": "Balanced accuracy at the frozen threshold"}
KEY = (
    f"All are of test clips. * the detector was trained on this dataset's training split; {SHARED} what it was trained "
    "on shares recordings or pictures with this dataset"
)
LEFT_OUT = (
    "All but the one tested on: a detector for each dataset; its threshold was chosen on validation clips of the other "
    "datasets, each scored by the detector without it. The page linked is of all clips"
)


def key(found: dict[str, Any]) -> str:
    """What is to be read under a matrix."""
    return f"{KEY}. {LEFT_OUT}." if found["left_out"] else f"{KEY}."


def not_used(result: dict[str, Any]) -> list[str]:
    """A line for each reason for which the preparation of a dataset has skipped or dropped files."""
    lines = []
    for dataset in result["datasets"]:
        for part in ("skipped", "dropped"):
            reasons = list(dataset[part].items())
            if others := reasons[REASONS:]:
                reasons[REASONS:] = [(f"for {len(others)} other reasons", sum(n for _, n in others))]
            lines += [f"{dataset['key']}: {n:,} {part}: {reason}" for reason, n in reasons]
    return lines


def lists(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The lists at the end, each with its title."""
    return [
        ("Shared sources", shared(result)),
        ("Files not used", not_used(result)),
        ("Notes", result["notes"]),
        ("Left out", result["problems"]),
    ]


# ---- Markdown -----------------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The report as Markdown."""
    about = result["about"]
    changed = about["changes"] or "none"
    parts = [f"# {len(result['datasets'])} datasets in {escape(about['root'])}"]
    parts.append(f"Seeds {about['seeds']}; strategies {', '.join(about['strategies'])}; changes {escape(changed)}.")
    parts += ["## Datasets", _table(COUNTS, [row for row, _ in counts(result)])]
    parts += ["## Before and after", _table(CHANGES, [row for row, _ in changes(result)]), *NOTES]
    parts += ["## What each remedy was worth", _table(WORTH, worth(result)), f"Over datasets: {result['method']}."]
    for modality, found in result["matrices"].items():
        for metric, title in MATRICES.items():
            rows = [
                [*names, *("-" if v is None else f"{v:.3f}{mark}" for v, mark in zip(values, marks, strict=True))]
                for names, values, marks, _ in matrix(found, metric)
            ]
            heads = ["trained on", "strategy", *found["tested"]]
            parts += [f"## {title}, {modality}", _table(heads, rows), escape(key(found))]
    for title, lines in lists(result):
        if lines:
            parts += [f"## {title}", "\n".join(f"* {escape(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return aligned_table(heads, [[escape(cell) for cell in row] for row in rows]) if rows else "Nothing yet."


# ---- Page ---------------------------------------------------------------------------------------------------


def page(result: dict[str, Any]) -> str:
    """The report as one HTML page; links to the pages of runs are relative to the workdir."""
    about, text = result["about"], html.escape
    body = [f"<h1>{len(result['datasets'])} datasets in {text(about['root'])}</h1>"]
    changed = text(str(about["changes"] or "none"))
    body.append(f"<p>Seeds {about['seeds']}; strategies {text(', '.join(about['strategies']))}; changes {changed}.</p>")
    rows = list(counts(result))
    highest = max((sum(numbers) for _, numbers in rows if numbers), default=1)
    cells = [[*map(text, row), bar(*numbers, highest) if numbers else ""] for row, numbers in rows]
    body += ["<h2>Datasets</h2>", table_of([*COUNTS, "real and fake"], cells, text=3)]
    cells = [[*map(text, row), _links(pages)] for row, pages in changes(result)]
    body += ["<h2>Before and after</h2>", table_of([*CHANGES, "runs"], cells, text=2)]
    body += [f'<p class="note">{text(note)}</p>' for note in NOTES]
    body += [
        "<h2>What each remedy was worth</h2>",
        table_of(WORTH, [[*map(text, row)] for row in worth(result)], text=2),
    ]
    body.append(f'<p class="note">Over datasets: {text(result["method"])}.</p>')
    for modality, found in result["matrices"].items():
        for metric, title in MATRICES.items():
            lines = [
                [*map(text, names), *map(heat, values, marks), _links(pages)]
                for names, values, marks, pages in matrix(found, metric)
            ]
            heads = ["trained on", "strategy", *map(text, found["tested"]), "runs"]
            body += [f"<h2>{text(title)}, {modality}</h2>", table_of(heads, lines, text=2)]
            body.append(f'<p class="note">{text(key(found))}</p>')
    for title, entries in lists(result):
        if entries:
            body.append(f"<h2>{title}</h2><ul>{''.join(f'<li>{text(line)}</li>' for line in entries)}</ul>")
    return document("Benchmark", "\n".join(body))


def _links(pages: list[str]) -> str:
    return " ".join(f'<a href="{html.escape(page, quote=True)}">{i}</a>' for i, page in enumerate(pages))
