"""The run's one page: what was built, whether it was promoted and why, then every step's page inside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from components.report.page import Page, badge, page_data
from serving.errors import SluiceError
from serving.files import home
from serving.verdict import Verdict, write_verdicts

TITLES = {
    "data": "Data: what was validated, what was quarantined",
    "study": "Study: the search for hyperparameters",
    "training": "Training: losses and retained best",
    "quantisation": "Quantisation: size, quality, latency",
    "evaluation": "Evaluation: the bundle on questions it has never seen",
    "gate": "Comparison with champion, base model and BM25",
    "rollout": "Rollout: canary, load, promotion or roll back",
}


def report_files(pages: Mapping[str, Path | None], out: Path) -> str:
    """Write the page to ``out`` and, with the verdicts as JSON, to ``$SLUICE_HOME/reports/<system>.*``.

    In: every step's page by name (`TITLES`); no rollout page where the gate refused the challenger. The numbers on top
    are those that the pages carry (`Page.data`). Out: the system's name. Errors: `SluiceError` if a page is missing.
    """
    texts = {name: _read(name, path) for name, path in pages.items() if path}
    data = {name: page_data(text) for name, text in texts.items()}
    try:
        about, headline = data["evaluation"]["bundle"], data["gate"]["headline"]
        verdicts = [Verdict(**row) for name in ("gate", "rollout") for row in data.get(name, {}).get("verdicts", [])]
    except KeyError as error:
        raise SluiceError(f"report: the pages of evaluation and gate lack {error}; run these steps again") from error
    page = _summary(about, data["evaluation"].get("counts", {}), verdicts, "rollout" in texts, headline)
    page.heading("Step by step")
    for name, title in TITLES.items():
        if name in texts:
            page.details(title, texts[name])
    page.write(out)
    system = str(about["system"])
    page.write(home() / "reports" / f"{system}.html")
    write_verdicts(verdicts, home() / "reports" / f"{system}.verdicts.json")
    return system


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SluiceError(f"report: the page of step {name!r} is missing at {path}; run that step again") from error


def _summary(
    about: Mapping[str, Any],
    counts: Mapping[str, int],
    verdicts: list[Verdict],
    rolled_out: bool,
    headline: Mapping[str, Any],
) -> Page:
    promoted = rolled_out and all(v.passed for v in verdicts)
    system = str(about["system"])
    page = Page(f"Release report: {system}", _built(about, counts))
    words = ("Promoted", "Rolled back" if rolled_out else "Not promoted")
    page.text(f"<p>{badge(promoted, words)} {escape(_fate(verdicts, rolled_out, promoted))}</p>")
    page.tiles(_tiles(about, headline))
    page.heading("Is it better?")
    for picture, caption in headline["pictures"]:
        page.text(f'<figure><div class="picture">{picture}</div><figcaption>{escape(caption)}</figcaption></figure>')
    page.details("The same in numbers", Page("").table(_levels(headline["levels"])).body())
    page.heading("Gates, in order").verdicts(verdicts)
    return page


def _built(about: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    adapter = about.get("adapter") or {}
    lora = f" with a LoRA adapter of rank {adapter['rank']}" if adapter.get("rank") else " without an adapter"
    served = f"{about['base_model']}{lora}, served as {about['variant']}"
    return served + (f", over {counts['passages']:,} passages." if "passages" in counts else ".")


def _fate(verdicts: list[Verdict], rolled_out: bool, promoted: bool) -> str:
    if promoted:
        return f"It passed {len(verdicts)} verdicts and serves all traffic."
    first = next((v for v in verdicts if not v.passed), None)
    why = f" {first.gate.capitalize()} gate: {first.reason}." if first else ""
    return ("The version before serves all traffic." if rolled_out else "It never saw traffic.") + why


def _tiles(about: Mapping[str, Any], headline: Mapping[str, Any]) -> list[tuple[str, object, str]]:
    rows = {(r["set"], r["who"], r["metric"]): r for r in headline["levels"]}
    tiles: list[tuple[str, object, str]] = []
    for name, title in (("test", "test"), ("persona", "users' words")):
        for metric in ("recall@10", "mrr"):
            if (name, "BM25", metric) not in rows:
                continue
            mine, base = rows[name, "challenger, as served", metric], rows[name, "base encoder alone", metric]
            note = f"base {base['mean']:.3f}, BM25 {rows[name, 'BM25', metric]['mean']:.3f}"
            tiles.append((f"{metric.replace('mrr', 'MRR')}, {title}", f"{mine['mean']:.3f}", note))
    variants = about["variants"]
    chosen = variants[about["variant"]]
    full = variants.get("fp32", chosen)["bytes"]
    tiles.append(("Encoder", f"{chosen['bytes'] / 1e6:.1f} MB", f"{about['variant']}, fp32 {full / 1e6:.1f} MB"))
    return tiles


def _levels(rows: list[dict[str, Any]]) -> list[dict[str, object]]:
    table: dict[tuple[str, str], dict[str, object]] = {}
    for r in rows:
        line = table.setdefault((r["set"], r["who"]), {"set": r["set"], "who": r["who"], "questions": r["n"]})
        line[r["metric"]] = f"{r['mean']:.3f} ({r['low']:.3f}–{r['high']:.3f})"
    return list(table.values())
