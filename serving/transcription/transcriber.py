"""Recordings to text: any length, window by window in batches, with times; the predictor of task transcription."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.core.schema import Reader
from serving.core.scripts import join
from serving.media import RATE, Floats, Recording, cut
from serving.transcription.decode import Decoder, Settings, Task
from serving.transcription.graphs import Graphs
from serving.transcription.mel import log_mel
from serving.transcription.segments import segments_of
from serving.transcription.vocabulary import Vocabulary

BATCH = 8
"""Windows that are decoded together where nobody else decides: more gains little and holds more memory."""


@dataclass
class Heard:
    """What is learnt about a recording while its windows are read: seconds so far, damage, its language, oddities."""

    seconds: float = 0.0
    damaged: bool = False
    language: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """16 kHz mono float32 samples that begin ``start`` seconds into the recording of the instance ``asked``.

    ``heard``: from when to when there is sound in it, in seconds of the window.
    """

    start: float
    samples: Floats
    heard: tuple[float, float]
    asked: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / RATE

    @property
    def end(self) -> float:
        """Seconds into the recording."""
        return self.start + self.seconds


class Transcriber:
    """A bundle of task transcription, opened (see `serving.contract.predictor.Predictor`)."""

    def __init__(
        self, bundle: Bundle, graphs: Graphs, vocabulary: Vocabulary, settings: Settings | None = None
    ) -> None:
        self.bundle, self.speech, self.vocabulary = bundle, bundle.speech_model(), vocabulary
        self._graphs, self._decoder = graphs, Decoder(graphs, vocabulary, settings)
        self._reader = Reader(bundle.inputs)

    @classmethod
    def open(cls, directory: Path, bundle: Bundle, variant: str | None = None, threads: int = 1) -> "Transcriber":
        """Read every part of the bundle at ``directory``. Errors: `SluiceError` if one is missing or broken."""
        speech, directory = bundle.speech_model(), Path(directory)
        graphs = Graphs(directory / bundle.file_of(variant), speech, threads)
        return cls(bundle, graphs, Vocabulary(directory / "tokenizer.json", speech))

    def warm(self) -> None:
        """Transcribe half a second of a hum, so that the first user does not pay for it."""
        import numpy as np

        hum: Floats = (np.sin(np.arange(RATE // 2) / 20) / 10).astype(np.float32)
        instance = {"prompt": "", "vocabulary": [], "word_timestamps": True, "language": "", "heard": Heard()}
        cross = self._graphs.encode([log_mel(hum, self.speech.n_mels, self.speech.frames)])
        quick = Decoder(self._graphs, self.vocabulary, Settings(temperatures=(0.0,), least=2))
        quick.decode(cross, [self._task(Window(0.0, hum, (0.0, 0.5), instance), self._first_language())])

    def parse(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Check one instance and fill in the defaults; no sound is read yet.

        ``audio`` is base64 text, or for callers in this process also a path or bytes. Errors: `SluiceError` naming the
        field.
        """
        audio = payload.get("audio") if isinstance(payload, dict) else None
        direct = isinstance(audio, Path | bytes)
        instance = self._reader.read({**payload, "audio": "-"} if direct else payload)
        instance["audio"] = audio if direct else _bytes(instance["audio"])
        language = instance.setdefault("language", "")
        if language and self.speech.languages and language not in self.speech.languages:
            known = ", ".join(self.speech.languages)
            raise SluiceError(f"'language' is {language!r}, which this model does not know; it knows {known}")
        return {**instance, "heard": Heard(language=language)}

    def windows(self, instance: dict[str, Any]) -> Iterator[Window]:
        """The windows of a parsed instance, decoded as they are asked for: bounded memory, whatever its length.

        Silence is left out. Errors: `serving.media.NoMedia`, or `SluiceError` for broken media.
        """
        heard: Heard = instance["heard"]
        with Recording(instance["audio"]) as recording:
            for stretch in cut(_count(recording.blocks(), heard), self.speech.window_s):
                yield Window(stretch.start, stretch.samples, stretch.heard, instance)
            heard.damaged, heard.notes = recording.damaged, recording.notes

    def transcribe(self, windows: Sequence[Window]) -> list[list[dict[str, Any]]]:
        """Segments of each window, in one batch on the model; windows may be of any recordings."""
        if not windows:
            return []
        cross = self._graphs.encode([log_mel(w.samples, self.speech.n_mels, self.speech.frames) for w in windows])
        languages = self._languages(windows, cross)
        tasks = [self._task(*pair) for pair in zip(windows, languages, strict=True)]
        found: list[list[dict[str, Any]]] = []
        for window, language, said in zip(windows, languages, self._decoder.decode(cross, tasks), strict=True):
            if self._decoder.silent(said):
                found.append([])
                continue
            words = window.asked["word_timestamps"]
            found.append(segments_of(said, self.vocabulary, language, window, words))
        return found

    def assemble(self, instance: dict[str, Any], segments: list[dict[str, Any]]) -> dict[str, Any]:
        """The result of a whole recording (see schema.OUTPUTS) from the segments of its windows, in order."""
        heard: Heard = instance["heard"]
        numbered = [{**segment, "id": at} for at, segment in enumerate(segments)]
        return {
            "text": join(segment["text"] for segment in numbered),
            "language": heard.language or self._first_language(),
            "duration": round(heard.seconds, 2),
            "damaged": heard.damaged,
            "notes": heard.notes,
            "segments": numbered,
        }

    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Transcribe parsed instances, in batches of windows across all of them."""
        found: dict[int, list[dict[str, Any]]] = {at: [] for at in range(len(instances))}
        every = chain.from_iterable(
            ((at, window) for window in self.windows(instance)) for at, instance in enumerate(instances)
        )
        while batch := list(islice(every, BATCH)):
            for (at, _), segments in zip(batch, self.transcribe([window for _, window in batch]), strict=True):
                found[at] += segments
        return [self.assemble(instance, found[at]) for at, instance in enumerate(instances)]

    def close(self) -> None:
        """Nothing runs in the background."""

    def _languages(self, windows: Sequence[Window], cross: list[Any]) -> list[str]:
        """Each window's language: as given, as detected in its recording's first window, or the only one there is."""
        if self.speech.multilingual and not all(window.asked["heard"].language for window in windows):
            for window, language in zip(windows, self._decoder.detect(cross), strict=True):
                window.asked["heard"].language = window.asked["heard"].language or language
        return [window.asked["heard"].language or self._first_language() for window in windows]

    def _first_language(self) -> str:
        return self.speech.languages[0] if self.speech.languages else "en"

    def _task(self, window: Window, language: str) -> Task:
        asked, vocabulary = window.asked, self.vocabulary
        return Task(
            vocabulary.prefix(language),
            vocabulary.prompt(asked["prompt"], asked["vocabulary"]),
            vocabulary.hints(asked["vocabulary"]),
            asked["word_timestamps"],
        )


def _count(blocks: Iterable[Floats], heard: Heard) -> Iterator[Floats]:
    heard.seconds = 0.0
    for block in blocks:
        heard.seconds += len(block) / RATE
        yield block


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SluiceError("'audio' is no base64; send the bytes of a recording encoded so") from None
