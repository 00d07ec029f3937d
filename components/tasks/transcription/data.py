"""The data gate of task transcription: audio of utterances and their reference texts."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from components.validate.gate import Checked, Count, ValidateSettings, judge, quarantine
from components.validate.report import categories, histograms
from components.validate.suites import SPLITS, UNDAMAGED, Examiner, Rule, among, between, damage, normal

if TYPE_CHECKING:
    import pandas as pd

    from components.common.page import Page

CORPUS = ("utterance_id", "recording_id", "start", "end", "samples")
EXAMPLES = ("utterance_id", "recording_id", "text", "speaker", "condition", "split", "seconds")
MAKERS = ("utterances", "utterances")
_RATE = 16_000
_FULL_SCALE = 32_768.0
_FULL = 32_700
"""From this sample value on a sound counts as clipped."""


class Settings(ValidateSettings):
    """Section ``validate`` of utterances.

    ``seconds`` (least and most of an utterance), ``letters_per_s`` (of the reference, least and most: people speak
    about 15), ``loudness`` (least and most, decibels below full scale, RMS), and the least numbers of rows: in all, and
    in every split.
    """

    seconds: tuple[float, float] = (0.2, 30.0)
    letters_per_s: tuple[float, float] = (1.0, 40.0)
    loudness: tuple[float, float] = (-60.0, -1.0)
    min_utterances: int = Field(10, ge=1)
    min_of_split: int = Field(1, ge=0)


def check(audio: "pd.DataFrame", utterances: "pd.DataFrame", settings: Settings) -> Checked:
    """Judge sounds and references apart; only utterances whose two rows both stayed are kept."""
    import pandas as pd

    examiner = Examiner()
    outcomes = {
        "audio": examiner.examine("audio", audio_columns(audio), audio_rules(settings)),
        "utterances": examiner.examine("utterances", text_columns(utterances, audio), text_rules(settings)),
    }
    places = [f"{r} at {s:.2f} s" for r, s in zip(audio["recording_id"], audio["start"], strict=True)]
    ids, texts = utterances["utterance_id"].tolist(), utterances["text"].tolist()
    bad = [
        quarantine("audio", audio["utterance_id"].tolist(), places, outcomes["audio"]),
        quarantine("utterances", ids, texts, outcomes["utterances"]),
    ]
    sound = audio.drop(index=audio.index[bad[0]["row_number"]])
    text = utterances.drop(index=utterances.index[bad[1]["row_number"]])
    sound, text = (
        part[part["utterance_id"].isin(other["utterance_id"])].reset_index(drop=True)
        for part, other in ((sound, text), (text, sound))
    )
    outcomes["splits"] = examiner.examine("splits", split_columns(text), split_rules(settings))
    counts = {"utterances": Count(len(utterances), len(text), settings.min_utterances)}
    verdict = judge(counts, {"splits": outcomes["splits"]}, settings)
    return Checked(sound, text, pd.concat(bad, ignore_index=True), outcomes, verdict)


def audio_columns(audio: "pd.DataFrame") -> "pd.DataFrame":
    """One row a sound: row_id, seconds, how far they are off its times, RMS loudness (dB), clipped share, repeats."""
    import pandas as pd

    measured = [_measure(samples) for samples in audio["samples"]]
    seconds = np.asarray([m[0] for m in measured])
    prints = pd.Series([m[3] for m in measured], index=audio.index, dtype=object)
    return pd.DataFrame(
        {
            "row_id": audio["utterance_id"].astype(str),
            "id_repeats": audio.groupby("utterance_id", dropna=False).cumcount(),
            "seconds": seconds,
            "off": np.abs(seconds - (audio["end"] - audio["start"]).to_numpy()),
            "loudness": [m[1] for m in measured],
            "clipped": [m[2] for m in measured],
            "sound_repeats": prints.groupby(prints).cumcount(),
        }
    )


def _measure(samples: bytes) -> tuple[float, float, float, str]:
    wave = np.frombuffer(samples[: len(samples) // 2 * 2], "<i2")
    if not len(wave):
        return 0.0, -200.0, 0.0, ""
    power = float(np.mean((wave / _FULL_SCALE) ** 2))
    clipped = float(np.mean(np.abs(wave.astype(np.int32)) >= _FULL))
    return len(wave) / _RATE, 10 * float(np.log10(max(power, 1e-20))), clipped, hashlib.sha256(samples).hexdigest()


def audio_rules(settings: Settings) -> list[Rule]:
    """The suite ``audio``, on the columns of `audio_columns`."""
    (short, long), (soft, loud) = settings.seconds, settings.loudness
    return [
        between("id", "id_repeats", "every id once", "id already used by an earlier utterance", None, 0),
        between("duration", "seconds", f"{short:g} to {long:g} seconds", "too short or too long", short, long),
        between("times", "off", "as long as its times say", "sound and times differ", None, 0.05),
        between("loudness", "loudness", f"{soft:g} to {loud:g} dB", "silent, or far too loud", soft, loud),
        between("clipping", "clipped", "at most 5% at full scale", "clipped", None, 0.05),
        between("duplicates", "sound_repeats", "every sound once", "same sound as an earlier utterance", None, 0),
    ]


def text_columns(utterances: "pd.DataFrame", audio: "pd.DataFrame") -> "pd.DataFrame":
    """One row a reference: row_id, words, letters a second, damage, splits of its recording, whether it has audio."""
    import pandas as pd

    text = utterances["text"].fillna("").astype(str)
    seconds = utterances["seconds"].clip(lower=1e-3).astype("float64")
    return pd.DataFrame(
        {
            "row_id": utterances["utterance_id"].astype(str),
            "id_repeats": utterances.groupby("utterance_id", dropna=False).cumcount(),
            "words": text.map(lambda t: len(normal(t).split())),
            "rate": text.map(lambda t: sum(map(str.isalnum, t))) / seconds,
            "damage": text.map(damage),
            "splits": utterances.groupby("recording_id")["split"].transform("nunique"),
            "split": utterances["split"].fillna(""),
            "has_audio": utterances["utterance_id"].isin(audio["utterance_id"]),
        }
    )


def text_rules(settings: Settings) -> list[Rule]:
    """The suite ``utterances``, on the columns of `text_columns`."""
    slow, fast = settings.letters_per_s
    return [
        between("id", "id_repeats", "every id once", "id already used by an earlier utterance", None, 0),
        between("reference", "words", "at least one word", "no reference text", 1, None),
        between("rate", "rate", f"{slow:g} to {fast:g} letters a second", "text does not fit its duration", slow, fast),
        UNDAMAGED,
        between("leak", "splits", "a recording in one split only", "its recording is in more than one split", 1, 1),
        among("split", "split", "a known split", "unknown split", SPLITS),
        among("audio", "has_audio", "its sound is there", "no sound of this utterance", (True,)),
    ]


def split_columns(utterances: "pd.DataFrame") -> "pd.DataFrame":
    """One row a split: row_id (its name) and its utterances."""
    import pandas as pd

    counts = utterances["split"].value_counts()
    return pd.DataFrame({"row_id": list(SPLITS), "utterances": [int(counts.get(name, 0)) for name in SPLITS]})


def split_rules(settings: Settings) -> list[Rule]:
    """The suite ``splits``, on the rows of `split_columns`."""
    least = settings.min_of_split
    reason = f"a split has fewer than {least} utterances, and training, choosing and judging need one each"
    return [between("size", "utterances", f"at least {least} utterances in every split", reason, least, None)]


def picture(page: "Page", checked: Checked) -> None:
    """Durations, rate of speech, conditions and splits."""
    seconds: Sequence[Any] = checked.examples["seconds"].tolist()
    rates = [60 * len(str(t).split()) / max(s, 0.1) for t, s in zip(checked.examples["text"], seconds, strict=True)]
    page.figure(
        histograms([("seconds", "utterances", seconds), ("words a minute", "utterances", rates)]),
        "How long utterances are, and how fast people speak in them",
    )
    page.figure(categories(checked.examples, "condition", "utterances"), "Utterances by condition and split")
