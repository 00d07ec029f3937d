"""Pack a transcriber: the variants and their tokenizer are all it needs."""

from pathlib import Path

from components.pack.packing import Given, Packed, PackSettings


class Settings(PackSettings):
    """Section ``pack`` of a transcriber: nothing of its own."""


def pack(given: Given, settings: Settings, out: Path) -> Packed:
    """Schemas of a request and an answer, and the error rates on "val" that quantize measured of the chosen variant."""
    from serving.transcription.schema import INPUTS, OUTPUTS

    chosen = given.description["variants"][given.description["variant"]]
    kept = {name: float(value) for name, value in chosen.items() if name.startswith(("wer_", "cer_", "audio_s_per_s"))}
    return Packed(INPUTS, OUTPUTS, kept)
