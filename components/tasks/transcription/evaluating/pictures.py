"""A transcriber's pictures: error rates by slice, kinds of errors, and what it hears in one utterance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.common.page import COLOURS, INK, legend_below, new_figure
from components.common.scores import rate
from serving.transcription.mel import HOP, RATE, log_mel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDITS = ("substitutions", "deletions", "insertions")
LINES, LETTER = 3, 0.011
"""Rows for the words under a spectrogram, so that short ones do not overlap; a letter's width as a share of it."""


def slices(found: pd.DataFrame, resamples: int, seed: int) -> Figure:
    """Word error rate in percent with 95 % intervals, by condition and by speaker."""
    figure = new_figure(9, 3.6)
    sizes = [found["condition"].nunique() + 1, found["speaker"].nunique()]
    drawn = figure.subplots(1, 2, sharey=True, width_ratios=sizes)
    for axes, by, colour in zip(drawn, ("condition", "speaker"), COLOURS, strict=False):
        parts = [("all", found)] if by == "condition" else []
        parts += [(str(name), rows) for name, rows in found.groupby(by)]
        for at, (_, rows) in enumerate(parts):
            mean, low, high = percent(rows, resamples, seed)
            axes.errorbar(at, mean, yerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=0)
        axes.set_xticks(range(len(parts)), [f"{name}\nn = {len(rows)}" for name, rows in parts])
        axes.set_xlim(-0.5, len(parts) - 0.5)
        axes.grid(axis="x", visible=False)
        axes.set_title(f"By {by}")
    drawn[0].set_ylabel("word error rate, %")
    drawn[0].set_ylim(bottom=0)
    return figure


def percent(rows: pd.DataFrame, resamples: int, seed: int) -> tuple[float, float, float]:
    """Word error rate of rows with its interval, in percent."""
    errors, words = (rows[name].to_numpy(np.float64) for name in ("errors", "words"))
    mean, low, high = rate(100 * errors, words, resamples, seed)
    return mean, min(low, mean), max(high, mean)


def kinds(found: pd.DataFrame) -> Figure:
    """Substitutions, deletions and insertions a hundred words, by condition."""
    figure = new_figure(9, 2.8)
    axes = figure.subplots()
    table = found.groupby("condition")[[*EDITS, "words"]].sum()
    left = np.zeros(len(table))
    for name, colour in zip(EDITS, COLOURS, strict=False):
        share = 100 * table[name].to_numpy(float) / table["words"].clip(lower=1).to_numpy(float)
        axes.barh(list(table.index), share, left=left, color=colour, label=name, height=0.6)
        left += share
    axes.set_xlabel("errors per 100 words said")
    axes.grid(axis="y", visible=False)
    legend_below(figure)
    return figure


def heard(samples: np.ndarray, words: list[dict[str, Any]], title: str) -> Figure:
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
