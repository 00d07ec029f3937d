"""The evaluation's page: scores, slices, trust in the confidence, and where it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from components.common.levels import Level, picture, tile
from components.common.page import COLOURS, MUTED, Page, new_figure
from components.common.scores import Interval, told
from components.tasks.retrieval.evaluating.failures import by_property, count_modes, explain
from components.tasks.retrieval.evaluating.ranks import METRICS, label
from components.tasks.retrieval.evaluating.summary import Confidence
from serving.contract.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ANSWERS = (
    "Up to three sentences of the first sources against the gold sentence, on the served index, abstained from or not: "
    "exact match, F1 over words (SQuAD's), and whether the gold sentence is in it, with 95 % bootstrap intervals."
)
NAMES = {
    "served": "served (fused)",
    "dense": "dense alone",
    "bm25": "BM25 alone",
    "test": "Test set, own sentence withheld",
    "persona": "Persona set, on the served index",
    **{metric: label(metric) for metric in METRICS},
}
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
    scores: list[Level]
    slices: list[Level]
    confidence: dict[str, Confidence]
    answers: dict[str, Interval]


def build(found: Evaluation, examples: int) -> Page:
    """Draw and write everything, with as many examples of what goes wrong."""
    page = Page("Evaluation", "The very bundle that would be served, on questions it has never seen.")
    _headline(page, found)
    if "persona" not in found.confidence:
        page.text("No persona question has its answer in this source, so all figures are of the test set.")
    page.heading("Scores").figure(picture(found.scores, NAMES, 1.04), CAPTIONS["scores"])
    page.details("All scores in numbers", Page("").table(_numbers(found.scores)).body())
    page.heading("By slice").figure(
        picture(found.slices, NAMES, 1.04, "mean reciprocal rank", slices=True), CAPTIONS["slices"]
    )
    page.heading("Can its confidence be trusted?").figure(_trust_picture(found.confidence), CAPTIONS["trust"])
    page.table(_trust(found.confidence))
    page.heading("Is the extracted answer the right sentence?").text(ANSWERS)
    page.table([{"figure": name, "score": told(*interval)} for name, interval in found.answers.items()])
    _failures(page, found, examples)
    return page


def _headline(page: Page, found: Evaluation) -> None:
    served = {(row["set"], row["metric"]): row for row in found.scores if row["who"] == "served"}
    wanted = {
        "Recall@10, test": ("test", "recall@10"),
        "Reciprocal rank, test": ("test", "mrr"),
        "Recall@10, personas": ("persona", "recall@10"),
        "Reciprocal rank, personas": ("persona", "mrr"),
    }
    page.tiles([tile(label, served[key]) for label, key in wanted.items() if key in served])


def _numbers(scores: list[Level]) -> list[dict[str, object]]:
    table = (
        pd.DataFrame(scores)
        .assign(score=[told(r["mean"], r["low"], r["high"]) for r in scores])
        .rename(columns={"who": "retriever"})
    )
    wide = table.pivot(index=["set", "retriever"], columns="metric", values="score").reset_index()
    return [{str(k): v for k, v in row.items()} for row in wide.to_dict("records")]


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
        rows.append({"figure": title, **{k: told(*v) if name in spread.values() else v for k, v in values.items()}})
    return [*rows, {"figure": "area under risk over coverage", **{k: c.curve.area for k, c in confidence.items()}}]


def _failures(page: Page, found: Evaluation, examples: int) -> None:
    page.heading("Where it goes wrong")
    misses = explain(found.predictions, found.passages, found.questions, found.bundle.text_encoder().max_tokens)
    if misses.empty:
        page.text("No question of either set has a wrong first passage.")
        return
    rows = count_modes(misses)
    page.figure(_modes_picture(rows), "Every wrong first passage, by the first reason that the data supports.")
    page.table(rows)
    properties = by_property(found.predictions, found.passages, found.questions)
    page.details("Share missed, by what the wanted passage is", Page("").table(properties).body())
    page.heading("Examples", 3).text("The most confident wrong answers: those a user would believe.")
    worst = misses.sort_values(["confidence", "question"], ascending=[False, True]).head(examples)
    columns = ["question", "wanted", "found", "rank", "confidence", "mode"]
    page.table([{str(k): v for k, v in row.items()} for row in worst[columns].to_dict("records")])


def _trust_picture(confidence: dict[str, Confidence]) -> Figure:
    """Reliability on the left, risk over coverage with the chosen threshold on the right."""
    figure = new_figure(9, 4.1)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="perfect")
    for i, (name, found) in enumerate(confidence.items()):
        colour = COLOURS[i]
        x, y, n = zip(*found.bins, strict=True)
        left.plot(x, y, "o-", ms=4, color=colour, label=f"{name}, ECE {found.ece.mean:.3f} ({n[0]} a bin)")
        right.plot(found.curve.coverage, found.curve.risk, color=colour, label=f"{name}, area {found.curve.area:.3f}")
        right.plot(found.coverage, found.risk_answered, "o", color=colour, ms=7)
    left.set(title="Is confidence right?", xlabel="confidence", ylabel="share of first passages right", ylim=(0, 1.02))
    right.set(title="What abstaining buys", xlabel="share of questions answered", ylabel="share of answers wrong")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def _modes_picture(rows: list[dict[str, object]]) -> Figure:
    """How many misses each failure mode explains."""
    figure = new_figure(9, 0.7 + 0.32 * len(rows))
    axes = figure.subplots()
    names = [str(row["mode"]) for row in rows][::-1]
    counts = [int(row["misses"]) for row in rows][::-1]  # type: ignore[call-overload]
    axes.barh(names, counts, color=COLOURS[0], height=0.62)
    for i, count in enumerate(counts):
        axes.text(count, i, f" {count}", va="center")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("questions whose first passage is wrong")
    return figure
