"""Which cross-attention heads follow the speech, so that word times can be read from them."""

import random
from typing import Any

import numpy as np
import torch

from components.pretrain import vocabulary, voices
from components.pretrain.model import Learner
from components.pretrain.text import SOUND_ALIKE
from components.pretrain.text import vocabulary as all_words
from serving.transcription.mel import Floats, log_mel_batch

SECONDS_A_STATE = 0.02
SLACK = 0.06
"""Seconds around a word that still count as on it."""
Span = tuple[float, float]


def alignment_heads(learner: Learner, count: int = 40, keep: float = 0.9) -> list[list[int]]:
    """[layer, head] of the heads whose attention lies most on the word being written, best first.

    Measured on ``count`` rows of words read one by one, so that their times are known. A head stays when its share of
    attention on the word is at least ``keep`` of the best one's. The row of a word is that of the token before it, as
    in openai-whisper's ``timing.py``.
    """
    shares = head_shares(learner, count)
    best = max(shares.values())
    ranked = sorted(shares, key=lambda head: -shares[head])
    return [list(head) for head in ranked if shares[head] >= keep * best]


def head_shares(learner: Learner, count: int) -> dict[tuple[int, int], float]:
    """For each (layer, head): the mean share (0-1) of its attention that lies on the word being written."""
    rng = random.Random(11)
    made = [_spaced(rng) for _ in range(count)]
    learner.eval()
    found: dict[tuple[int, int], list[float]] = {}
    for samples, text, spans in made:
        for layer, weights in enumerate(_attention(learner, samples, text)):
            for head, rows in enumerate(weights):
                found.setdefault((layer, head), []).extend(_on_words(rows, spans))
    return {head: float(np.mean(values)) for head, values in found.items()}


def _spaced(rng: random.Random) -> tuple[Floats, str, list[Span]]:
    """Three to six words by one heard voice with short gaps, and the seconds at which each begins and ends."""
    voice = voices.random_voice(rng, voices.HEARD)
    words = rng.sample([word for word in all_words() if word not in SOUND_ALIKE], rng.randint(3, 6))
    parts, spans, at = [np.zeros(3200, np.float32)], [], 3200
    for word in words:
        spoken = voices.read(word, voice)
        gap = np.zeros(rng.randint(400, 2400), np.float32)
        spans.append((at / voices.RATE, (at + len(spoken)) / voices.RATE))
        parts += [spoken, gap]
        at += len(spoken) + len(gap)
    return np.concatenate(parts), " ".join(words), spans


@torch.inference_mode()
def _attention(learner: Learner, samples: Floats, text: str) -> list[Any]:
    """Cross-attention [heads, words, states] of each decoder layer, in the rows that write the words of ``text``."""
    whisper = learner.whisper
    states = learner.encode(torch.from_numpy(log_mel_batch([samples], frames=600)))
    tokens = torch.tensor([vocabulary.PREFIX + vocabulary.ids_of(text)])
    usual = whisper.config._attn_implementation
    whisper.set_attn_implementation("eager")  # the faster kind does not say where it looked
    try:
        out = whisper.model.decoder(
            input_ids=tokens, encoder_hidden_states=states, use_cache=False, output_attentions=True
        )
    finally:
        whisper.set_attn_implementation(usual)
    first = len(vocabulary.PREFIX) - 1
    return [weights[0, :, first:-1].numpy() for weights in out.cross_attentions]


def _on_words(rows: Any, spans: list[Span]) -> list[float]:
    """Share of each row's attention within its word's span and `SLACK`."""
    times = (np.arange(rows.shape[1]) + 0.5) * SECONDS_A_STATE
    return [
        float(row[(times >= start - SLACK) & (times <= end + SLACK)].sum())
        for row, (start, end) in zip(rows, spans, strict=True)
    ]
