"""The evaluation's page of a transcriber."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.common.levels import SERVED, Level, Panel, Tables, picture
from components.common.page import COLOURS, INK, Page, legend_below, new_figure, svg, table_html
from components.common.scores import told
from components.tasks.transcription.evaluating.hear import FEWER
from components.tasks.transcription.words import unit_of
from serving.transcription.mel import HOP, RATE, log_mel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from components.tasks.transcription.evaluating import Settings

EDITS = ("substitutions", "deletions", "insertions")
LINES, LETTER = 3, 0.011
"""Rows for the words under a spectrogram, so that short ones do not overlap; a letter's width as a share of it."""
SLICES = (
    "Edits over {}s said, in percent, with 95 % bootstrap intervals over utterances. A wide interval is a small "
    "slice, not a bad one."
)
KINDS = "What goes wrong: {0}s heard as others, {0}s missed, {0}s added."
MEL = "Log-mel spectrogram, as the model gets it; below it each word from where it begins to where it ends."


def build(
    found: pd.DataFrame,
    table: pd.DataFrame,
    results: list[dict[str, Any]],
    named: dict[str, float],
    settings: Settings,
) -> tuple[Page, list[tuple[str, str]]]:
    """The page, and what of it the release report repeats: the spectrogram with the transcript."""
    page = Page("Evaluation", "The very bundle that would be served, on recordings it has never heard.")
    rows = levels(found, settings)
    whole = rows[0]
    unit = unit_of(settings.language)
    sizes = f"{len(found)} utterances, {int(found['words'].sum())} {unit}s"
    page.tiles(
        [
            (
                f"{unit.capitalize()} error rate",
                f"{whole['mean']:.1f} %",
                f"{whole['low']:.1f} to {whole['high']:.1f}; {sizes}",
            ),
            ("Character error rate", f"{100 * named['cer_test']:.1f} %", "spaces count as characters"),
            ("Speed", f"{named['audio_s_per_s_test']:.0f} x", "seconds of sound a second, this machine"),
        ]
    )
    page.heading("By condition and speaker").figure(
        picture(rows, label=f"{unit} error rate, %", slices=True), SLICES.format(unit)
    )
    page.details("The same in numbers", Page("").table(numbers(found, rows, unit)).body())
    showcase = _one(found, table, results, unit)
    page.heading("What it hears").text(showcase)
    page.heading("Where it goes wrong").figure(_kinds_picture(found, unit), KINDS.format(unit))
    page.table(confusions(found), "Words most often heard as others, missed (heard: –) or added (said: –)")
    worst = found.assign(rate=found["errors"] / found["words"].clip(lower=1))
    worst = worst[worst["errors"] > 0].sort_values(["rate", "utterance_id"], ascending=[False, True])
    columns = ["utterance_id", "speaker", "condition", "said", "heard", "errors", "words"]
    shown = worst.head(settings.examples)[columns].to_dict("records")
    page.heading("Worst utterances", 3).table([{str(k): v for k, v in row.items()} for row in shown])
    return page, [("What it hears", showcase)]


def levels(found: pd.DataFrame, settings: Settings) -> list[Level]:
    """Error rate in percent, all together, by condition and by speaker."""
    read, who = Tables("utterance_id", {SERVED.who: found}), {"as served": SERVED}
    panels = (
        Panel("By condition", who, {"all": FEWER}, (FEWER, "condition")),
        Panel("By speaker", who, by=(FEWER, "speaker")),
    )
    return [row for panel in panels for row in read.levels(panel, settings.resamples, settings.seed)]


def numbers(found: pd.DataFrame, rows: list[Level], unit: str) -> list[dict[str, object]]:
    """The levels with the sizes of their slices and the kinds of errors."""
    numbers: list[dict[str, object]] = []
    for row in rows:
        by = "all" if row is rows[0] else str(row["set"]).removeprefix("By ")
        part = found if by == "all" else found[found[by] == row["metric"]]
        edits = {kind: int(part[kind].sum()) for kind in EDITS}
        size = {"utterances": len(part), f"{unit}s": int(part["words"].sum())}
        rate = told(row["mean"], row["low"], row["high"], 1)
        numbers.append({"by": by, "slice": row["metric"], **size, f"{unit[0].upper()}ER, %": rate, **edits})
    return numbers


def _one(found: pd.DataFrame, table: pd.DataFrame, results: list[dict[str, Any]], unit: str) -> str:
    """Markup of one utterance: long, and heard neither best nor worst of those."""
    longest = np.argsort(-found["words"].to_numpy(), kind="stable")[: max(1, len(found) // 4)]
    rates = (found["errors"] / found["words"].clip(lower=1)).to_numpy()[longest]
    row = int(longest[np.argsort(rates, kind="stable")[len(longest) // 2]])
    one = found.iloc[row]
    words = [word for segment in results[row]["segments"] for word in segment.get("words", [])]
    title = (
        f"{one['utterance_id']}: {one['speaker']}, {one['condition']}; {one['errors']} of {one['words']} {unit}s wrong"
    )
    figure = _heard_picture(np.asarray(table["samples"].iloc[row]), words, title)
    told = [{"": "said", "transcript": one["reference"]}, {"": "heard", "transcript": one["hypothesis"] or "–"}]
    picture = svg(figure, MEL, "heard")
    return f'<figure><div class="picture">{picture}</div><figcaption>{MEL}</figcaption></figure>{table_html(told)}'


def confusions(found: pd.DataFrame, most: int = 12) -> list[dict[str, object]]:
    """The most frequent single edits: said, heard, times."""
    import jiwer

    counted: Counter[tuple[str, str]] = Counter()
    for said, heard in zip(found["said"], found["heard"], strict=True):
        if not said:
            continue
        aligned = jiwer.process_words(said, heard)
        one, two = aligned.references[0], aligned.hypotheses[0]
        for chunk in aligned.alignments[0]:
            if chunk.type != "equal":
                old, new = (
                    one[chunk.ref_start_idx : chunk.ref_end_idx],
                    two[chunk.hyp_start_idx : chunk.hyp_end_idx],
                )
                size = max(len(old), len(new))
                pairs = zip(old + ["–"] * (size - len(old)), new + ["–"] * (size - len(new)), strict=True)
                counted.update(pairs)
    return [{"said": a, "heard": b, "times": n} for (a, b), n in counted.most_common(most)]


def _kinds_picture(found: pd.DataFrame, unit: str) -> Figure:
    """Substitutions, deletions and insertions a hundred words (or characters), by condition."""
    figure = new_figure(9, 2.8)
    axes = figure.subplots()
    table = found.groupby("condition")[[*EDITS, "words"]].sum()
    left = np.zeros(len(table))
    for name, colour in zip(EDITS, COLOURS, strict=False):
        share = 100 * table[name].to_numpy(float) / table["words"].clip(lower=1).to_numpy(float)
        axes.barh(list(table.index), share, left=left, color=colour, label=name, height=0.6)
        left += share
    axes.set_xlabel(f"errors per 100 {unit}s said")
    axes.grid(axis="y", visible=False)
    legend_below(figure)
    return figure


def _heard_picture(samples: np.ndarray, words: list[dict[str, Any]], title: str) -> Figure:
    """The log-mel spectrogram of an utterance (int16 at 16 kHz) and, below it, each word where it was heard.

    ``words``: dicts with word, start and end in seconds, as the transcriber gives them.
    """
    frames = max(1, -(-len(samples) // HOP))
    picture = log_mel(samples.astype(np.float32) / np.float32(32768), frames=frames)
    seconds = frames * HOP / RATE
    figure = new_figure(9, 3.3)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.1))
    above.imshow(picture, origin="lower", aspect="auto", extent=(0, seconds, 0, len(picture)), cmap="magma")
    above.set(title=title, ylabel="mel band")
    above.grid(visible=False)
    free = [0.0] * LINES
    for word in words:
        text, start, end = str(word["word"]).strip(), float(word["start"]), float(word["end"])
        row = next((at for at in range(LINES) if free[at] <= start), int(np.argmin(free)))
        free[row] = max(end, start + LETTER * seconds * (len(text) + 1))
        below.plot([start, end], [LINES - row - 0.38] * 2, color=COLOURS[0], lw=2, solid_capstyle="butt")
        below.text(start, LINES - row - 0.3, text, color=INK, fontsize=9.5, va="bottom")
    below.set(xlabel="seconds", ylim=(0.4, LINES + 0.7), xlim=(0, seconds), yticks=[])
    below.grid(axis="y", visible=False)
    below.spines["left"].set_visible(False)
    return figure
