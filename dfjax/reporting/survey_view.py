"""What `dfjax.stats FOLDER` shows: all datasets in one table, what each needs, and a page with bars."""

import html
import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from dfjax.reporting.markdown import aligned_table, duration, escape, ratio, size
from dfjax.reporting.static_page import bar, document, table_of
from dfjax.runtime import files

HEADS = ["dataset", "split", "method", "real", "fake", "total", "fake : real", "imbalance", "groups"]


def rows(datasets: list[dict[str, Any]]) -> Iterator[list[str]]:
    """A row per dataset, split and method; the dataset stands in its first row alone."""
    for facts in datasets:
        name = f"{facts['dataset']}/{facts['config']}".rstrip("/")
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
    for facts in found["datasets"]:
        parts.append("\n".join([f"## {escape(facts['dataset'])}", "", *(f"* {line}" for line in lines(facts))]))
    if found["archives"]:
        parts.append("## Archives\n\n" + "\n".join(f"* {line}" for line in archives(found)))
    if found["problems"]:
        parts.append("## Left out\n\n" + "\n".join(f"* {escape(line)}" for line in found["problems"]))
    return "\n\n".join(parts) + "\n"


def lines(facts: dict[str, Any]) -> list[str]:
    """What is to be said of a dataset, a line each, in Markdown."""
    advice = facts["advice"]
    layout = f", layout {escape(facts['variant'])}" if facts["variant"] else ""
    found = [f"{advice['modality']}, {facts['stage']}, in {escape(facts['path'])}{layout}"]
    if facts.get("either"):
        found.append(
            f"could be {escape(' or '.join(facts['either']))} as well; a datasets.json in the workdir of "
            "dfjax.benchmark overrules"
        )
    found += [escape(text) for text in (*facts.get("notes", ()), *facts["warnings"][:3])]
    for kind in ("skipped", "dropped"):
        found += [f"{kind} {n:,}: {escape(reason)}" for reason, n in list(facts[kind].items())[:3]]
    if advice["another"]:
        found.append(f"another dataset is needed ({'; '.join(advice['reasons'])}): {advice['which']}")
    else:
        found.append("no other dataset is needed to train and test; others show how far it carries")
    found.append(f"strategy: {advice['strategy'] or 'none'}. {escape(advice['why'])}")
    found += [_shortcuts(facts["audit"])] if facts["audit"] else []
    if cost := facts.get("cost"):
        found.append(cost_line(cost))
    if advice["strategy"]:  # else there is no experiment to run
        found.append(f"experiment: `{advice['command']}`")
    return found


def _shortcuts(audit: dict[str, Any]) -> str:
    best = [f"{name} {row['auc']:.2f}" for name, row in list(audit["features"].items())[:3] if row["auc"] is not None]
    together = f"{audit['all']['auc']:.2f} together" if audit["all"] else "not enough groups"
    return f"shortcuts (AUC of properties of the files alone): {', '.join([together, *best])}"


def cost_line(cost: dict[str, Any]) -> str:
    """What preparation will take, in words."""
    if cost["seconds"] is None:
        return f"preparation: none of {cost['sampled']} files tried could be decoded, so no time can be told"
    return (
        f"preparation: about {duration(cost['seconds'])} on this machine, {size(cost['disk'])} of records and twice "
        f"that meanwhile, {size(cost['memory'])} of memory (by {cost['sampled']} of {cost['files']:,} files); "
        "of training: python -m dfjax.benchmark --dry_run"
    )


def archives(found: dict[str, Any]) -> list[str]:
    """A line per archive that is not unpacked, in Markdown."""
    shown = [a for a in found["archives"] if a["state"] != "unpacked"]
    return [f"{escape(a['path'])} ({a['state']}): `{a['command']}`" for a in shown] or ["all are unpacked"]


def page(found: dict[str, Any]) -> str:
    """The same as one HTML page with a bar of real and fake for every split; it needs no network."""
    highest = max((of["total"] for facts in found["datasets"] for of in facts["splits"].values()), default=1)
    body = [f"<h1>Datasets in {html.escape(found['root'])}</h1>"]
    cells = []
    for row in rows(found["datasets"]):
        number = [int(cell.replace(",", "") or 0) for cell in row[3:5]]
        cells.append([*map(html.escape, row), bar(*number, highest) if not row[2] else ""])
    body.append(table_of([*HEADS, "real and fake"], cells, text=3))
    for facts in found["datasets"]:
        items = "".join(f"<li>{_plain(line)}</li>" for line in lines(facts))
        body.append(f"<h2>{html.escape(facts['dataset'])}</h2><ul>{items}</ul>")
    for title, entries in (("Archives", archives(found) if found["archives"] else []), ("Left out", found["problems"])):
        if entries:
            items = "".join(f"<li>{_plain(line)}</li>" for line in entries)
            body.append(f"<h2>{title}</h2><ul>{items}</ul>")
    return document("Datasets", "\n".join(body))


def _plain(line: str) -> str:
    """A line of Markdown as HTML: its code, and its escapes undone."""
    pieces = line.split("`")
    if len(pieces) % 2 == 0:
        return html.escape(line)
    shown = [html.escape(html.unescape(p.replace("\\", ""))) for p in pieces]
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(shown))


def write(found: dict[str, Any], folder: epath.PathLike) -> None:
    """Writes stats.json, stats.md and stats.html into a folder."""
    folder = epath.Path(folder)
    files.write(folder / "stats.json", json.dumps(found, indent=2, allow_nan=False) + "\n")
    files.write(folder / "stats.md", markdown(found))
    files.write(folder / "stats.html", page(found))
