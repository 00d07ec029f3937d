"""The run's one page: what was built, whether it was promoted and why, then every step's page inside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from components.common.page import Page, badge, page_data
from components.common.scores import told
from serving.contract.errors import SluiceError
from serving.contract.files import home
from serving.contract.verdict import Verdict, write_verdicts

TITLES = {
    "data": "Data: what was validated, what was quarantined",
    "study": "Study: the search for hyperparameters",
    "training": "Training: losses and retained best",
    "quantisation": "Quantisation: size, quality, latency",
    "evaluation": "Evaluation: the bundle on examples it has never seen",
    "gate": "Comparison with champion, base model and trivial answers",
    "rollout": "Rollout: canary, load, promotion or roll back",
}


def report_files(pages: Mapping[str, Path | None], out: Path) -> str:
    """Write the page to ``out`` and, with the verdicts as JSON, to ``$SLUICE_HOME/reports/<system>.*``.

    In: every step's page by name (`TITLES`); no study and training where nothing was trained, no rollout where the gate
    refused the challenger. The numbers and pictures on top are those that the pages carry (`Page.data`). Out: the
    system's name. Errors: `SluiceError` if a page is missing.
    """
    texts = {name: _read(name, path) for name, path in pages.items() if path}
    data = {name: page_data(text) for name, text in texts.items()}
    try:
        evaluation, headline = data["evaluation"], data["gate"]["headline"]
        system = str(evaluation["bundle"]["system"])
        verdicts = [Verdict(**row) for name in ("gate", "rollout") for row in data.get(name, {}).get("verdicts", [])]
    except KeyError as error:
        raise SluiceError(f"report: the pages of evaluation and gate lack {error}; run these steps again") from error
    page = _summary(evaluation, verdicts, "rollout" in texts, headline)
    page.heading("Step by step")
    for name, title in TITLES.items():
        if name in texts:
            page.details(title, texts[name])
    page.write(out)
    page.write(home() / "reports" / f"{system}.html")
    write_verdicts(verdicts, home() / "reports" / f"{system}.verdicts.json")
    return system


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SluiceError(f"report: the page of step {name!r} is missing at {path}; run that step again") from error


def _summary(
    evaluation: Mapping[str, Any], verdicts: list[Verdict], rolled_out: bool, headline: Mapping[str, Any]
) -> Page:
    about = evaluation["bundle"]
    promoted = rolled_out and all(v.passed for v in verdicts)
    page = Page(f"Release report: {about['system']}", _built(about, evaluation.get("counts", {})))
    words = ("Promoted", "Rolled back" if rolled_out else "Not promoted")
    page.text(f"<p>{badge(promoted, words)} {escape(_fate(verdicts, rolled_out, promoted))}</p>")
    page.tiles([*(tuple(tile) for tile in headline["tiles"]), _size(about)])
    page.heading("Is it better?")
    for picture, caption in headline["pictures"]:
        page.text(f'<figure><div class="picture">{picture}</div><figcaption>{escape(caption)}</figcaption></figure>')
    page.details("The same in numbers", Page("").table(_levels(headline)).body())
    for title, markup in evaluation.get("showcase", []):
        page.heading(title).text(markup)
    page.heading("Gates, in order").verdicts(verdicts)
    return page


def _built(about: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    adapter = about.get("adapter") or {}
    lora = f" with a LoRA adapter of rank {adapter['rank']}" if adapter.get("rank") else " without an adapter"
    served = f"{about['base_model']}{lora}, served as {about['variant']}"
    sizes = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{served}; measured on {sizes}." if sizes else f"{served}."


def _fate(verdicts: list[Verdict], rolled_out: bool, promoted: bool) -> str:
    if promoted:
        return f"It passed {len(verdicts)} verdicts and serves all traffic."
    first = next((v for v in verdicts if not v.passed), None)
    why = f" {first.gate.capitalize()} gate: {first.reason}." if first else ""
    return ("The version before serves all traffic." if rolled_out else "It never saw traffic.") + why


def _size(about: Mapping[str, Any]) -> tuple[str, str, str]:
    variants = about["variants"]
    chosen = variants[about["variant"]]
    full = variants.get("fp32", chosen)["bytes"]
    return "Model", f"{chosen['bytes'] / 1e6:.1f} MB", f"{about['variant']}, fp32 {full / 1e6:.1f} MB"


def _levels(headline: Mapping[str, Any]) -> list[dict[str, object]]:
    table: dict[tuple[str, str], dict[str, object]] = {}
    for r in headline["levels"]:
        line = table.setdefault((r["set"], r["who"]), {"set": r["set"], "who": r["who"], headline["unit"]: r["n"]})
        line[r["metric"]] = told(r["mean"], r["low"], r["high"])
    return list(table.values())
