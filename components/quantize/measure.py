"""What a variant costs and what it keeps, measured through the encoder that serves it."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from serving.errors import SluiceError
from serving.onnx_encoder import OnnxEncoder

WARM_UP = 5
SPEED_TEXTS, SPEED_BATCH = 48, 16


def latency(encoders: dict[str, OnnxEncoder], questions: Sequence[str], repeats: int) -> dict[str, float]:
    """Median milliseconds of one question at batch 1, tokenising included, per variant.

    The variants take turns on every question, so that a busy moment of the machine hits all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for turn in range(WARM_UP + repeats):
        question = questions[turn % len(questions)]
        for name, encoder in encoders.items():
            began = time.perf_counter()
            encoder.encode([question])
            if turn >= WARM_UP:
                times[name].append((time.perf_counter() - began) * 1000)
    return {name: float(np.median(values)) for name, values in times.items()}


def throughput(encoders: dict[str, OnnxEncoder], passages: Sequence[str]) -> dict[str, float]:
    """Passages per second in batches of 16, per variant; the best of two turns."""
    texts = list(passages[:SPEED_TEXTS])
    best = dict.fromkeys(encoders, 0.0)
    for _ in range(2):
        for name, encoder in encoders.items():
            began = time.perf_counter()
            encoder.encode(texts, batch=SPEED_BATCH)
            best[name] = max(best[name], len(texts) / (time.perf_counter() - began))
    return best


class Field:
    """Validation questions among validation passages; ``protocol`` says whether those are all of the split."""

    def __init__(self, passages: pd.DataFrame, questions: pd.DataFrame, n_questions: int, n_passages: int, seed: int):
        """Passages must be withheld already; raises `SluiceError` where the split "val" has no questions."""
        kept = passages[passages.split == "val"]
        known = set(kept.passage_id)
        asked = questions[questions.split == "val"]
        asked = asked[[bool(known & set(gold)) for gold in asked.gold]]
        if asked.empty:
            raise SluiceError("questions: none in split 'val' to measure quality with; see components/make_qa")
        asked = asked.sample(min(n_questions, len(asked)), random_state=seed)
        golds = {gold for row in asked.gold for gold in row}
        if n_passages and n_passages < len(kept):
            rest = kept[~kept.passage_id.isin(golds)]
            rest = rest.sample(min(len(rest), max(0, n_passages - len(golds))), random_state=seed)
            kept = pd.concat([kept[kept.passage_id.isin(golds)], rest])
        whole = len(kept) == len(known)
        self.protocol = "full_withheld_val" if whole else f"of{len(kept)}_withheld_val"
        self.passages, self.questions = kept.text.tolist(), asked.question.tolist()
        row = {passage_id: at for at, passage_id in enumerate(kept.passage_id)}
        self.golds = [sorted(row[g] for g in gold if g in row) for gold in asked.gold]

    def recall(self, encoder: OnnxEncoder) -> dict[str, float]:
        """Share (0..1) of the questions whose best gold passage comes among the first 1 and 10 of all."""
        scores = encoder.encode(self.questions) @ encoder.encode(self.passages).T
        best = np.array([line[gold].max() for line, gold in zip(scores, self.golds, strict=True)])
        ranks = 1 + (scores > best[:, None]).sum(axis=1)
        return {f"recall@{k}_{self.protocol}": float((ranks <= k).mean()) for k in (1, 10)}
