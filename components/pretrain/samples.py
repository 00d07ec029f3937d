"""The sample lectures: our texts, read by espeak-ng, encoded, each with its WebVTT reference, and ``samples.yaml``."""

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from components.pretrain.text import HERE, lectures
from components.pretrain.voices import RATE, Voice, read
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir

Floats = npt.NDArray[np.float32]
LONGEST_SENTENCE = 5.5
"""Seconds: a sentence must fit into nano's window, because windows are cut at pauses."""
LEAD, PAUSES = 0.4, (0.35, 0.7)
NOISE_DB = 15
PICTURE = (160, 120)


@dataclass(frozen=True)
class Cue:
    """One sentence of a recording: start and end in seconds, text with casing and punctuation."""

    start: float
    end: float
    text: str


def make_samples(target: Path) -> list[str]:
    """Write every recording of `recordings.yaml` into the directory ``target``, whole or not at all; returns their ids.

    ``<id>.ogg`` (Opus, mono, 16 kHz) or ``<id>.mp4`` (AAC beside a still picture), ``<id>.vtt``, and ``samples.yaml``.
    Raises `SluiceError` when espeak-ng is missing or a sentence takes longer than a window.
    """
    plan = yaml.safe_load((HERE / "recordings.yaml").read_text(encoding="utf-8"))
    texts, seen, listed = {lecture["id"]: lecture for lecture in lectures()}, Counter[str](), []
    with atomic_dir(target) as scratch:
        for entry in plan["recordings"]:
            seen[entry["text"]] += 1
            name, lecture = f"{entry['text']}-{seen[entry['text']]}", texts[entry["text"]]
            samples, cues = recite(lecture["sentences"], Voice(**plan["speakers"][entry["speaker"]]), name)
            if entry["condition"] == "noise":
                samples = noisy(samples, NOISE_DB)
            file = f"{name}.mp4" if entry["condition"] == "video" else f"{name}.ogg"
            encode(samples, scratch / file)
            (scratch / f"{name}.vtt").write_text(webvtt(cues, entry["speaker"]), encoding="utf-8")
            listed.append(_listing(name, file, entry, lecture, cues))
        (scratch / "samples.yaml").write_text(yaml.safe_dump(listed, sort_keys=False, width=120), encoding="utf-8")
    return [entry["id"] for entry in listed]


def _listing(name: str, file: str, entry: dict[str, Any], lecture: dict[str, Any], cues: list[Cue]) -> dict[str, Any]:
    """What ``samples.yaml`` says of one recording; a question's ``start`` is that of the sentence which answers it."""
    return {
        "id": name,
        "file": file,
        "title": lecture["title"],
        "speaker": entry["speaker"],
        "condition": entry["condition"],
        "split": entry["split"],
        "bullets": lecture["bullets"],
        "questions": [
            {"question": asked["question"], "answer": asked["answer"], "start": cues[asked["at"]].start}
            for asked in lecture["questions"]
        ],
    }


def recite(lines: list[str], voice: Voice, name: str) -> tuple[Floats, list[Cue]]:
    """Sentences read by one voice with pauses between: samples float32 [n] at 16 kHz, peak 0.7, and their cues.

    ``name`` seeds the pauses. Raises `SluiceError` when a sentence takes longer than `LONGEST_SENTENCE`.
    """
    rng, parts, cues, at = random.Random(name), [np.zeros(int(LEAD * RATE), np.float32)], [], int(LEAD * RATE)
    for line in lines:
        spoken = read(line, voice)
        if len(spoken) > LONGEST_SENTENCE * RATE:
            raise SluiceError(
                f"{name}: '{line}' takes {len(spoken) / RATE:.1f} s, more than {LONGEST_SENTENCE}; "
                "shorten it in lectures.yaml"
            )
        pause = int(rng.uniform(*PAUSES) * RATE)
        cues.append(Cue(round(at / RATE, 3), round((at + len(spoken)) / RATE, 3), line))
        parts += [spoken, np.zeros(pause, np.float32)]
        at += len(spoken) + pause
    samples = np.concatenate(parts)
    return samples * np.float32(0.7 / np.abs(samples).max()), cues


def noisy(samples: Floats, decibels: float) -> Floats:
    """``samples`` under noise like that of a fan, ``decibels`` below the speech over the whole recording."""
    from scipy.signal import lfilter

    noise = lfilter([1.0], [1.0, -0.9], np.random.default_rng(5).standard_normal(len(samples)))
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-decibels / 20)
    mixed = samples + (noise / noise.std() * level).astype(np.float32)
    return mixed * np.float32(0.7 / np.abs(mixed).max())


def webvtt(cues: list[Cue], speaker: str) -> str:
    """A WebVTT file, one cue a sentence, with the speaker's voice tag."""
    blocks = [f"{_clock(cue.start)} --> {_clock(cue.end)}\n<v {speaker}>{cue.text}\n" for cue in cues]
    return "\n".join(["WEBVTT\n", *blocks])


def _clock(seconds: float) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def encode(samples: Floats, path: Path) -> None:
    """Write ``samples`` (float32 [n], mono, 16 kHz): Opus in ``.ogg``, or AAC with a still picture in ``.mp4``."""
    import av

    video = path.suffix == ".mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac" if video else "libopus", rate=RATE, layout="mono")
        audio.bit_rate = 32_000 if video else 20_000
        if video:
            _picture(container, len(samples) / RATE)
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format=audio.format, layout="mono", rate=RATE, frame_size=audio.frame_size or 320)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


def _picture(container: Any, seconds: float) -> None:
    """A still picture, one frame a second: what a recorded lecture's slides are to us."""
    import av

    stream = container.add_stream("libx264", rate=1)
    stream.width, stream.height, stream.pix_fmt = *PICTURE, "yuv420p"
    stream.options = {"crf": "35"}
    slide = np.full((PICTURE[1], PICTURE[0], 3), (24, 60, 90), np.uint8)
    slide[50:70, 20:140] = (230, 230, 220)
    for second in range(int(seconds) + 1):
        frame = av.VideoFrame.from_ndarray(slide, format="rgb24")
        frame.pts = second
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
