"""The evaluation's page of a highlighter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from components.common.levels import SERVED, Entry, Level, Panel, Tables, Tile, picture, tile
from components.common.page import Page, table_html
from components.common.scores import interval, told
from components.tasks.highlights.evaluating.systems import SHOWN, SYSTEMS
from components.tasks.highlights.rouge import PROTOCOL
from components.tasks.highlights.tables import Document

if TYPE_CHECKING:
    from components.tasks.highlights.evaluating import Settings

SCORES = (
    "ROUGE F1 against one reference a document (rouge-score, Porter's stemmer; ROUGE-L at summary level), with 95 % "
    "bootstrap intervals over documents. All systems keep the same rules of length (at most 30 % of the words), except "
    "the constant output. The oracle knows the reference: no choice of sentences does much better."
)


def build(
    found: pd.DataFrame, test: Sequence[Document], named: dict[str, float], settings: Settings
) -> tuple[Page, list[tuple[str, str]]]:
    """The page, and what of it the release report repeats: bullets beside the references."""
    in_order = found.assign(at=found.groupby("system").cumcount())
    read = Tables("at", {SERVED.who: in_order}, "system")
    who = {title: Entry(system=system) for system, title in SYSTEMS.items()}
    rows = list(read.levels(Panel("Test set", who, SHOWN), settings.resamples, settings.seed))
    page = Page("Evaluation", "The very bundle that would be served, on documents it has never seen.")
    page.tiles(_tiles(rows, named))
    page.heading("Scores").figure(picture(rows), SCORES)
    page.details("The same in numbers", table_html([{k: v for k, v in row.items() if k != "set"} for row in rows]))
    page.heading("By source").table(by_slice(found, settings))
    shown = pick(found, test, settings.examples)
    tables = [beside(document, found) for document in shown]
    page.heading("Bullets beside the references")
    for markup in tables:
        page.text(markup)
    return page, [("Bullets beside the references", "".join(tables[:3]))]


def _tiles(rows: list[Level], named: dict[str, float]) -> list[Tile]:
    tiles = [tile(row["metric"], row) for row in rows if row["who"] == SYSTEMS["served"]]
    lead = named[f"lead_rouge1_{PROTOCOL}_test"]
    return [*tiles, ("Shorter", f"{1 - named['length_ratio_test']:.0%}", f"LEAD has ROUGE-1 {lead:.3f}")]


def by_slice(found: pd.DataFrame, settings: Settings) -> list[dict[str, object]]:
    """Mean of ROUGE-1 and -2 with its interval, length and redundancy of the served bullets, by source and theme."""
    served = found[found["system"] == "served"]
    rows: list[dict[str, object]] = []
    for (source, condition), part in served.groupby(["source", "condition"]):
        score = interval(part["rouge12"].to_numpy(), settings.resamples, settings.seed)
        lead = found[(found["system"] == "lead") & found["document_id"].isin(part["document_id"])]["rouge12"].mean()
        rows.append(
            {
                "source": source,
                "condition": condition,
                "documents": len(part),
                "mean of ROUGE-1 and -2": told(*score),
                "the same of LEAD": float(lead),
                "share of the words": float(part["length_ratio"].mean()),
                "redundancy": float(part["redundancy"].mean()),
            }
        )
    return rows


def pick(found: pd.DataFrame, test: Sequence[Document], count: int) -> list[Document]:
    """Documents to show, from the best to the worst in equal steps; those with recordings first where there are any."""
    score = found[found["system"] == "served"].set_index("document_id")["rouge12"]
    spoken = [d for d in test if d.source == "transcript"]
    order = sorted(test, key=lambda d: (-float(score[d.id]), d.id))
    steps = [order[round(at * (len(order) - 1) / max(1, count - 1))] for at in range(min(count, len(order)))]
    first = sorted(spoken, key=lambda d: (-float(score[d.id]), d.id))[len(spoken) // 2 :][:1]
    return list({d.id: d for d in [*first, *steps]}.values())[: max(1, count)]


def beside(document: Document, found: pd.DataFrame) -> str:
    """Markup: the reference's bullets, the chosen sentences with their numbers (or times), and the oracle's."""
    mine = found[found["document_id"] == document.id].set_index("system")
    served, best = mine.loc["served"], mine.loc["oracle"]
    columns = {
        "reference": document.bullets,
        "as served": [f"{_place(document, int(i))} {document.sentences[int(i)]}" for i in served["numbers"]],
        "oracle": [document.sentences[int(i)] for i in best["numbers"]],
    }
    longest = max(map(len, columns.values()))
    rows = [{name: (texts[at] if at < len(texts) else "") for name, texts in columns.items()} for at in range(longest)]
    about = f"{len(document.sentences)} sentences; ROUGE-1 {served['rouge1']:.2f}, ROUGE-2 {served['rouge2']:.2f}"
    return table_html(rows, f"{document.id} ({document.source}, {document.condition}): {about}")


def _place(document: Document, number: int) -> str:
    start = document.times[number][0] if document.times else float("nan")
    return f"[{number + 1}]" if start != start else f"[{int(start // 60)}:{int(start % 60):02d}]"
