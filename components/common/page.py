"""One look for every page a step writes: self-contained HTML, light and dark, readable on a phone.

No script library, font or style is fetched: pages open from a file, inside the Kubeflow UI and without a network.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.contract.files import atomic_file
from serving.contract.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1b2733", "#5c6b7a", "#dde3ea"
COLOURS = ("#3f88b8", "#d98a3d", "#4d9f78", "#a86fb0", "#c0605a", "#7f8c99")
"""Line and bar colours, in order of use; they hold on the light and on the dark ground."""

_FIT = """<script>
for (const frame of document.querySelectorAll("iframe")) {
  const fit = () => { const page = frame.contentDocument; if (page && page.documentElement.scrollHeight > 160)
    frame.style.height = page.documentElement.scrollHeight + 4 + "px"; };
  frame.addEventListener("load", fit);
  frame.parentElement.addEventListener("toggle", () => setTimeout(fit, 60));
}
</script>"""


def new_figure(width: float = 8.0, height: float = 3.4) -> Figure:
    """An empty matplotlib figure in the pages' style; call ``.subplots()`` on it and hand it to `Page.figure`.

    ``width`` and ``height`` are inches at 72 dpi. Sets matplotlib's defaults for this process (never a display).
    """
    import matplotlib
    from cycler import cycler

    matplotlib.use("Agg", force=False)
    matplotlib.rcParams.update(
        {
            "font.size": 10.5,
            "svg.fonttype": "none",
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.edgecolor": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=COLOURS),
            "grid.color": LINE,
            "grid.linewidth": 0.8,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def cell(value: object) -> str:
    """One table cell as escaped text: whole numbers grouped, others to four significant digits, None as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    if _is_number(value):
        number = float(value)  # type: ignore[arg-type]
        if number.is_integer() and abs(number) < 1e15:
            return f"{int(number):,}" if abs(number) >= 10_000 else str(int(number))
        return f"{number:,.1f}" if abs(number) >= 1000 else f"{number:.4g}" if abs(number) >= 1 else f"{number:.3f}"
    return escape(str(value))


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (bool, str)) and type(value).__name__ != "bool"


def table_html(rows: Sequence[Mapping[str, Any]], caption: str = "") -> str:
    """An accessible table: one header per key of the rows, numbers aligned right, scrolling sideways on a phone."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {c for c in columns if any(_is_number(r.get(c)) for r in rows)}
    wide = {c for c in columns if any(isinstance(r.get(c), str) and len(r[c]) > 40 for r in rows)}
    style = {c: ' class="n"' if c in numeric else ' class="w"' if c in wide else "" for c in columns}
    head = "".join(f'<th scope="col"{style[c]}>{escape(str(c))}</th>' for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{style[c]}>{cell(row.get(c))}</td>" for c in columns) + "</tr>" for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or "Table", quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def legend_below(figure: Figure) -> None:
    """One legend for all panels, below them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)


def svg(figure: Figure, label: str, salt: str = "figure") -> str:
    """A matplotlib figure as inline SVG whose greys follow the page's light or dark ground; same figure, same bytes."""
    import matplotlib

    for axes in figure.axes:
        axes.patch.set_alpha(0)
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, count=1, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # figure_1, axes_1 … would repeat in every picture of a page
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    for colour, name in ((INK, "ink"), (MUTED, "muted"), (LINE, "line"), ("#ffffff", "card"), ("#000000", "ink")):
        text = text.replace(f": {colour}", f": var(--{name})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)


def badge(passed: bool, words: tuple[str, str] = ("Passed", "Stopped")) -> str:
    """A coloured word that also reads without colour."""
    return (
        f'<span class="badge {"good" if passed else "bad"}">{"✓" if passed else "✕"} {escape(words[not passed])}</span>'
    )


def page_data(html: str) -> dict[str, Any]:
    """What `Page.data` and `Page.verdicts` left in a page, by name; lists of one name are joined."""
    data: dict[str, Any] = {}
    for name, text in re.findall(
        r'<script type="application/json" data-name="([^"]*)">(.*?)</script>', html, flags=re.S
    ):
        value, before = json.loads(text), data.get(name)
        data[name] = before + value if isinstance(before, list) and isinstance(value, list) else value
    return data


class Page:
    """A page under construction; every method appends one block and returns the page, `write` saves it whole.

    Text and table cells are escaped. A string that starts with ``<`` and ends with ``>`` counts as markup of your own:
    pass data through ``html.escape`` before it goes into one.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._blocks: list[str] = [f"<h1>{escape(title)}</h1>"]
        if lead:
            self._blocks.append(f'<p class="lead">{escape(lead)}</p>')

    def _add(self, block: str) -> Page:
        self._blocks.append(block)
        return self

    def text(self, text: str) -> Page:
        """A paragraph, or markup as it stands."""
        markup = text.lstrip().startswith("<") and text.rstrip().endswith(">")
        return self._add(text if markup else f"<p>{escape(text)}</p>")

    def data(self, name: str, value: object) -> Page:
        """Numbers for a program that reads this page later (`page_data`); they are not shown. JSON values only."""
        text = json.dumps(value).replace("<", "\\u003c")
        return self._add(f'<script type="application/json" data-name="{escape(name, quote=True)}">{text}</script>')

    def heading(self, text: str, level: int = 2) -> Page:
        """A section's heading (level 2 or 3)."""
        return self._add(f"<h{level}>{escape(text)}</h{level}>")

    def tiles(self, items: Iterable[tuple[str, object, str]]) -> Page:
        """A row of headline numbers, each (label, value, small note)."""
        tiles = (
            f'<div class="tile"><dt>{escape(a)}</dt><dd>{cell(b)}</dd><dd>{escape(c)}</dd></div>' for a, b, c in items
        )
        return self._add(f'<dl class="tiles">{"".join(tiles)}</dl>')

    def table(self, rows: Sequence[Mapping[str, Any]], caption: str = "") -> Page:
        """A table with one row per mapping; columns in order of first appearance."""
        return self._add(table_html(rows, caption) if rows else f'<p class="note">{escape(caption or "No rows.")}</p>')

    def figure(self, figure: Figure, caption: str = "") -> Page:
        """A matplotlib figure as inline SVG; the caption is also what a screen reader says."""
        picture = svg(figure, caption or "Figure", f"{self.title}{len(self._blocks)}")
        note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        return self._add(f'<figure><div class="picture">{picture}</div>{note}</figure>')

    def verdicts(self, verdicts: Iterable[Verdict]) -> Page:
        """One card a verdict: the gate, passed or stopped, the reason, and the figures to unfold; also kept as data."""
        verdicts = list(verdicts)
        self.data("verdicts", [asdict(v) for v in verdicts])
        for v in verdicts:
            figures = table_html([{"figure": k, "value": x} for k, x in v.figures.items()]) if v.figures else ""
            more = f"<details><summary>Figures ({len(v.figures)})</summary>{figures}</details>" if figures else ""
            self._add(
                f'<section class="verdict {"good" if v.passed else "bad"}"><h3>{escape(v.gate.capitalize())}</h3>'
                f"{badge(v.passed)}<p>{escape(v.reason[:1].upper() + v.reason[1:])}</p>{more}</section>"
            )
        return self

    def details(self, title: str, html: str, open: bool = False) -> Page:
        """A folded block of markup; a whole page (it starts with ``<!doctype``) is embedded in a frame of its own."""
        if html.lstrip()[:9].lower() == "<!doctype":
            frame = f'<iframe title="{escape(title, quote=True)}" sandbox="allow-same-origin"'
            html = f'{frame} srcdoc="{escape(html)}"></iframe>'
        return self._add(f"<details{' open' if open else ''}><summary>{escape(title)}</summary>{html}</details>")

    def body(self) -> str:
        """The blocks after the title, as markup for another page's `details`."""
        return "\n".join(self._blocks[1:])

    def html(self) -> str:
        """The whole document."""
        style = (Path(__file__).parent / "page.css").read_text()
        body = "\n".join(self._blocks)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{style}</style></head>\n"
            f"<body><main>\n{body}\n</main>{_FIT if '<iframe' in body else ''}</body></html>\n"
        )

    def write(self, path: Path | str) -> None:
        """Save the document at ``path``, whole or not at all."""
        page = self.html()
        with atomic_file(path) as scratch:
            scratch.write_text(page, encoding="utf-8")
