"""A drill of a transcriber: pieces of the sample lectures, and a vocabulary in which every word is another one."""

import base64
import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.contract.errors import SluiceError

SETTINGS: dict[str, Any] = {"slo": "drill-transcriber", "window_s": 4, "min_samples": 20, "detectable_error_rate": 0.2}
SAMPLES = Path(__file__).parents[2] / "recordings" / "samples"
RATE = 16_000
PIECE_S = 3.0
EACH = 4


def spoil(bundle: Path) -> None:
    """Let every word of ``bundle`` (a copy) come out as another one: the ids of the words are dealt round by one.

    Special tokens keep theirs, so that decoding goes as before and takes as long.
    """
    path = bundle / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer.get("added_tokens", [])}
    words = sorted((word for word in vocabulary if word not in special), key=vocabulary.__getitem__)
    ids = [vocabulary[word] for word in words]
    vocabulary |= dict(zip(words, [*ids[1:], *ids[:1]], strict=True))
    path.unlink()  # it may be a hard link: writing into it would change the original
    path.write_text(json.dumps(tokenizer))


def asked(bundle: Path, most: int = 40) -> list[dict[str, Any]]:
    """Request rows out of the sample lectures, 3 s each; the label is what the sound ``bundle`` itself hears there.

    So a drill asks whether a canary hears what stable hears, and needs no reference. SluiceError where the bundle hears
    words in fewer than 10 pieces.
    """
    from serving.contract.load import load

    predictor = load(bundle)
    try:
        rows = []
        for name, sound in _pieces():
            instance = {"audio": base64.b64encode(sound).decode()}
            text = str(predictor.predict([predictor.parse(instance)])[0]["text"])
            row = {"id": name, "task": "transcription", "persona": "", "instance": instance}
            rows += [{**row, "expect": {"text": text}, "units": PIECE_S}] if text.strip() else []
            if len(rows) == most:
                break
    finally:
        predictor.close()
    if len(rows) < 10:
        raise SluiceError(f"{bundle}: hears words in {len(rows)} pieces of {SAMPLES} only; name requests with --asked")
    return rows


def _pieces() -> Iterator[tuple[str, bytes]]:
    """Name and 16-bit WAV of the first pieces of every sample."""
    from serving.media import blocks

    for path in sorted(p for p in SAMPLES.iterdir() if p.suffix in (".ogg", ".mp4")):
        for number, samples in enumerate(blocks(path, PIECE_S)):
            if number == EACH:
                break
            stream = io.BytesIO()
            with wave.open(stream, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
            yield f"{path.stem}-{number}", stream.getvalue()
