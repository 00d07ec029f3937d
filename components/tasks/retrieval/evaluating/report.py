"""The evaluation's page: scores, slices, trust in the confidence, and where it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from components.common.page import Page
from components.common.scores import Interval
from components.tasks.retrieval.evaluating import pictures
from components.tasks.retrieval.evaluating.failures import by_property, count_modes, explain
from components.tasks.retrieval.evaluating.summary import Confidence
from serving.contract.bundle import Bundle

ANSWERS = (
    "Up to three sentences of the first sources against the gold sentence, on the served index, abstained from or not: "
    "exact match, F1 over words (SQuAD's), and whether the gold sentence is in it, with 95 % bootstrap intervals."
)
CAPTIONS = {
    "scores": "Means with 95 % bootstrap intervals, full ranking over all passages. Test questions are sentences of "
    "the documentation, which are cut out of the searched texts; persona questions are in users' own words.",
    "slices": "Mean reciprocal rank of each slice. A wide interval is a small slice, not a bad one.",
    "trust": "Left: groups of equally many answers by confidence; on the dashed line, confidence is the share right. "
    "Right: the error rate among the most confident answers; the dot is the threshold below which it abstains.",
}


@dataclass(frozen=True)
class Evaluation:
    """All that the page shows: the tables of one bundle's evaluation."""

    bundle: Bundle
    passages: pd.DataFrame
    questions: pd.DataFrame
    predictions: pd.DataFrame
    summary: pd.DataFrame
    confidence: dict[str, Confidence]
    answers: dict[str, Interval]


def build(found: Evaluation, examples: int) -> Page:
    """Draw and write everything, with as many examples of what goes wrong."""
    page = Page("Evaluation", "The very bundle that would be served, on questions it has never seen.")
    _headline(page, found)
    if "persona" not in found.confidence:
        page.text("No persona question has its answer in this source, so all figures are of the test set.")
    page.heading("Scores").figure(pictures.scores(found.summary), CAPTIONS["scores"])
    page.details("All scores in numbers", Page("").table(_numbers(found.summary)).body())
    page.heading("By slice").figure(pictures.slices(found.summary), CAPTIONS["slices"])
    page.heading("Can its confidence be trusted?").figure(pictures.trust(found.confidence), CAPTIONS["trust"])
    page.table(_trust(found.confidence))
    page.heading("Is the extracted answer the right sentence?").text(ANSWERS)
    page.table([{"figure": name, "score": _told(interval)} for name, interval in found.answers.items()])
    _failures(page, found, examples)
    return page


def _headline(page: Page, found: Evaluation) -> None:
    served = found.summary[(found.summary["by"] == "all") & (found.summary["retriever"] == "served")]
    cells = {(row["set"], row["metric"]): row for row in served.to_dict("records")}
    tiles = []
    for label, key in (
        ("Recall@10, test", ("test", "recall@10")),
        ("Reciprocal rank, test", ("test", "mrr")),
        ("Recall@10, personas", ("persona", "recall@10")),
        ("Reciprocal rank, personas", ("persona", "mrr")),
    ):
        if not (row := cells.get(key)):
            continue
        tiles.append((label, f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}, n = {row['n']}"))
    page.tiles(tiles)


def _numbers(summary: pd.DataFrame) -> list[dict[str, object]]:
    whole = summary[summary["by"] == "all"].copy()
    whole["score"] = [f"{r.mean:.3f} ({r.low:.3f}–{r.high:.3f})" for r in whole.itertuples()]
    wide = whole.pivot(index=["set", "retriever"], columns="metric", values="score").reset_index()
    return [{str(k): v for k, v in row.items()} for row in wide.to_dict("records")]


def _told(figure: Interval) -> str:
    return f"{figure.mean:.3f} ({figure.low:.3f}–{figure.high:.3f})"


def _trust(confidence: dict[str, Confidence]) -> list[dict[str, object]]:
    names = {
        "Brier score": "brier",
        "share of questions answered": "coverage",
        "share wrong, when it answers": "risk_answered",
        "share that would be wrong, when it abstains": "risk_abstained",
        "share abstained from, first source right": "abstained_right",
        "share abstained from, first source wrong": "abstained_wrong",
        "share abstained from, where nothing answers": "abstained_nowhere",
    }
    spread = {"AUROC, right against wrong first sources": "auroc", "expected calibration error": "ece"}
    rows: list[dict[str, object]] = []
    for title, name in (spread | names).items():
        values = {k: getattr(c, name) for k, c in confidence.items()}
        rows.append({"figure": title, **{k: _told(v) if name in spread.values() else v for k, v in values.items()}})
    return [*rows, {"figure": "area under risk over coverage", **{k: c.curve.area for k, c in confidence.items()}}]


def _failures(page: Page, found: Evaluation, examples: int) -> None:
    page.heading("Where it goes wrong")
    misses = explain(found.predictions, found.passages, found.questions, found.bundle.text_encoder().max_tokens)
    if misses.empty:
        page.text("No question of either set has a wrong first passage.")
        return
    rows = count_modes(misses)
    page.figure(pictures.modes(rows), "Every wrong first passage, by the first reason that the data supports.")
    page.table(rows)
    properties = by_property(found.predictions, found.passages, found.questions)
    page.details("Share missed, by what the wanted passage is", Page("").table(properties).body())
    page.heading("Examples", 3).text("The most confident wrong answers: those a user would believe.")
    worst = misses.sort_values(["confidence", "question"], ascending=[False, True]).head(examples)
    columns = ["question", "wanted", "found", "rank", "confidence", "mode"]
    page.table([{str(k): v for k, v in row.items()} for row in worst[columns].to_dict("records")])
