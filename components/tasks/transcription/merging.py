"""What merging must not change in a Whisper: the logits of sentences it is made to say."""

from pathlib import Path

import numpy as np
import torch

from components.tasks.transcription.speech import TorchWhisper

FILES: tuple[str, ...] = ()
TOKENS = 12


def subject(directory: Path | str) -> TorchWhisper:
    """The Whisper of a model directory."""
    return TorchWhisper(directory)


def outputs(whisper: TorchWhisper) -> np.ndarray:
    """Teacher-forced logits [n * t, vocabulary] float32 on silence, noise and a sweep; their mean square is 1.

    The tokens are spread over the whole vocabulary. The scale makes the check mean the same for every size of model.
    """
    seconds = whisper.speech.window_s
    time = np.arange(int(seconds * whisper.speech.sample_rate), dtype=np.float32) / whisper.speech.sample_rate
    noise = np.random.default_rng(7).normal(0, 0.1, len(time)).astype(np.float32)
    sweep = (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)
    spread = np.linspace(0, whisper.speech.vocab - 1, 3 * TOKENS).astype(np.int64).reshape(3, TOKENS)
    tokens = np.concatenate([np.tile(whisper.prefix, (3, 1)), spread], axis=1)
    whisper.model.eval()
    heard = whisper.features([np.zeros_like(time), noise, sweep])
    with torch.inference_mode():
        logits = whisper.logits(heard, torch.from_numpy(tokens)).cpu().numpy()
    flat = logits.reshape(-1, logits.shape[-1])
    return flat / np.sqrt(np.mean(flat**2))
