"""What merging must not change in a retriever: its embeddings."""

from pathlib import Path

import numpy as np

from components.common.encoder import TorchEncoder

FILES: tuple[str, ...] = ()
SAMPLES = (
    "How do I load a tokenizer from a local directory?",
    "def forward(self, input_ids, attention_mask=None): return self.encoder(input_ids, attention_mask)",
    "Why is the learning rate warmed up?",
    "class Trainer: runs the training loop, saves checkpoints and logs metrics. " * 8,
    "",
    "Größe der Stichprobe, 注意力掩码, emoji 🙂",
)
"""Short, long, code, prose, empty and non-English: the check must see every length and every kind of token."""


def subject(directory: Path | str) -> TorchEncoder:
    """The encoder of a model directory."""
    return TorchEncoder(directory)


def outputs(encoder: TorchEncoder) -> np.ndarray:
    """Normalised embeddings float32 [n, dim] of `SAMPLES`."""
    return encoder.encode(SAMPLES)
