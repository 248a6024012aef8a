"""What `dfjax.stats FOLDER` shows: all datasets in one table, what each needs, and a page with bars."""

import html
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from dfjax.reporting import audit
from dfjax.reporting.markdown import aligned_table, code, duration, escape, ratio, size
from dfjax.reporting.static_page import bar, document, table_of
from dfjax.runtime import files

SHOWN = 3  # warnings, and reasons of one kind, that are told of a dataset
Line = tuple[str, str]  # text, and a command to copy that ends it; '' for none
HEADS = ["dataset", "split", "method", "real", "fake", "total", "fake : real", "imbalance", "groups"]


def named(facts: dict[str, Any]) -> str:
    """A dataset as tables and headings call it; a config tells the user's own folders apart, and parts of a dataset."""
    return f"{facts['dataset']}/{facts['config']}".rstrip("/")


def rows(datasets: list[dict[str, Any]]) -> Iterator[list[str]]:
    """A row per dataset, split and method; the dataset stands in its first row alone."""
    for facts in datasets:
        name = named(facts)
        for split, of in facts["splits"].items():
            whole = [f"{of[key]:,}" for key in ("real", "fake", "total")]
            yield [name, split, "", *whole, ratio(of["fake_to_real"]), ratio(of["imbalance"]), f"{of['groups']:,}"]
            name = ""
            if split == "all" or len(of["methods"]) < 2:
                continue
            for method, n in of["methods"].items():
                of_reals = ratio(n / of["real"] if of["real"] else None)
                yield ["", "", method, "", f"{n:,}", "", of_reals, "", ""]


def markdown(found: dict[str, Any]) -> str:
    """The survey of `dfjax.stats` as Markdown: the table, then a paragraph per dataset, then what is wrong."""
    parts = [f"# Datasets in {escape(found['root'])}"]
    if found["datasets"]:
        cells = [[escape(cell) for cell in row] for row in rows(found["datasets"])]
        parts.append(aligned_table(HEADS, cells))
    for title, entries in paragraphs(found):
        parts.append(f"## {escape(title)}\n\n" + "\n".join(f"* {_marked(line)}" for line in entries))
    return "\n\n".join(parts) + "\n"


def _marked(line: Line) -> str:
    text, command = line
    return f"{escape(text)} {code(command)}" if command else escape(text)


def paragraphs(found: dict[str, Any]) -> list[tuple[str, list[Line]]]:
    """What stands below the table: a title each, and its lines."""
    parts = [(named(facts), lines(facts)) for facts in found["datasets"]]
    if any(facts["stage"] == "source" for facts in found["datasets"]):
        words = ["python", "-m", "dfjax.benchmark", "--root", found["root"], "--workdir", "runs/benchmark", "--dry_run"]
        parts.append(("All of them", [("what preparing, training and comparing them takes:", shlex.join(words))]))
    if found["archives"]:
        parts.append(("Archives", archives(found)))
    if found["problems"]:
        parts.append(("Left out", [(line, "") for line in found["problems"]]))
    return parts


def lines(facts: dict[str, Any]) -> list[Line]:
    """What is to be said of a dataset."""
    advice = facts["advice"]
    layout = f", layout {facts['variant']}" if facts["variant"] else ""
    found = [f"{advice['modality']}, {facts['stage']}, in {facts['path']}{layout}"]
    if facts.get("either"):
        found.append(f"could be {' or '.join(facts['either'])} as well; datasets.json of dfjax.benchmark overrules")
    found += [*facts.get("notes", ()), *_first(facts["warnings"], "warnings")]
    for kind in ("skipped", "dropped"):
        reasons = [f"{kind} {n:,}: {reason}" for reason, n in facts[kind].items()]
        found += _first(reasons, f"reasons for which files were {kind}")
    if advice["another"]:
        found.append(f"another dataset is needed ({'; '.join(advice['reasons'])}): {advice['which']}")
    else:
        found.append("no other dataset is needed to train and test; others show how far it carries")
    found.append(f"strategy: {advice['strategy'] or 'none'}. {advice['why']}")
    found += [_shortcuts(facts["audit"])] if facts["audit"] else []
    if cost := facts.get("cost"):
        found.append(cost_line(cost))
    experiment = [("experiment:", advice["command"])] if advice["strategy"] else []  # else there is none to run
    return [*((text, "") for text in found), *experiment]


def _first(texts: Sequence[str], what: str) -> list[str]:
    """The first few, and how many more there are."""
    more = len(texts) - SHOWN
    return [*texts[:SHOWN], *([f"more {what}: {more}"] if more > 0 else [])]


def _shortcuts(found: dict[str, Any]) -> str:
    best = [f"{name} {row['auc']:.2f}" for name, row in list(found["features"].items())[:3] if row["auc"] is not None]
    return f"shortcuts (AUC of properties of the files alone): {', '.join([audit.together(found), *best])}"


def cost_line(cost: dict[str, Any]) -> str:
    """What preparation will take, in words."""
    if cost["seconds"] is None:
        return f"preparation: none of {cost['sampled']} files tried could be decoded, so no time can be told"
    broken = f", {cost['unreadable']:,} of them could not be decoded" if cost["unreadable"] else ""
    return (
        f"preparation: about {duration(cost['seconds'])} on this machine, {size(cost['disk'])} of records and twice "
        f"that meanwhile, {size(cost['memory'])} of memory (by {cost['sampled']:,} of {cost['files']:,} files{broken})"
    )


def archives(found: dict[str, Any]) -> list[Line]:
    """A line per archive that is not unpacked, with the command that does it; none unpacks what cannot be read."""
    lines: list[Line] = []
    for archive in found["archives"]:
        if archive["state"] == "unreadable":
            lines.append((f"{archive['path']} (unreadable): download it again", ""))
        elif archive["state"] != "unpacked":
            lines.append((f"{archive['path']} ({archive['state']}):", archive["command"]))
    return lines or [("all are unpacked", "")]


def page(found: dict[str, Any]) -> str:
    """The same as one HTML page with a bar of real and fake for every split; it needs no network."""
    highest = max((of["total"] for facts in found["datasets"] for of in facts["splits"].values()), default=1)
    body = [f"<h1>Datasets in {html.escape(found['root'])}</h1>"]
    cells = []
    for row in rows(found["datasets"]):
        number = [int(cell.replace(",", "") or 0) for cell in row[3:5]]
        cells.append([*map(html.escape, row), bar(*number, highest) if not row[2] else ""])
    body.append(table_of([*HEADS, "real and fake"], cells, text=3))
    for title, entries in paragraphs(found):
        items = "".join(f"<li>{_tagged(line)}</li>" for line in entries)
        body.append(f"<h2>{html.escape(title)}</h2><ul>{items}</ul>")
    return document("Datasets", "\n".join(body))


def _tagged(line: Line) -> str:
    text, command = map(html.escape, line)
    return f"{text} <code>{command}</code>" if command else text


def write(found: dict[str, Any], folder: epath.PathLike) -> None:
    """Writes stats.json, stats.md and stats.html into a folder."""
    folder = epath.Path(folder)
    files.write(folder / "stats.json", json.dumps(found, indent=2, allow_nan=False) + "\n")
    files.write(folder / "stats.md", markdown(found))
    files.write(folder / "stats.html", page(found))
