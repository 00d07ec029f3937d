"""transcribe as a function: one lecture's sound and a bundle in; its transcript in every format out."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from components.common.recordings import QUARANTINE, Sound, version_in, version_of, write_quarantine, write_stage
from components.common.step import Settings
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, digest
from serving.contract.load import load

log = logging.getLogger(__name__)


class TranscribeSettings(Settings):
    """Settings of transcribe.

    ``language``: of all lectures, "" to detect it where the model can. ``prompt`` and ``vocabulary`` are hints to the
    model: what was said before, and names that may come up. ``threads`` of the model's session.
    """

    language: str = ""
    prompt: str = ""
    vocabulary: tuple[str, ...] = ()
    threads: int = Field(1, ge=1)


def transcribe(
    recordings: str | Path, lecture: str, bundle: str | Path, settings: TranscribeSettings, out: str | Path
) -> bool:
    """Write ``out/<lecture>/transcript.{parquet,json,srt,vtt,txt}``; True unless the lecture had to be left out.

    parquet: one row a segment (see stage "transcript" of `components.common.recordings`), times in seconds of the
    recording. What the model cannot transcribe is written to ``out/quarantine.parquet`` with the reason, so that the
    other lectures go on. SluiceError: the bundle cannot be opened or refuses the
    settings, or there is no such lecture.
    """
    sound, folder = Sound(Path(recordings), lecture), Path(bundle)
    predictor = load(folder, threads=settings.threads)
    asked = {name: value for name, value in settings.model_dump(exclude={"threads"}).items() if value}
    version = version_of(version_in(Path(recordings), lecture, "windows"), digest(folder), settings.model_dump_json())
    with atomic_dir(out) as target, tempfile.TemporaryDirectory(prefix="sluice-") as scratch:
        wav = Path(scratch) / f"{lecture}.wav"
        instance = predictor.parse(
            {"audio": wav, **_vocabulary(asked)}
        )  # of settings that do not fit no lecture is guilty
        try:
            sound.write_wav(wav)
            result = predictor.predict([instance])[0]
        except (SluiceError, OSError, ValueError, RuntimeError) as error:
            log.warning("left out %s: %s", lecture, error)
            write_quarantine(
                target / QUARANTINE, [{"lecture": lecture, "file": "", "reason": f"not transcribed: {error}"}]
            )
            return False
        finally:
            predictor.close()
        write_stage(target, lecture, "transcript", _rows(result), version)
        _write_formats(result, target / lecture)
    log.info("%s: %.0f s, %d words", lecture, result["duration"], len(result["text"].split()))
    return True


def _vocabulary(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}


def _rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, segment in enumerate(result["segments"]):
        yield {
            "id": number, "start": segment["start"], "end": segment["end"], "text": segment["text"],
            "language": result.get("language") or "", "confidence": segment["confidence"],
            "no_speech": segment["no_speech"], "words": segment.get("words") or [],
        }  # fmt: skip


def _write_formats(result: Mapping[str, Any], folder: Path) -> None:
    from serving.transcription import formats

    for suffix, kind in (("srt", "srt"), ("vtt", "vtt"), ("json", "json"), ("txt", "text")):
        (folder / f"transcript.{suffix}").write_text(formats.write(result, kind), encoding="utf-8")
