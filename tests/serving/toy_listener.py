"""A predictor of recordings in a few lines, for the server's sake: it names the loudness of each second of a WAV."""

import base64
import binascii
import io
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError

RATE = 16_000


class NoSound(SluiceError):
    status = 415


@dataclass
class Second:
    start: float
    end: float
    samples: np.ndarray


def wav(seconds: float, loud: float = 0.5) -> bytes:
    """A tone of ``seconds`` that is as loud as ``loud`` (0..1)."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        tone = loud * np.sin(np.arange(int(seconds * RATE)) * 0.1)
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    return out.getvalue()


def segment(window: Second, text: str) -> dict[str, Any]:
    return {"start": window.start, "end": window.end, "text": text, "confidence": 0.9, "no_speech": 0.1, "words": []}


class ToyListener:
    """``seconds`` is how long it takes for a window; ``calls`` are the batches it was asked, as levels of loudness."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.held = seconds, 0
        self.calls: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        audio = {"type": "string", "contentEncoding": "base64"}
        self.bundle = Bundle.model_construct(
            task="transcription",
            inputs={"properties": {"audio": audio, "language": {"type": "string"}}, "required": ["audio"]},
            outputs={"properties": {"text": {"type": "string"}, "segments": {"type": "array"}}},
        )  # fmt: skip

    def parse(self, payload: dict[str, Any]) -> dict[str, Any]:
        audio = payload.get("audio")
        if isinstance(audio, str):
            try:
                audio = base64.b64decode(audio, validate=True)
            except binascii.Error:
                raise SluiceError("'audio' is not base64") from None
        if not isinstance(audio, bytes | Path):
            raise SluiceError("field 'audio' is missing")
        return payload | {"audio": audio}

    def windows(self, instance: dict[str, Any]) -> Iterator[Second]:
        source = instance["audio"]
        try:
            file = wave.open(str(source) if isinstance(source, Path) else io.BytesIO(source), "rb")  # noqa: SIM115
        except (wave.Error, EOFError) as error:
            raise NoSound(f"the file holds no sound ({error})") from error
        self.held += 1
        with file:
            try:
                at = 0.0
                while data := file.readframes(RATE):
                    samples = np.frombuffer(data, "<i2")
                    yield Second(at, at + len(samples) / RATE, samples)
                    at += 1.0
            finally:
                self.held -= 1

    def transcribe(self, windows: list[Second]) -> list[list[dict[str, Any]]]:
        levels = [round(float(np.abs(window.samples).max()) / 3276.7) for window in windows]
        self.calls.append(levels)
        assert self.go.wait(20)
        time.sleep(self.seconds * len(windows))
        return [[segment(window, f"level {n}")] for window, n in zip(windows, levels, strict=True)]

    def assemble(self, instance: dict[str, Any], segments: list[dict[str, Any]]) -> dict[str, Any]:
        text = " ".join(segment["text"] for segment in segments)
        segments = [segment | {"id": at} for at, segment in enumerate(segments)]
        duration = segments[-1]["end"] if segments else 0.0
        return {"text": text, "language": instance.get("language", "en"), "duration": duration, "segments": segments}

    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = [[s for part in self.transcribe(list(self.windows(i))) for s in part] for i in instances]
        return [self.assemble(i, f) for i, f in zip(instances, found, strict=True)]

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass
