"""The evaluation's page of a transcriber."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.common.page import Page, svg
from components.tasks.transcription.evaluating import pictures
from components.tasks.transcription.words import unit_of

if TYPE_CHECKING:
    from components.tasks.transcription.evaluating import Settings

SLICES = (
    "Edits over words said, in percent, with 95 % bootstrap intervals over utterances. A wide interval is a small "
    "slice, not a bad one."
)
KINDS = "What goes wrong: words heard as others, words missed, words added."
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
    mean, low, high = pictures.percent(found, settings.resamples, settings.seed)
    unit = unit_of(settings.language)
    sizes = f"{len(found)} utterances, {int(found['words'].sum())} {unit}s"
    page.tiles(
        [
            (
                f"{unit.capitalize()} error rate",
                f"{mean:.1f} %",
                f"{low:.1f} to {high:.1f}; {sizes}",
            ),
            ("Character error rate", f"{100 * named['cer_test']:.1f} %", "spaces count as characters"),
            ("Speed", f"{named['audio_s_per_s_test']:.0f} x", "seconds of sound a second, this machine"),
        ]
    )
    page.heading("By condition and speaker").figure(pictures.slices(found, settings.resamples, settings.seed), SLICES)
    page.details("The same in numbers", Page("").table(numbers(found, settings)).body())
    showcase = _one(found, table, results)
    page.heading("What it hears").text(showcase)
    page.heading("Where it goes wrong").figure(pictures.kinds(found), KINDS)
    page.table(confusions(found), "Words most often heard as others, missed (heard: –) or added (said: –)")
    worst = found.assign(rate=found["errors"] / found["words"].clip(lower=1))
    worst = worst[worst["errors"] > 0].sort_values(["rate", "utterance_id"], ascending=[False, True])
    columns = ["utterance_id", "speaker", "condition", "said", "heard", "errors", "words"]
    rows = worst.head(settings.examples)[columns].to_dict("records")
    page.heading("Worst utterances", 3).table([{str(k): v for k, v in row.items()} for row in rows])
    return page, [("What it hears", showcase)]


def numbers(found: pd.DataFrame, settings: Settings) -> list[dict[str, object]]:
    """Word error rate with its interval, all together and for every slice."""
    parts: list[tuple[str, str, pd.DataFrame]] = [("all", "all", found)]
    parts += [(by, str(name), rows) for by in ("condition", "speaker") for name, rows in found.groupby(by)]
    rows: list[dict[str, object]] = []
    for by, name, part in parts:
        mean, low, high = pictures.percent(part, settings.resamples, settings.seed)
        edits = {kind: int(part[kind].sum()) for kind in pictures.EDITS}
        size = {"utterances": len(part), "words": int(part["words"].sum())}
        rows.append({"by": by, "slice": name, **size, "WER, %": f"{mean:.1f} ({low:.1f}–{high:.1f})", **edits})
    return rows


def _one(found: pd.DataFrame, table: pd.DataFrame, results: list[dict[str, Any]]) -> str:
    """Markup of one utterance: long, and heard neither best nor worst of those."""
    longest = np.argsort(-found["words"].to_numpy(), kind="stable")[: max(1, len(found) // 4)]
    rates = (found["errors"] / found["words"].clip(lower=1)).to_numpy()[longest]
    row = int(longest[np.argsort(rates, kind="stable")[len(longest) // 2]])
    one = found.iloc[row]
    words = [word for segment in results[row]["segments"] for word in segment.get("words", [])]
    title = (
        f"{one['utterance_id']}: {one['speaker']}, {one['condition']}; {one['errors']} of {one['words']} words wrong"
    )
    figure = pictures.heard(np.asarray(table["samples"].iloc[row]), words, title)
    told = [{"": "said", "transcript": one["reference"]}, {"": "heard", "transcript": one["hypothesis"] or "–"}]
    from components.common.page import table_html

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
