"""Pages without a script: tables, bars and heat maps in HTML that needs no network and prints well."""

import html
from collections.abc import Sequence

STYLE = """
:root { --ink: #1b1e22; --soft: #596069; --rule: #dfe1df; --faint: #f2f3f1; --real: #0072b2; --fake: #c94f00; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; } h2 { margin: 2.2rem 0 .6rem; font-size: 1.25rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } th.text, td.text { text-align: left; }
p, li { max-width: 60rem; overflow-wrap: anywhere; } .note { color: var(--soft); font-size: .88rem; }
code { background: var(--faint); padding: .05rem .3rem; overflow-wrap: anywhere; }
svg { display: block; } svg text { font-size: 10px; fill: var(--ink); }
a { color: #0b57d0; }
@media print { html, body { font-size: 10.5px; } body { padding: 0; max-width: none; } h2 { break-after: avoid; }
  th, td { padding: .2rem .35rem; min-width: 3.4em; } th, td.text { overflow-wrap: anywhere; } /* no wider than paper */
  tr, li, svg { break-inside: avoid; } .wide { overflow: visible; } a { color: inherit; }
  thead { display: table-header-group; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


def document(title: str, body: str) -> str:
    """A whole page; the title is text, the body is HTML."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A table of cells that are HTML; the first `text` columns are to the left, the others to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        marked = (f"<{tag}{' class=text' if i < text else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table><thead>{line(heads, "th")}</thead>\n<tbody>{body}</tbody></table></div>'


def bar(real: int, fake: int, highest: int, width: int = 160) -> str:
    """Real and fake as lengths side by side, of `highest` clips at most."""
    a, b = (round(width * n / max(highest, 1), 1) for n in (real, fake))
    parts = f'<rect y="2" width="{a}" height="10" fill="#0072b2"/>'
    parts += f'<rect x="{a}" y="2" width="{b}" height="10" fill="#c94f00"/>'
    return f'<svg width="{width}" height="14" role="img" aria-label="{real} real, {fake} fake">{parts}</svg>'


def heat(value: float | None, mark: str = "") -> str:
    """A cell of a heat map: a number from 0.5 (white) to 1 (blue), below 0.5 towards orange, with a mark."""
    if value is None:
        return "-"
    share = min(abs(value - 0.5) / 0.5, 1.0)
    colour = (0, 114, 178) if value >= 0.5 else (201, 79, 0)
    mixed = ",".join(str(round(255 + share * (part - 255))) for part in colour)
    ink = "#fff" if share > 0.6 else "#1b1e22"
    style = f"display:block;padding:.15rem .4rem;background:rgb({mixed});color:{ink}"
    return f'<span style="{style}">{value:.3f}{html.escape(mark)}</span>'
