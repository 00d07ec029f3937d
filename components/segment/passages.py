"""Segments as the retriever's passages: text, times, and what the feature store keeps of them."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.common.passages import COLUMNS as PASSAGE
from components.common.step import Settings
from components.segment.sentences import SpokenSentence
from components.segment.topics import boundaries
from serving.core.scripts import ENDS, join

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("start_s", "end_s", "speech_rate", "silence_share", "confidence")
OF_LECTURE = ("lecture_duration_s", "lecture_loudness", "lecture_silence_share", "speaker", "condition")
COLUMNS = (*PASSAGE, *MEASURES, *OF_LECTURE)
"""The passages of a source tree, and what only speech has: seconds, words a minute, shares 0..1, decibels (LUFS)."""


class SegmentSettings(Settings):
    """Settings of segment.

    ``max_tokens`` bounds a segment (wordpieces, special tokens included; beyond 256 the default base model reads no
    further; ``tokenizer`` names another one's tokenizer.json). ``min_sentences`` is the least a topic has,
    ``block`` the sentences that are compared across a gap.
    """

    max_tokens: int = Field(256, ge=64, le=512)
    tokenizer: str = ""
    min_sentences: int = Field(3, ge=1)
    block: int = Field(3, ge=1)


@dataclass(frozen=True)
class Lecture:
    """A recording's row (stage "recording"), what was said in it, and where it is silent (seconds)."""

    about: Mapping[str, Any]
    sentences: Sequence[SpokenSentence]
    silences: Sequence[tuple[float, float]]

    @property
    def id(self) -> str:
        """The lecture's id, which is also its passages' path."""
        return str(self.about["lecture_id"])


def passage_rows(lecture: Lecture, settings: SegmentSettings) -> Iterator[dict[str, Any]]:
    """One row a segment (keys `COLUMNS`), cut at topic boundaries within ``settings.max_tokens``.

    The text a vector is made of begins with the lecture's title, which says what a segment's pronouns stand for.
    """
    from components.common.window import TokenWindow

    window = TokenWindow(settings.tokenizer, settings.max_tokens)
    texts, title = [said.text for said in lecture.sentences], str(lecture.about["title"])
    sizes, lead = [window.count(text) for text in texts], window.count(title) + window.special
    room = settings.max_tokens - lead
    begins = boundaries(texts, sizes, room, settings.min_sentences, settings.block)
    for low, high in zip(begins, [*begins[1:], len(texts)], strict=True):
        yield _row(lecture, lecture.sentences[low:high], sum(sizes[low:high]) + lead)


def _row(lecture: Lecture, said: Sequence[SpokenSentence], n_tokens: int) -> dict[str, Any]:
    about, text = lecture.about, paragraph([one.text for one in said])
    start, end = said[0].start, max(one.end for one in said)
    words = sum(one.words for one in said)
    seconds = max(end - start, 1e-3)
    identity = hashlib.sha256(f"{lecture.id}\0{start:.2f}\0{text}".encode()).hexdigest()[:16]
    return {
        "passage_id": identity, "path": lecture.id, "name": about["title"], "kind": "segment",
        "doc": text, "body": "", "text": f"{about['title']}\n{text}", "summary": said[0].text, "start_line": 0,
        "end_line": 0, "url": "", "n_tokens": n_tokens, "documented": True, "n_changes": 0,
        "changed_at": about["changed_at"], "split": about["split"], "start_s": start, "end_s": end,
        "speech_rate": 60 * words / seconds, "silence_share": silent(lecture.silences, start, end),
        "confidence": sum(one.confidence * one.words for one in said) / max(words, 1),
        "lecture_duration_s": about["duration_s"], "lecture_loudness": about["loudness"],
        "lecture_silence_share": about["silence_share"], "speaker": about["speaker"], "condition": about["condition"],
    }  # fmt: skip


def paragraph(sentences: Sequence[str]) -> str:
    """Sentences in a row; in a script without blanks one stands between them only where no stop does."""
    text = sentences[0] if sentences else ""
    for said in sentences[1:]:
        text = join((text, said)) if ENDS.search(text) else f"{text} {said}"
    return text


def silent(silences: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Share of ``start`` to ``end`` that lies in ``silences`` (disjoint spans, seconds): 0..1."""
    inside = sum(max(0.0, min(end, high) - max(start, low)) for low, high in silences)
    return min(1.0, inside / max(end - start, 1e-3))


def table(rows: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Rows as a frame with the types of passages.parquet; identical text of one lecture counts once."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(COLUMNS)).drop_duplicates("passage_id", ignore_index=True)
    frame["changed_at"] = pd.to_datetime(frame["changed_at"], utc=True).astype("datetime64[us, UTC]")
    whole = dict.fromkeys(("start_line", "end_line", "n_tokens", "n_changes"), "int32")
    return frame.astype({**whole, "start_s": "float64", "end_s": "float64"} | dict.fromkeys(MEASURES[2:], "float32"))


def every_split(passages: "pd.DataFrame") -> "pd.DataFrame":
    """The passages, with a split of their own each where their lectures are too few to fill train, val and test.

    Then a fifth of the segments (one at least) goes to val and to test, by a stable hash; under three nothing helps.
    """
    if len(passages) < 3 or set(passages["split"]) >= {"train", "val", "test"}:
        return passages
    share = max(1, len(passages) // 5)
    order = passages["passage_id"].rank(method="first").astype(int)  # the ids are hashes
    split = order.map(lambda at: "test" if at <= share else "val" if at <= 2 * share else "train")
    return passages.assign(split=split)
